/**
 * The initiator and targets that lie: whatever they do, a command ends, by its status after a recovery or by an error that says why,
 * and a session with a good target in the same process works on.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sendCommand } from '../../src/initiator/index.js';
import { Bhs, BHS_LENGTH, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import { DATA_IN_STATUS, FINAL, Opcode, ResponseFlag } from '../../src/iscsi/wire/opcodes.js';
import {
  atFirstCommand,
  codeOf,
  evilScene,
  LENGTH,
  LUN,
  READ,
  READING,
  WRITE,
  WRITING,
} from '../support/evil-scene.js';
import { type EvilConnection } from '../support/evil-target.js';

describe('an evil target', () => {
  const scene = evilScene();

  describe('that breaks a rule while a command is under way loses the connection, not the command', () => {
    const read = true;
    const cases: [string, boolean, RegExp, (connection: EvilConnection, tag: number) => void][] = [
      [
        'data beyond the expected length',
        read,
        /Data-In for bytes 0 to 8704/,
        (c, tag) => c.dataIn(tag, 0, 0, Buffer.alloc(LENGTH + 512), true),
      ],
      [
        'data that begins beyond it',
        read,
        /Data-In for bytes 4294966784 to/,
        (c, tag) => c.dataIn(tag, 0, 0xffff_fe00, Buffer.alloc(512), true),
      ],
      [
        'data with a gap',
        read,
        /Data-In for bytes 512/,
        (c, tag) => c.dataIn(tag, 0, 512, Buffer.alloc(512), false),
      ],
      [
        'data twice',
        read,
        /Data-In for bytes 0 to 512/,
        (c, tag) => {
          c.dataIn(tag, 0, 0, Buffer.alloc(512), false);
          c.dataIn(tag, 1, 0, Buffer.alloc(512), false);
        },
      ],
      [
        'a DataSN ahead',
        read,
        /DataSN 3 instead of 0/,
        (c, tag) => c.dataIn(tag, 3, 0, Buffer.alloc(512), false),
      ],
      [
        'data for a write',
        !read,
        /task that reads nothing/,
        (c, tag) => c.dataIn(tag, 0, 0, Buffer.alloc(512), false),
      ],
      [
        'data for another task',
        read,
        /task that does not exist/,
        (c, tag) => c.dataIn(tag + 1, 0, 0, Buffer.alloc(512), true),
      ],
      [
        'a long data segment for no task',
        read,
        /task that does not exist/,
        (c) => c.dataIn(0x7fff_ffff, 0, 0, Buffer.alloc(200_000), true),
      ],
      ['an R2T for a read', read, /R2T for a task that writes nothing/, (c, tag) => c.r2t(tag, 0, 0, 512)],
      [
        'an R2T for no task',
        !read,
        /R2T for a task that writes nothing/,
        (c, tag) => c.r2t(tag + 5, 0, 0, 512),
      ],
      [
        'an R2T for data that was sent unasked',
        !read,
        /R2T for bytes 0 to 512/,
        (c, tag) => c.r2t(tag, 0, 0, 512),
      ],
      ['an R2T beyond the end', !read, /R2T for bytes 8192 to 8704/, (c, tag) => c.r2t(tag, 0, LENGTH, 512)],
      ['an R2T for nothing', !read, /R2T for bytes 8192 to 8192/, (c, tag) => c.r2t(tag, 0, LENGTH, 0)],
      [
        'an R2T for everything',
        !read,
        /R2T for bytes 0 to 4294967295/,
        (c, tag) => c.r2t(tag, 0, 0, 0xffff_ffff),
      ],
      ['an R2TSN ahead', !read, /R2TSN 1 instead of 0/, (c, tag) => c.r2t(tag, 1, LENGTH, 512)],
      [
        'a StatSN ahead',
        read,
        /StatSN/,
        (c, tag) => {
          c.statSN += 3;
          c.send(Opcode.SCSI_RESPONSE, { tag });
        },
      ],
      [
        'a StatSN behind',
        read,
        /StatSN/,
        (c, tag) => {
          c.statSN = (c.statSN - 1) >>> 0;
          c.send(Opcode.SCSI_RESPONSE, { tag });
        },
      ],
      [
        'a StatSN ahead in a Data-In',
        read,
        /StatSN/,
        (c, tag) => {
          c.statSN += 0x8000_0000;
          c.dataIn(tag, 0, 0, Buffer.alloc(LENGTH), true);
        },
      ],
      [
        'a status for no task',
        read,
        /response for no task/,
        (c, tag) => c.send(Opcode.SCSI_RESPONSE, { tag: tag + 1 }),
      ],
      ['a status with the reserved tag', read, /response for no task/, (c) => c.send(Opcode.SCSI_RESPONSE)],
      [
        'an answer to nothing',
        read,
        /answer to no request/,
        (c) => c.send(Opcode.LOGOUT_RESPONSE, { tag: 0x8000_0001 }),
      ],
      ['a PDU of initiators', read, /no target sends/, (c, tag) => c.send(Opcode.SCSI_COMMAND, { tag })],
      ['an opcode that nobody has', read, /no target sends/, (c, tag) => c.send(0x2b as Opcode, { tag })],
      ['a login response', read, /no target sends/, (c, tag) => c.send(Opcode.LOGIN_RESPONSE, { tag })],
      [
        'a huge data segment',
        read,
        /data segment of 16777215 bytes/,
        (c) => {
          const header = Buffer.alloc(BHS_LENGTH);
          header[0] = Opcode.DATA_IN;
          header.fill(0xff, 5, 8);
          c.pdus.sendBytes(header);
        },
      ],
      [
        'additional header segments without end',
        read,
        /no target sends/,
        (c) => {
          const header = Buffer.alloc(BHS_LENGTH + 255 * 4, 0xff);
          header.fill(0, 5, 8);
          header[0] = Opcode.SNACK_REQUEST;
          ScsiResponse.statSN.set(header, c.statSN);
          c.pdus.sendBytes(header);
        },
      ],
      ['its farewell', read, /closed the connection/, (c) => c.pdus.socket.end()],
      ['a reset', read, /connection/, (c) => c.pdus.socket.resetAndDestroy()],
      [
        'half a header and its farewell',
        read,
        /closed the connection/,
        (c) => {
          c.pdus.sendBytes(Buffer.alloc(20));
          c.pdus.socket.end();
        },
      ],
      [
        'half of its data and a reset',
        read,
        /connection/,
        (c, tag) => {
          const header = Buffer.alloc(BHS_LENGTH + 1000);
          header[0] = Opcode.DATA_IN;
          header[1] = FINAL | DATA_IN_STATUS;
          Bhs.dataSegmentLength.set(header, LENGTH);
          Bhs.initiatorTaskTag.set(header, tag);
          c.pdus.sendBytes(header);
          setTimeout(() => c.pdus.socket.resetAndDestroy(), 50);
        },
      ],
      [
        'a Reject for damaged data',
        read,
        /the target rejected/,
        (c) => c.send(Opcode.REJECT, { data: Buffer.alloc(BHS_LENGTH, 1), set: (header) => (header[2] = 2) }),
      ],
    ];
    for (const [what, reads, reason, act] of cases) {
      test(what, async () => {
        const { session, losses } = await scene.connect(atFirstCommand(act));
        const [command, options] = reads ? [READ, READING] : [WRITE, WRITING];
        const result = await sendCommand(session, LUN, command, options);
        assert.equal(result.status, 0);
        assert.equal(result.residual, 0);
        assert.equal(losses.length, 1);
        assert.match(losses[0]!, reason);
      });
    }

    test('and one that must not be repeated is reported as unknown, and sent once', async () => {
      let commands = 0;
      const { session } = await scene.connect((connection, pdu) => {
        if (pdu.opcode === Opcode.SCSI_COMMAND) commands++;
        return atFirstCommand((c) => c.pdus.socket.resetAndDestroy())(connection, pdu);
      });
      assert.equal(
        await codeOf(sendCommand(session, LUN, WRITE, { data: Buffer.alloc(512) })),
        'OUTCOME_UNKNOWN',
      );
      assert.equal((await sendCommand(session, LUN, READ, READING)).status, 0);
      assert.equal(commands, 2);
    });

    test('and again and again is given up, without connecting in a frenzy', async () => {
      const { session } = await scene.connect((connection, pdu) => {
        if (pdu.opcode !== Opcode.SCSI_COMMAND) return false;
        connection.pdus.socket.destroy();
        return true;
      });
      assert.equal(await codeOf(sendCommand(session, LUN, READ, READING)), 'CONNECTION_LOST');
      assert.ok(scene.evil.connections.length <= 11, `${scene.evil.connections.length} connections`);
    });
  });

  describe('that says GOOD', () => {
    test('with data missing is not believed', async () => {
      const { session, losses } = await scene.connect(
        atFirstCommand((c, tag) => {
          c.dataIn(tag, 0, 0, Buffer.alloc(512, 1), false);
          c.send(Opcode.SCSI_RESPONSE, { tag });
        }),
      );
      const result = await sendCommand(session, LUN, READ, READING);
      assert.equal(result.residual, LENGTH - 512);
      assert.ok(result.data.equals(Buffer.alloc(512, 1)));
      assert.deepEqual(losses, []);
    });

    test('and tells of more residual than there can be', async () => {
      const { session } = await scene.connect(
        atFirstCommand((c, tag) =>
          c.send(Opcode.SCSI_RESPONSE, {
            tag,
            flags: FINAL | ResponseFlag.UNDERFLOW,
            set: (header) => ScsiResponse.residualCount.set(header, 0xffff_ffff),
          }),
        ),
      );
      const result = await sendCommand(session, LUN, READ, READING);
      assert.deepEqual([result.residual, result.data.length], [LENGTH, 0]);
    });
  });

  test('with sense data longer than its segment', async () => {
    const { session } = await scene.connect(
      atFirstCommand((c, tag) => {
        const data = Buffer.alloc(10, 0x70);
        data.writeUInt16BE(0xffff);
        c.send(Opcode.SCSI_RESPONSE, { tag, data, set: (header) => (header[3] = 2) });
      }),
    );
    const result = await sendCommand(session, LUN, READ, READING);
    assert.equal(result.status, 2);
    assert.equal(result.sense?.key, 0);
  });
});
