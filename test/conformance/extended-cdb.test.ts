/**
 * Commands whose CDB has 32 bytes (RFC 7143 11.2.2.3, Extended CDB): from Riser's initiator to its target, over TCP and
 * iSER; and additional header segments that break the rules.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { sendCommand } from '../../src/initiator/command.js';
import { Session } from '../../src/initiator/index.js';
import { Reject } from '../../src/iscsi/wire/headers.js';
import { Opcode, RejectReason } from '../../src/iscsi/wire/opcodes.js';
import { cdb32 } from '../../src/scsi/testing/cdb.js';
import { TEST_UNIT_READY } from '../support/cdb.js';
import { ConnectionClosed } from '../support/pdu-socket.js';
import { pattern } from '../support/pattern.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';

const READ = 0x09;
const WRITE = 0x0b;
/** More than a first burst, so that data comes asked and unasked. */
const BLOCKS = 1024;
const SIZE = BLOCKS * 512;

for (const transport of ['tcp', 'iser'] as const) {
  for (const digests of transport === 'tcp' ? [false, true] : [false]) {
    test(`WRITE(32) and READ(32) over ${transport}${digests ? ' with digests' : ''}`, async () => {
      const target = await TestTarget.start([{ device: new MemoryDevice({ size: 16 << 20 }) }]);
      const session = await Session.open({
        portal: { host: '127.0.0.1', port: target.port },
        transport,
        targetName: TARGET_NAME,
        initiatorName: 'iqn.2026-11.com.example:me',
        ...(digests && { headerDigest: true, dataDigest: true }),
      });
      try {
        assert.equal(session.transport, transport);
        const send = (cdb: number[], options: { data?: Buffer; readLength?: number }) =>
          sendCommand(session, Buffer.alloc(8), Buffer.from(cdb), options);
        const data = pattern(SIZE, 32);
        const written = await send(cdb32(WRITE, 0, 7, BLOCKS), { data });
        assert.deepEqual([written.status, written.residual], [0, 0]);
        const read = await send(cdb32(READ, 0, 7, BLOCKS), { readLength: SIZE });
        assert.ok(read.data.equals(data));
      } finally {
        await session.close();
        await target.close();
      }
    });
  }
}

describe('additional header segments', () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }]);
  });
  after(() => target.close());

  const tail = Buffer.from(cdb32(READ, 0, 0, 1)).subarray(16);
  /** AHSLength, AHSType, and what AHSLength counts, padded. */
  const segment = (length: number, type: number, rest: Buffer): Buffer => {
    const bytes = Buffer.alloc((3 + rest.length + 3) & ~3);
    bytes.writeUInt16BE(length, 0);
    bytes[2] = type;
    bytes.set(rest, 3);
    return bytes;
  };
  const extended = segment(17, 1, Buffer.concat([Buffer.of(0), tail]));

  for (const [name, ahs] of Object.entries({
    'one that reaches behind TotalAHSLength': segment(0xffff, 1, Buffer.concat([Buffer.of(0), tail])),
    'a type that is reserved': segment(17, 3, Buffer.concat([Buffer.of(0), tail])),
    'an Extended CDB of nothing': segment(1, 1, Buffer.of(0)),
    'AHSLength 0': Buffer.alloc(8),
    'two Extended CDBs': Buffer.concat([extended, extended]),
    'an Extended CDB longer than any CDB': segment(246, 1, Buffer.alloc(246)),
  })) {
    test(`${name}: rejected, or the connection ends`, async () => {
      const initiator = await target.login();
      try {
        const header = initiator.commandHeader(0, TEST_UNIT_READY);
        header.set(cdb32(READ, 0, 0, 1).slice(0, 16), 32);
        header.writeUInt32BE(initiator.cmdSN, 24);
        header.writeUInt32BE(initiator.expStatSN, 28);
        initiator.pdus.send(header, Buffer.alloc(0), ahs);
        const pdu = await initiator.unsolicited.next();
        assert.equal(pdu.header[0]! & 0x3f, Opcode.REJECT);
        assert.equal(Reject.reason.get(pdu.header), RejectReason.INVALID_PDU_FIELD);
      } catch (error) {
        if (!(error instanceof ConnectionClosed)) throw error;
      } finally {
        initiator.destroy();
      }
    });
  }

  test('a CDB of 32 bytes without its segment is refused by the logical unit, and the session goes on', async () => {
    const initiator = await target.login();
    const cdb = Buffer.from(cdb32(READ, 0, 0, 1).slice(0, 16));
    const { status, sense } = await initiator.command(0, cdb, { dataIn: 512 });
    assert.deepEqual([status, sense[2], sense[12]], [2, 5, 0x24]);
    assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
    initiator.destroy();
  });
});
