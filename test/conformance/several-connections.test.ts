/** Several connections in a session, at the target (RFC 7143 4.2.2.1, 4.2.4, 6.3.4, 11.14). */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MemoryDevice } from '../../src/block/index.js';
import {
  AsyncMessage,
  Bhs,
  LogoutResponse as LogoutResponseHeader,
  NopOut,
  R2T,
  ScsiResponse,
} from '../../src/iscsi/wire/headers.js';
import {
  AsyncEvent,
  FINAL,
  LogoutReason,
  LogoutResponse,
  Opcode,
  RESERVED_TAG,
  TaskManagementFunction,
  TaskManagementResponse,
} from '../../src/iscsi/wire/opcodes.js';
import { readWriteCdb, TEST_UNIT_READY } from '../support/cdb.js';
import type { Initiator } from '../support/initiator.js';
import { type Keys, LoginRefused } from '../support/login.js';
import { pattern } from '../support/pattern.js';
import type { Pdu } from '../support/pdu-socket.js';
import { TestTarget } from '../support/target.js';
import { until } from '../support/verbs-pair.js';

const DATA = pattern(4096, 1);
/** RESERVE(6) of the whole unit. */
const RESERVE = Buffer.of(0x16, 0, 0, 0, 0, 0);
const RESERVATION_CONFLICT = 0x18;

describe('several connections in a session', () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }], {
      recovery: { maxConnections: 3 },
    });
  });
  after(() => target.close());

  const lead = (keys: Keys = {}): Promise<Initiator> =>
    target.login({ keys: { MaxConnections: '3', InitialR2T: 'Yes', ImmediateData: 'No', ...keys } });

  const join = async (leading: Initiator, cid: number, keys: Keys = {}): Promise<Initiator> => {
    const { isid, tsih } = leading;
    const joined = await target.login({ isid, joins: { tsih, cid }, keys });
    // What the session has agreed on holds for it, too.
    Object.assign(joined.answers, { ...leading.answers, ...joined.answers });
    return joined;
  };

  const sendNop = (initiator: Initiator, cmdSN: number, text: string): ReturnType<Initiator['open']> => {
    const header = initiator.header(Opcode.NOP_OUT, FINAL);
    // One space of tags for the session.
    Bhs.initiatorTaskTag.set(header, 0x1000 + cmdSN);
    NopOut.targetTransferTag.set(header, RESERVED_TAG);
    initiator.cmdSN = cmdSN;
    return initiator.open(header, Buffer.from(text));
  };

  const refused = async (login: Promise<Initiator>): Promise<number[]> => {
    const error = await login.then(
      () => assert.fail('the login was not refused'),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof LoginRefused);
    return [error.statusClass, error.statusDetail];
  };

  const logout = async (initiator: Initiator, reason: number, cid: number): Promise<number> =>
    LogoutResponseHeader.response.get((await initiator.logout(reason, cid)).header);

  test('as many as agreed on, numbers go on, digests are each one’s own', async () => {
    const first = await lead({ TaskReporting: 'FastAbort,ResponseFence,RFC3720' });
    assert.equal(first.answers['MaxConnections'], '3');
    assert.equal(first.answers['TaskReporting'], 'RFC3720', 'there is no fence over several connections');
    await first.nop();
    const second = await join(first, 1, { DataDigest: 'CRC32C' });
    assert.equal(second.tsih, first.tsih);
    assert.equal(second.cmdSN, first.cmdSN);
    assert.equal(second.answers['DataDigest'], 'CRC32C');
    const third = await join(first, 2);
    assert.deepEqual(await refused(join(first, 3)), [2, 6]);
    assert.equal(target.server.sessions().length, 1);
    assert.equal((await second.write(0, 0, DATA)).status, 0);
    third.cmdSN = second.cmdSN;
    assert.ok((await third.read(0, 0, 8)).data.equals(DATA));
    assert.equal(await logout(third, LogoutReason.CLOSE_SESSION, 0), LogoutResponse.SUCCESS);
    await Promise.all([first.closed, second.closed, third.closed]);
    await until(() => target.server.sessions().length === 0, 'the end of the session');
  });

  test('one alone where nobody asks for more', async () => {
    const alone = await lead({ MaxConnections: '1' });
    assert.deepEqual(await refused(join(alone, 1)), [2, 6]);
    alone.destroy();
  });

  test('commands are carried out in the order of CmdSN, whichever connection they come by', async () => {
    const first = await lead();
    const second = await join(first, 1);
    const start = first.cmdSN;
    const late = sendNop(second, start + 1, 'second');
    const later = sendNop(first, start + 3, 'fourth');
    const pong = await second.nop(Buffer.alloc(0), true);
    assert.equal(ScsiResponse.expCmdSN.get(pong.header), start);
    assert.equal(late.length + later.length, 0);
    const early = sendNop(first, start, 'first');
    assert.equal(String((await early.next()).data), 'first');
    assert.equal(String((await late.next()).data), 'second');
    assert.equal(later.length, 0);
    assert.equal(String((await sendNop(second, start + 2, 'third').next()).data), 'third');
    assert.equal(String((await later.next()).data), 'fourth');
    first.destroy();
    second.destroy();
  });

  test('the answer comes by the connection that the command came by; data for it by another is not taken', async () => {
    const first = await lead();
    const second = await join(first, 1);
    const data = pattern(512, 2);
    const command = first.commandHeader(0, readWriteCdb(0x8a, 64, 1, false), { dataOut: data });
    const inbox = first.open(command);
    const r2t = await inbox.next();
    second.cmdSN = first.cmdSN;
    const tag = R2T.targetTransferTag.get(r2t.header);
    second.sendDataOut(command, tag, pattern(512, 3), 0, 512);
    await second.nop(Buffer.alloc(0), true);
    assert.equal(inbox.length, 0);
    first.sendDataOut(command, tag, data, 0, 512);
    assert.equal(ScsiResponse.status.get((await inbox.next()).header), 0);
    first.cmdSN = second.cmdSN;
    assert.ok((await first.read(0, 64, 1)).data.equals(data));
    first.destroy();
    second.destroy();
  });

  test('a connection that is lost takes its commands along, and the others hear of it', async () => {
    const first = await lead();
    const second = await join(first, 7);
    const command = second.commandHeader(0, readWriteCdb(0x8a, 0, 1, false), { dataOut: pattern(512, 4) });
    // One space of tags for the session.
    const task = 0x1000;
    Bhs.initiatorTaskTag.set(command, task);
    const r2t = await second.open(command).next();
    assert.equal(r2t.opcode, Opcode.R2T);
    first.cmdSN = second.cmdSN;
    second.destroy();
    const notice: Pdu = await first.unsolicited.next();
    assert.equal(notice.opcode, Opcode.ASYNC_MESSAGE);
    assert.equal(AsyncMessage.asyncEvent.get(notice.header), AsyncEvent.CONNECTION_WILL_DROP);
    assert.equal(AsyncMessage.parameter1.get(notice.header), 7);
    // The task does not exist any more: its tag and its place in the window are free.
    assert.equal(await first.manageTask(TaskManagementFunction.ABORT_TASK, 0, task), 1);
    const { header } = await first.nop();
    assert.equal((ScsiResponse.maxCmdSN.get(header) - ScsiResponse.expCmdSN.get(header)) >>> 0, 255);
    // SOME COMMANDS CLEARED BY ISCSI PROTOCOL EVENT (RFC 7143 11.14.5), once.
    const told = await first.command(0, TEST_UNIT_READY);
    assert.deepEqual([told.status, told.sense[2]! & 0x0f, told.sense.readUInt16BE(12)], [2, 6, 0x477f]);
    assert.equal((await first.read(0, 0, 1)).status, 0);
    first.destroy();
  });

  test('a reset waits for the commands before it that come by another connection (RFC 7143 4.2.3.3)', async () => {
    const first = await lead();
    const second = await join(first, 1);
    second.cmdSN = (first.cmdSN + 1) >>> 0;
    const reset = second.manageTask(TaskManagementFunction.LOGICAL_UNIT_RESET);
    let isAnswered = false;
    void reset.then(() => (isAnswered = true));
    await second.nop(Buffer.alloc(0), true);
    assert.ok(!isAnswered);
    const data = pattern(512, 6);
    const write = first.commandHeader(0, readWriteCdb(0x8a, 128, 1, false), { dataOut: data });
    const inbox = first.open(write);
    const r2t = await inbox.next();
    assert.equal(r2t.opcode, Opcode.R2T);
    assert.equal(await reset, TaskManagementResponse.FUNCTION_COMPLETE);
    first.sendDataOut(write, R2T.targetTransferTag.get(r2t.header), data, 0, 512);
    // The first tells of the reset.
    assert.equal((await first.read(0, 128, 1)).status, 2);
    assert.ok((await first.read(0, 128, 1)).data.equals(Buffer.alloc(512)), 'written behind the reset');
    assert.equal(inbox.length, 0);
    first.destroy();
    second.destroy();
  });

  test('the leading connection may go, too, and its CID be used again', async () => {
    const first = await lead();
    const second = await join(first, 1);
    assert.equal(await logout(first, LogoutReason.CLOSE_CONNECTION, 0), LogoutResponse.SUCCESS);
    await first.closed;
    assert.equal((await second.read(0, 0, 1)).status, 0);
    assert.equal(second.unsolicited.length, 0, 'a logout is no loss');
    const again = await join(second, 0);
    assert.equal(again.cmdSN, second.cmdSN);
    assert.equal((await again.read(0, 0, 1)).status, 0);
    second.destroy();
    again.destroy();
  });

  test('one connection logs another out', async () => {
    const first = await lead();
    const second = await join(first, 5);
    assert.equal(await logout(first, LogoutReason.CLOSE_CONNECTION, 9), LogoutResponse.CID_NOT_FOUND);
    assert.equal(
      await logout(first, LogoutReason.REMOVE_FOR_RECOVERY, 5),
      LogoutResponse.RECOVERY_NOT_SUPPORTED,
    );
    assert.equal(await logout(first, LogoutReason.CLOSE_CONNECTION, 5), LogoutResponse.SUCCESS);
    await second.closed;
    assert.equal((await first.read(0, 0, 1)).status, 0);
    first.destroy();
  });

  test('a login with the CID of a connection takes its place', async () => {
    const first = await lead();
    const second = await join(first, 4);
    const successor = await join(first, 4);
    await second.closed;
    successor.cmdSN = first.cmdSN;
    assert.equal((await successor.read(0, 0, 1)).status, 0);
    assert.equal(first.unsolicited.length, 0, 'the connection is there');
    // Even if it is the only one.
    const alone = await lead();
    const heir = await join(alone, 0);
    await alone.closed;
    assert.equal((await heir.read(0, 0, 1)).status, 0);
    assert.equal(target.server.sessions().length, 2);
    for (const initiator of [first, successor, heir]) initiator.destroy();
  });

  test('reinstatement of the session ends all of them', async () => {
    const first = await lead();
    const second = await join(first, 1);
    const successor = await target.login({ isid: first.isid });
    await Promise.all([first.closed, second.closed]);
    assert.deepEqual(await refused(join(first, 1)), [2, 10]);
    successor.destroy();
  });

  test('a session of 40 commands by three connections at a time keeps its data', async () => {
    const first = await lead();
    const all = [first, await join(first, 1), await join(first, 2)];
    let cmdSN = first.cmdSN;
    const results: Promise<unknown>[] = [];
    for (let i = 0; i < 40; i++) {
      const initiator = all[i % 3]!;
      initiator.cmdSN = cmdSN++;
      for (const other of all) other.maxCmdSN = (cmdSN + 255) >>> 0;
      results.push(write(initiator, i));
    }
    await Promise.all(results);
    first.cmdSN = cmdSN;
    for (let i = 0; i < 40; i++) assert.ok((await first.read(0, i * 8, 8)).data.equals(pattern(4096, i)));
    for (const initiator of all) initiator.destroy();
  });

  describe('a session that has lost its last connection', () => {
    let patient: TestTarget;
    const KEYS = { DefaultTime2Wait: '0', DefaultTime2Retain: '1' };
    const lost = async (): Promise<Initiator> => {
      const initiator = await patient.login({ keys: KEYS });
      assert.equal(initiator.answers['DefaultTime2Retain'], '1');
      await initiator.command(0, RESERVE);
      initiator.destroy();
      await initiator.closed;
      return initiator;
    };
    const rejoin = ({ isid, tsih }: Initiator): Promise<Initiator> =>
      patient.login({ isid, joins: { tsih, cid: 0 } });

    before(async () => {
      patient = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }], {
        recovery: { defaultTime2Retain: 1 },
        limits: { sessions: 2 },
      });
    });
    after(() => patient.close());

    test('goes on with a new connection: its numbers and what it has reserved', async () => {
      const before = await lost();
      const other = await patient.login();
      assert.equal((await other.write(0, 0, DATA)).status, RESERVATION_CONFLICT);
      const again = await rejoin(before);
      assert.equal(again.tsih, before.tsih);
      assert.equal(again.cmdSN, before.cmdSN);
      assert.equal((await again.write(0, 0, DATA)).status, 0);
      assert.equal((await other.write(0, 0, DATA)).status, RESERVATION_CONFLICT);
      await again.logout();
      await until(() => patient.server.sessions().length === 1, 'the end by logout');
      assert.equal((await other.write(0, 0, DATA)).status, 0);
      await other.logout();
      await until(() => patient.server.sessions().length === 0, 'the end of all');
    });

    test('ends when none comes', async () => {
      const before = await lost();
      assert.equal(patient.server.sessions().length, 1);
      await until(() => patient.server.sessions().length === 0, 'the end of the session');
      assert.deepEqual(await refused(rejoin(before)), [2, 10]);
    });

    test('ends by a login that reinstates it, and for one that needs the room', async () => {
      const first = await lost();
      const successor = await patient.login({ isid: first.isid });
      assert.notEqual(successor.tsih, first.tsih);
      assert.equal(patient.server.sessions().length, 1);
      const second = await lost();
      const newcomer = await patient.login();
      assert.deepEqual(await refused(rejoin(second)), [2, 10]);
      newcomer.destroy();
      successor.destroy();
    });
  });

  async function write(initiator: Initiator, index: number): Promise<void> {
    const data = pattern(4096, index);
    const command = initiator.commandHeader(0, readWriteCdb(0x8a, index * 8, 8, false), { dataOut: data });
    Bhs.initiatorTaskTag.set(command, 0x8000 + index);
    const inbox = initiator.open(command);
    const { header } = await inbox.next();
    const length = R2T.desiredDataTransferLength.get(header);
    initiator.sendDataOut(
      command,
      R2T.targetTransferTag.get(header),
      data,
      R2T.bufferOffset.get(header),
      length,
    );
    assert.equal(ScsiResponse.status.get((await inbox.next()).header), 0);
  }
});
