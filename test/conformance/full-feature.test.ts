/** Commands, data and numbering in the full feature phase over a real socket (RFC 7143 4.2, 11). */

import assert from 'node:assert/strict';
import { after, before, beforeEach, afterEach, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import {
  Bhs,
  DataIn,
  LogoutResponse,
  NopIn,
  NopOut,
  R2T,
  ScsiCommand,
  ScsiResponse,
  TaskManagementRequest,
  TaskManagementResponse,
} from '../../src/iscsi/wire/headers.js';
import {
  DATA_IN_ACKNOWLEDGE,
  DATA_IN_STATUS,
  CommandAttribute,
  FINAL,
  IMMEDIATE,
  LogoutReason,
  Opcode,
  RESERVED_TAG,
  TaskManagementFunction as Function,
  TaskManagementResponse as Response,
} from '../../src/iscsi/wire/opcodes.js';
import { serialLess } from '../../src/util/serial.js';
import { inquiryCdb, readWriteCdb, TEST_UNIT_READY } from '../support/cdb.js';
import type { Initiator } from '../support/initiator.js';
import type { Keys } from '../support/login.js';
import { pattern } from '../support/pattern.js';
import { TestTarget } from '../support/target.js';

const MIB = 1 << 20;
/** RESERVE(6) of the whole unit. */
const RESERVE = Buffer.of(0x16, 0, 0, 0, 0, 0);
const RESERVATION_CONFLICT = 0x18;

describe('full feature phase', () => {
  let target: TestTarget;
  let initiator: Initiator;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 64 * MIB }) }]);
  });
  after(() => target.close());
  beforeEach(async () => {
    initiator = await target.login();
  });
  afterEach(() => initiator.destroy());

  async function loggedIn(keys: Keys): Promise<Initiator> {
    initiator.destroy();
    initiator = await target.login({ keys });
    return initiator;
  }

  /** Write 1 MiB and less than a segment, odd places and all, and read it back. */
  async function assertDataIsRight(session: Initiator): Promise<void> {
    for (const [lba, length] of [
      [3, 512],
      [1001, 64 * 1024 + 512],
      [4096, MIB],
    ] as const) {
      const data = pattern(length, lba);
      assert.equal((await session.write(0, lba, data)).status, 0);
      const back = await session.read(0, lba, length / 512);
      assert.equal(back.status, 0);
      assert.ok(back.data.equals(data), `${length} bytes at block ${lba}`);
    }
  }

  const TRANSFERS: readonly [what: string, keys: Keys][] = [
    ['immediate and unsolicited data', {}],
    ['immediate data only', { InitialR2T: 'Yes' }],
    ['unsolicited data only', { ImmediateData: 'No' }],
    ['solicited data only', { InitialR2T: 'Yes', ImmediateData: 'No' }],
    ['small bursts', { MaxBurstLength: '4096', FirstBurstLength: '1024', MaxRecvDataSegmentLength: '512' }],
    ['several R2Ts at a time', { InitialR2T: 'Yes', MaxBurstLength: '8192', MaxOutstandingR2T: '8' }],
    ['header digests', { HeaderDigest: 'CRC32C' }],
    ['data digests', { DataDigest: 'CRC32C' }],
    ['both digests', { HeaderDigest: 'CRC32C', DataDigest: 'CRC32C', MaxRecvDataSegmentLength: '8192' }],
  ];
  for (const [what, keys] of TRANSFERS) {
    test(`data is right with ${what}`, async () => {
      const session = await loggedIn(keys);
      for (const name of ['HeaderDigest', 'DataDigest', 'InitialR2T', 'ImmediateData']) {
        if (keys[name] !== undefined) assert.equal(session.answers[name], keys[name]);
      }
      await assertDataIsRight(session);
      assert.equal((await session.nop(Buffer.from('digest me'))).data.toString(), 'digest me');
      await session.logout();
    });
  }

  test('Data-In is numbered from 0, in order, in bursts and segments of the agreed size', async () => {
    const session = await loggedIn({ MaxRecvDataSegmentLength: '4096', MaxBurstLength: '16384' });
    const { pdus, data } = await session.read(0, 0, 128);
    assert.equal(data.length, 65536);
    const dataIns = pdus.filter((pdu) => pdu.opcode === Opcode.DATA_IN);
    let offset = 0;
    dataIns.forEach(({ header, data: part }, i) => {
      assert.equal(DataIn.dataSN.get(header), i);
      assert.equal(DataIn.bufferOffset.get(header), offset);
      assert.ok(part.length <= 4096);
      // Nothing is acknowledged at ErrorRecoveryLevel 0 (RFC 7143 11.7.2).
      assert.equal(Bhs.flags.get(header) & DATA_IN_ACKNOWLEDGE, 0);
      assert.equal(DataIn.targetTransferTag.get(header), RESERVED_TAG);
      offset += part.length;
      // F ends each burst (RFC 7143 11.7.1).
      assert.equal((Bhs.flags.get(header) & FINAL) !== 0, offset % 16384 === 0, `F at ${offset}`);
    });
    assert.equal(offset, 65536);
  });

  test('the last Data-In carries good status, or a SCSI Response tells how many there were', async () => {
    const { pdus } = await initiator.read(0, 0, 8);
    const last = pdus.at(-1)!;
    if (last.opcode === Opcode.DATA_IN) {
      assert.notEqual(Bhs.flags.get(last.header) & DATA_IN_STATUS, 0);
      assert.notEqual(Bhs.flags.get(last.header) & FINAL, 0);
    } else {
      assert.equal(ScsiResponse.expDataSN.get(last.header), pdus.length - 1);
    }
  });

  test('a response tells of no Data-In where there was none, whatever R2Ts there were (RFC 7143 11.4.8)', async () => {
    const session = await loggedIn({ InitialR2T: 'Yes', ImmediateData: 'No', MaxBurstLength: '4096' });
    const { pdus } = await session.write(0, 0, pattern(32 * 512, 1));
    assert.equal(pdus.length, 5, 'four R2Ts and the response');
    assert.equal(ScsiResponse.expDataSN.get(pdus.at(-1)!.header), 0);
    const refused = await session.read(0, 1 << 30, 1);
    assert.equal(ScsiResponse.expDataSN.get(refused.pdus[0]!.header), 0);
  });

  test('R2Ts ask for each byte once, in order, within MaxBurstLength', async () => {
    const session = await loggedIn({ InitialR2T: 'Yes', ImmediateData: 'No', MaxBurstLength: '16384' });
    const { pdus, status } = await session.write(0, 0, pattern(100 * 512, 1));
    assert.equal(status, 0);
    let offset = 0;
    pdus
      .filter((pdu) => pdu.opcode === Opcode.R2T)
      .forEach(({ header }, i) => {
        assert.equal(R2T.r2tSN.get(header), i);
        assert.equal(R2T.bufferOffset.get(header), offset);
        const length = R2T.desiredDataTransferLength.get(header);
        assert.ok(length > 0 && length <= 16384);
        assert.notEqual(R2T.targetTransferTag.get(header), RESERVED_TAG);
        offset += length;
      });
    assert.equal(offset, 100 * 512);
  });

  test('Data-Out of no bytes is taken (RFC 7143 11.7.7)', async () => {
    const session = await loggedIn({ InitialR2T: 'Yes', ImmediateData: 'No' });
    const data = pattern(2048, 7);
    const command = session.commandHeader(0, readWriteCdb(0x8a, 0, 4, false), { dataOut: data });
    const inbox = session.open(command);
    const tag = R2T.targetTransferTag.get((await inbox.next()).header);
    session.pdus.send(session.dataOutHeader(command, tag, 0, 0, false), data.subarray(0, 1024));
    session.pdus.send(session.dataOutHeader(command, tag, 1, 1024, false), Buffer.alloc(0));
    session.pdus.send(session.dataOutHeader(command, tag, 2, 1024, true), data.subarray(1024));
    assert.equal(ScsiResponse.status.get((await inbox.next()).header), 0);
    assert.ok((await session.read(0, 0, 4)).data.equals(data));
  });

  test('residuals: fewer and more bytes than the initiator expected', async () => {
    const under = await initiator.command(0, inquiryCdb(36), { dataIn: 255 });
    assert.equal(under.residual, -(255 - 36));
    const over = await initiator.command(0, readWriteCdb(0x88, 0, 4, false), { dataIn: 1024 });
    assert.equal(over.residual, 1024);
    assert.equal(over.data.length, 1024);
    const none = await initiator.command(0, TEST_UNIT_READY);
    assert.equal(none.residual, 0);
  });

  test('StatSN counts responses without a gap, ExpCmdSN commands', async () => {
    const statSNs: number[] = [];
    for (let i = 0; i < 20; i++) {
      const { pdus } = await initiator.command(0, TEST_UNIT_READY);
      statSNs.push(ScsiResponse.statSN.get(pdus[0]!.header));
      assert.equal(ScsiResponse.expCmdSN.get(pdus[0]!.header), initiator.cmdSN);
    }
    statSNs.forEach((statSN, i) => assert.equal(statSN, (statSNs[0]! + i) >>> 0));
  });

  test('an immediate command takes no CmdSN', async () => {
    const before = initiator.cmdSN;
    const { pdus, status } = await initiator.command(0, TEST_UNIT_READY, { immediate: true });
    assert.equal(status, 0);
    assert.equal(ScsiResponse.expCmdSN.get(pdus[0]!.header), before);
    assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
  });

  test('a command outside of the window is ignored, and the session goes on', async () => {
    for (const cmdSN of [(initiator.maxCmdSN + 1) >>> 0, (initiator.cmdSN - 1) >>> 0]) {
      const header = initiator.commandHeader(0, TEST_UNIT_READY);
      ScsiCommand.cmdSN.set(header, cmdSN);
      ScsiCommand.expStatSN.set(header, initiator.expStatSN);
      initiator.pdus.send(header);
    }
    const { pdus } = await initiator.command(0, TEST_UNIT_READY);
    assert.equal(pdus.length, 1);
    assert.equal(initiator.unsolicited.length, 0);
  });

  test('256 commands at once wait for the window and are all answered', async () => {
    const results = await Promise.all(
      Array.from({ length: 256 }, (_, i) => initiator.write(0, i * 8, pattern(4096, i))),
    );
    assert.ok(results.every(({ status }) => status === 0));
    const back = await Promise.all(Array.from({ length: 256 }, (_, i) => initiator.read(0, i * 8, 8)));
    back.forEach(({ data }, i) => assert.ok(data.equals(pattern(4096, i)), `write ${i}`));
  });

  test('a LUN that is not there is refused with ILLEGAL REQUEST', async () => {
    const { status, sense } = await initiator.command(9, TEST_UNIT_READY);
    assert.equal(status, 2);
    assert.equal(sense[2]! & 0x0f, 5);
    assert.deepEqual([...sense.subarray(12, 14)], [0x25, 0x00], 'LOGICAL UNIT NOT SUPPORTED');
  });

  describe('NOP', () => {
    for (const isImmediate of [false, true]) {
      for (const length of [0, 1, 5, 4096]) {
        test(`${isImmediate ? 'an immediate ' : 'a '}ping of ${length} bytes is echoed`, async () => {
          const data = pattern(length + 3, 1).subarray(0, length);
          const { opcode, header, data: echo } = await initiator.nop(data, isImmediate);
          assert.equal(opcode, Opcode.NOP_IN);
          assert.equal(NopIn.targetTransferTag.get(header), RESERVED_TAG);
          assert.deepEqual(echo, data);
        });
      }
    }

    test('a NOP-Out without a task tag is not answered', async () => {
      const header = initiator.header(Opcode.NOP_OUT | IMMEDIATE, FINAL);
      NopOut.initiatorTaskTag.set(header, RESERVED_TAG);
      NopOut.targetTransferTag.set(header, RESERVED_TAG);
      NopOut.cmdSN.set(header, initiator.cmdSN);
      initiator.pdus.send(header);
      await initiator.nop();
      assert.equal(initiator.unsolicited.length, 0);
    });
  });

  describe('task management', () => {
    const RESPONSES: readonly [what: string, fn: number, lun: number, response: number[]][] = [
      ['ABORT TASK of a task that is over', Function.ABORT_TASK, 0, [Response.TASK_DOES_NOT_EXIST]],
      ['ABORT TASK SET', Function.ABORT_TASK_SET, 0, [Response.FUNCTION_COMPLETE]],
      ['CLEAR TASK SET', Function.CLEAR_TASK_SET, 0, [Response.FUNCTION_COMPLETE]],
      ['LOGICAL UNIT RESET', Function.LOGICAL_UNIT_RESET, 0, [Response.FUNCTION_COMPLETE]],
      ['LOGICAL UNIT RESET of no LUN', Function.LOGICAL_UNIT_RESET, 9, [Response.LUN_DOES_NOT_EXIST]],
      ['TARGET WARM RESET', Function.TARGET_WARM_RESET, 0, [Response.FUNCTION_COMPLETE]],
      ['CLEAR ACA', Function.CLEAR_ACA, 0, [Response.NOT_SUPPORTED, Response.FUNCTION_COMPLETE]],
      [
        'TASK REASSIGN',
        Function.TASK_REASSIGN,
        0,
        [Response.REASSIGNMENT_NOT_SUPPORTED, Response.NOT_SUPPORTED],
      ],
      ['a function that is not there', 99, 0, [Response.NOT_SUPPORTED, Response.FUNCTION_REJECTED]],
    ];
    for (const [what, fn, lun, responses] of RESPONSES) {
      test(what, async () => {
        const tag = fn === Function.ABORT_TASK ? 0x7777 : RESERVED_TAG;
        const response = await initiator.manageTask(fn, lun, tag, (initiator.cmdSN - 1) >>> 0);
        assert.ok(responses.includes(response), `response ${response}`);
        assert.equal((await initiator.nop()).opcode, Opcode.NOP_IN);
      });
    }

    test('ABORT TASK ends a command that waits for its data, and frees its tag', async () => {
      const session = await loggedIn({ InitialR2T: 'Yes', ImmediateData: 'No' });
      const data = pattern(8192, 1);
      const header = session.commandHeader(0, readWriteCdb(0x8a, 0, 16, false), { dataOut: data });
      const before = await session.read(0, 0, 16);
      const inbox = session.open(header);
      assert.equal((await inbox.next()).opcode, Opcode.R2T);
      const response = await session.manageTask(
        Function.ABORT_TASK,
        0,
        Bhs.initiatorTaskTag.get(header),
        ScsiCommand.cmdSN.get(header),
      );
      assert.equal(response, Response.FUNCTION_COMPLETE);
      assert.ok((await session.read(0, 0, 16)).data.equals(before.data), 'nothing was written');
      assert.equal(inbox.length, 0, 'an aborted task has no response');
      // The same tag names a new task now.
      session.close(header);
      assert.equal((await session.request(header)).opcode, Opcode.R2T);
    });

    test('LOGICAL UNIT RESET ends the tasks of all sessions and tells the others', async () => {
      const other = await target.login({ keys: { InitialR2T: 'Yes', ImmediateData: 'No' } });
      await other.command(0, TEST_UNIT_READY);
      const header = other.commandHeader(0, readWriteCdb(0x8a, 0, 16, false), {
        dataOut: Buffer.alloc(8192),
      });
      const waiting = other.open(header);
      assert.equal((await waiting.next()).opcode, Opcode.R2T);
      assert.equal(await initiator.manageTask(Function.LOGICAL_UNIT_RESET), Response.FUNCTION_COMPLETE);
      const told = await other.command(0, TEST_UNIT_READY);
      assert.equal(told.status, 2);
      assert.equal(told.sense[2]! & 0x0f, 6, 'UNIT ATTENTION');
      assert.equal(told.sense[12], 0x29, 'RESET OCCURRED');
      assert.equal((await other.command(0, TEST_UNIT_READY)).status, 0, 'told once');
      other.destroy();
    });

    test('TARGET COLD RESET is answered before the sessions end', async () => {
      const header = initiator.header(
        Opcode.TASK_MANAGEMENT_REQUEST | IMMEDIATE,
        FINAL | Function.TARGET_COLD_RESET,
      );
      TaskManagementRequest.referencedTaskTag.set(header, RESERVED_TAG);
      const { header: answer } = await initiator.request(header);
      assert.equal(TaskManagementResponse.response.get(answer), Response.FUNCTION_COMPLETE);
      const again = await target.login();
      // The first command is told of the reset, or the reset is over and forgotten.
      await again.command(0, TEST_UNIT_READY);
      assert.equal((await again.command(0, TEST_UNIT_READY)).status, 0);
      again.destroy();
    });
  });

  describe('logout', () => {
    for (const reason of [LogoutReason.CLOSE_SESSION, LogoutReason.CLOSE_CONNECTION]) {
      test(`reason ${reason} is answered, then the target closes`, async () => {
        const { opcode, header } = await initiator.logout(reason);
        assert.equal(opcode, Opcode.LOGOUT_RESPONSE);
        assert.equal(LogoutResponse.response.get(header), 0);
        await initiator.closed;
      });
    }

    for (const reason of [LogoutReason.CLOSE_SESSION, LogoutReason.CLOSE_CONNECTION]) {
      test(`reason ${reason}: when it is answered, the session's reservation and its tasks are gone`, async () => {
        // This side does not close, so that nothing but the answer can end the session.
        const leaving = await target.login({
          holdsOpen: true,
          keys: { InitialR2T: 'Yes', ImmediateData: 'No' },
        });
        assert.equal((await leaving.command(0, RESERVE)).status, 0);
        assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, RESERVATION_CONFLICT);
        // An ORDERED task that never gets its data, behind which all others would wait.
        const unfed = leaving.commandHeader(0, readWriteCdb(0x8a, 0, 1, false), {
          dataOut: pattern(512, 1),
          attribute: CommandAttribute.ORDERED,
        });
        assert.equal((await leaving.open(unfed).next()).opcode, Opcode.R2T);
        assert.equal((await leaving.logout(reason)).opcode, Opcode.LOGOUT_RESPONSE);
        assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
        leaving.destroy();
      });
    }

    test('what comes behind it is not carried out', async () => {
      const before = pattern(512, 1);
      await initiator.write(0, 7, before);
      const dataOut = pattern(512, 2);
      const write = initiator.commandHeader(0, readWriteCdb(0x8a, 7, 1, false), { dataOut });
      const logout = initiator.logout(LogoutReason.CLOSE_SESSION);
      initiator.open(write, dataOut);
      await logout;
      await initiator.closed;
      initiator = await target.login();
      assert.deepEqual((await initiator.read(0, 7, 1)).data, before);
    });

    test('of a connection that is not there is refused, and the session stays', async () => {
      const { header } = await initiator.logout(LogoutReason.CLOSE_CONNECTION, 77);
      assert.equal(LogoutResponse.response.get(header), 1);
      assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
    });

    test('for recovery is not supported at ErrorRecoveryLevel 0', async () => {
      const { header } = await initiator.logout(LogoutReason.REMOVE_FOR_RECOVERY);
      assert.equal(LogoutResponse.response.get(header), 2);
      assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
    });

    test('commands that came before it are answered before it', async () => {
      const reads = Array.from({ length: 16 }, (_, i) => initiator.read(0, i, 8));
      // Reads wait for the command window, which is open, before they are sent.
      await new Promise(setImmediate);
      const header = initiator.header(Opcode.LOGOUT_REQUEST, FINAL | LogoutReason.CLOSE_SESSION);
      const logout = await initiator.request(header);
      const logoutStatSN = ScsiResponse.statSN.get(logout.header);
      for (const { pdus } of await Promise.all(reads)) {
        assert.ok(serialLess(ScsiResponse.statSN.get(pdus.at(-1)!.header), logoutStatSN));
      }
    });
  });
});
