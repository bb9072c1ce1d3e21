/**
 * PDUs that break the rules (RFC 7143 7, 11.17): each gets what the RFC prescribes, and a session beside
 * it notices nothing. At ErrorRecoveryLevel 0 a target may always end the connection instead.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { Bhs, R2T, Reject, ScsiCommand, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import { FINAL, IMMEDIATE, Opcode, RejectReason, RESERVED_TAG } from '../../src/iscsi/wire/opcodes.js';
import { Bystander } from '../support/bystander.js';
import { readWriteCdb, TEST_UNIT_READY } from '../support/cdb.js';
import type { Initiator } from '../support/initiator.js';
import type { Keys } from '../support/login.js';
import { pattern } from '../support/pattern.js';
import { ConnectionClosed, type Inbox, type Pdu } from '../support/pdu-socket.js';
import { TestTarget } from '../support/target.js';

const SOLICITED: Keys = { InitialR2T: 'Yes', ImmediateData: 'No', MaxBurstLength: '8192' };
/** Where the tests try to write, and the bystander's blocks. */
const LBA = 64;
const BLOCKS = 32;
const BYSTANDER_LBA = 8192;
/** Blocks before and after the write's; what a failed write leaves in its own range is undefined. */
const GUARD = 64;

describe('malformed PDUs', () => {
  let target: TestTarget;
  let bystander: Bystander;
  let initiator: Initiator;
  const original = pattern((GUARD + BLOCKS + GUARD) * 512, 4711);

  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 16 << 20 }) }]);
    bystander = await Bystander.arrive(target, BYSTANDER_LBA);
  });
  after(async () => {
    await bystander.leave();
    await target.close();
  });
  beforeEach(async () => {
    initiator = await target.login({ keys: SOLICITED });
    assert.equal((await initiator.write(0, LBA - GUARD, original)).status, 0);
  });
  afterEach(async () => {
    initiator.destroy();
    await bystander.assertUndisturbed();
    const now = await readMedium();
    const afterWrite = (GUARD + BLOCKS) * 512;
    assert.ok(
      now.subarray(0, GUARD * 512).equals(original.subarray(0, GUARD * 512)),
      'blocks before changed',
    );
    assert.ok(now.subarray(afterWrite).equals(original.subarray(afterWrite)), 'blocks behind changed');
  });

  async function readMedium(): Promise<Buffer> {
    const fresh = await target.login();
    const { data } = await fresh.read(0, LBA - GUARD, GUARD + BLOCKS + GUARD);
    await fresh.logout();
    return data;
  }

  async function assertNothingWritten(): Promise<void> {
    assert.ok((await readMedium()).equals(original), 'bad data reached the medium');
  }

  async function loggedIn(keys: Keys): Promise<void> {
    initiator.destroy();
    initiator = await target.login({ keys });
  }

  /** The next PDU is a Reject with one of `reasons`, or the connection is closed. */
  async function assertRejectedOrClosed(...reasons: number[]): Promise<'rejected' | 'closed'> {
    let pdu: Pdu;
    try {
      pdu = await initiator.unsolicited.next();
    } catch (error) {
      assert.ok(error instanceof ConnectionClosed, String(error));
      return 'closed';
    }
    assert.equal(pdu.opcode, Opcode.REJECT, `opcode 0x${pdu.opcode.toString(16)}`);
    const reason = Reject.reason.get(pdu.header);
    assert.ok(reasons.includes(reason), `reject reason 0x${reason.toString(16)}`);
    return 'rejected';
  }

  /** Start a WRITE(16) and give its first R2T. */
  async function startWrite(
    blocks = BLOCKS,
  ): Promise<{ header: Buffer; inbox: Inbox; data: Buffer; r2t: Pdu }> {
    const data = Buffer.alloc(blocks * 512, 0xee);
    const header = initiator.commandHeader(0, readWriteCdb(0x8a, LBA, blocks, false), { dataOut: data });
    const inbox = initiator.open(header);
    const r2t = await inbox.next();
    assert.equal(r2t.opcode, Opcode.R2T);
    return { header, inbox, data, r2t };
  }

  /** The write fails: its task ends without good status, by a rejected PDU or with the connection. */
  async function assertWriteFails(inbox: Inbox): Promise<void> {
    for (;;) {
      let pdu: Pdu;
      try {
        pdu = await inbox.next(3000);
      } catch {
        // Silence is right as well: the PDU was dropped, and the initiator's timeout ends the task.
        return;
      }
      if (pdu.opcode === Opcode.R2T) continue;
      assert.equal(pdu.opcode, Opcode.SCSI_RESPONSE);
      assert.notEqual(ScsiResponse.status.get(pdu.header), 0, 'the write was reported good');
      return;
    }
  }

  test('an opcode that is not there is rejected, and the session goes on', async () => {
    const header = initiator.header(0x1e | IMMEDIATE, FINAL);
    ScsiCommand.cmdSN.set(header, initiator.cmdSN);
    initiator.pdus.send(header);
    const { opcode, header: rejection, data } = await initiator.unsolicited.next();
    assert.equal(opcode, Opcode.REJECT);
    assert.equal(Reject.reason.get(rejection), RejectReason.COMMAND_NOT_SUPPORTED);
    assert.deepEqual(data, header, 'a Reject returns the header of the rejected PDU');
    assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
  });

  test("a target's opcode is rejected", async () => {
    const header = initiator.header(Opcode.SCSI_RESPONSE | IMMEDIATE, FINAL);
    ScsiCommand.cmdSN.set(header, initiator.cmdSN);
    initiator.pdus.send(header);
    await assertRejectedOrClosed(RejectReason.COMMAND_NOT_SUPPORTED, RejectReason.PROTOCOL_ERROR);
  });

  test('SNACK is rejected at ErrorRecoveryLevel 0', async () => {
    const header = initiator.header(Opcode.SNACK_REQUEST, FINAL);
    initiator.pdus.send(header);
    await assertRejectedOrClosed(RejectReason.SNACK_REJECT, RejectReason.PROTOCOL_ERROR);
  });

  test('a data segment longer than declared ends the connection', async () => {
    const limit = Number(initiator.answers['MaxRecvDataSegmentLength'] ?? 8192);
    const header = initiator.header(Opcode.NOP_OUT | IMMEDIATE, FINAL);
    Bhs.dataSegmentLength.set(header, limit + 4);
    initiator.pdus.sendBytes(header);
    await initiator.closed;
  });

  test('the longest length that a header can give does not make the target wait or allocate', async () => {
    const header = initiator.header(Opcode.SCSI_COMMAND, FINAL);
    Bhs.dataSegmentLength.set(header, 0xff_ffff);
    Bhs.totalAHSLength.set(header, 0xff);
    initiator.pdus.sendBytes(header);
    await initiator.closed;
  });

  test('a wrong header digest ends the connection', async () => {
    await loggedIn({ HeaderDigest: 'CRC32C' });
    const header = initiator.header(Opcode.NOP_OUT | IMMEDIATE, FINAL);
    initiator.pdus.send(header, Buffer.alloc(0), Buffer.alloc(0), { corruptHeaderDigest: true });
    await initiator.closed;
  });

  test('immediate data with a wrong digest is rejected and not written', async () => {
    await loggedIn({ DataDigest: 'CRC32C' });
    const data = Buffer.alloc(512, 0xee);
    const header = initiator.commandHeader(0, readWriteCdb(0x8a, LBA, 1, false), { dataOut: data });
    ScsiCommand.cmdSN.set(header, initiator.cmdSN);
    ScsiCommand.expStatSN.set(header, initiator.expStatSN);
    initiator.pdus.send(header, data, Buffer.alloc(0), { corruptDataDigest: true });
    await assertRejectedOrClosed(RejectReason.DATA_DIGEST_ERROR);
    await assertNothingWritten();
  });

  test('solicited data with a wrong digest is rejected and not written', async () => {
    await loggedIn({ ...SOLICITED, DataDigest: 'CRC32C' });
    const { header, inbox, data, r2t } = await startWrite(4);
    const dataOut = initiator.dataOutHeader(header, R2T.targetTransferTag.get(r2t.header), 0, 0, true);
    initiator.pdus.send(dataOut, data, Buffer.alloc(0), { corruptDataDigest: true });
    await assertRejectedOrClosed(RejectReason.DATA_DIGEST_ERROR);
    await assertWriteFails(inbox);
    await assertNothingWritten();
  });

  const DATA_OUT_FAULTS: readonly [
    what: string,
    send: (header: Buffer, tag: number, data: Buffer, burst: number) => void,
  ][] = [
    [
      'a wrong first DataSN',
      (header, tag, data, burst) =>
        initiator.pdus.send(initiator.dataOutHeader(header, tag, 27, 0, true), data.subarray(0, burst)),
    ],
    [
      'the same DataSN twice',
      (header, tag, data, burst) => {
        initiator.pdus.send(initiator.dataOutHeader(header, tag, 0, 0, false), data.subarray(0, 512));
        initiator.pdus.send(initiator.dataOutHeader(header, tag, 0, 512, true), data.subarray(512, burst));
      },
    ],
    [
      'an offset that leaves a gap',
      (header, tag, data, burst) => {
        initiator.pdus.send(initiator.dataOutHeader(header, tag, 0, 0, false), data.subarray(0, 512));
        initiator.pdus.send(initiator.dataOutHeader(header, tag, 1, 1024, true), data.subarray(1024, burst));
      },
    ],
    [
      'more than the R2T asked for',
      (header, tag, data, burst) =>
        initiator.pdus.send(initiator.dataOutHeader(header, tag, 0, 0, true), data.subarray(0, burst + 512)),
    ],
    [
      'less than the R2T asked for',
      (header, tag, data) =>
        initiator.pdus.send(initiator.dataOutHeader(header, tag, 0, 0, true), data.subarray(0, 512)),
    ],
    [
      'an offset beyond the buffer',
      (header, tag, data) =>
        initiator.pdus.send(
          initiator.dataOutHeader(header, tag, 0, 0xffff_fe00, true),
          data.subarray(0, 512),
        ),
    ],
    [
      'a transfer tag that was not given',
      (header, tag, data, burst) =>
        initiator.pdus.send(
          initiator.dataOutHeader(header, (tag ^ 0x5555) >>> 0, 0, 0, true),
          data.subarray(0, burst),
        ),
    ],
    [
      'unsolicited data where an R2T is needed',
      (header, _tag, data, burst) =>
        initiator.pdus.send(
          initiator.dataOutHeader(header, RESERVED_TAG, 0, 0, true),
          data.subarray(0, burst),
        ),
    ],
  ];
  for (const [what, send] of DATA_OUT_FAULTS) {
    test(`Data-Out with ${what} fails the write`, async () => {
      const { header, inbox, data, r2t } = await startWrite();
      const burst = R2T.desiredDataTransferLength.get(r2t.header);
      assert.ok(burst < data.length, 'one burst must not be the whole write');
      send(header, R2T.targetTransferTag.get(r2t.header), data, burst);
      await assertRejectedOrClosed(RejectReason.PROTOCOL_ERROR, RejectReason.INVALID_PDU_FIELD);
      await assertWriteFails(inbox);
    });
  }

  test('Data-Out for a task that is not there does not end the session', async () => {
    const ghost = initiator.commandHeader(0, readWriteCdb(0x8a, LBA, 1, false));
    initiator.pdus.send(initiator.dataOutHeader(ghost, 0x1234, 0, 0, true), Buffer.alloc(512, 0xee));
    // Dropped or rejected; either way the session lives, as the task may have been aborted just now.
    assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
  });

  test('immediate data where none was agreed on is not written', async () => {
    const data = Buffer.alloc(512, 0xee);
    const header = initiator.commandHeader(0, readWriteCdb(0x8a, LBA, 1, false), { dataOut: data });
    await assertWriteFails(initiator.open(header, data));
    await assertNothingWritten();
  });

  test('a task tag in use is rejected', async () => {
    const { header } = await startWrite();
    const twin = Buffer.from(header);
    ScsiCommand.cmdSN.set(twin, initiator.cmdSN);
    initiator.pdus.send(twin);
    await assertRejectedOrClosed(RejectReason.TASK_IN_PROGRESS, RejectReason.PROTOCOL_ERROR);
  });

  test('a second login in the full feature phase ends the connection', async () => {
    const header = initiator.header(Opcode.LOGIN_REQUEST | IMMEDIATE, 0x87);
    initiator.pdus.send(header);
    await initiator.closed;
  });

  test('bytes that are no PDU end the connection', async () => {
    initiator.pdus.sendBytes(Buffer.from('GET / HTTP/1.1\r\nHost: example\r\n\r\n'.repeat(8)));
    await initiator.closed;
  });

  test('a connection that ends inside of a PDU disturbs nobody', async () => {
    const { header, data, r2t } = await startWrite();
    const dataOut = initiator.dataOutHeader(header, R2T.targetTransferTag.get(r2t.header), 0, 0, true);
    Bhs.dataSegmentLength.set(dataOut, 8192);
    initiator.pdus.sendBytes(Buffer.concat([dataOut, data.subarray(0, 1000)]));
    initiator.pdus.socket.end();
    await initiator.closed;
  });
});
