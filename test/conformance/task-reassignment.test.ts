/** Connection recovery at the target (RFC 7143 7.1.4.3, 7.2.2, 11.5, 11.14): tasks outlive their connection, and go on by another one. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MemoryDevice } from '../../src/block/index.js';
import {
  Bhs,
  DataIn,
  LogoutResponse as LogoutResponseHeader,
  LogoutRequest,
  R2T,
  ScsiResponse,
  TaskManagementRequest,
  TaskManagementResponse as Answer,
  TextRequest,
} from '../../src/iscsi/wire/headers.js';
import {
  DATA_IN_STATUS,
  FINAL,
  IMMEDIATE,
  LogoutReason,
  LogoutResponse,
  Opcode,
  RESERVED_TAG,
  TaskManagementFunction,
  TaskManagementResponse,
} from '../../src/iscsi/wire/opcodes.js';
import { readWriteCdb } from '../support/cdb.js';
import type { Initiator } from '../support/initiator.js';
import type { Keys } from '../support/login.js';
import { pattern } from '../support/pattern.js';
import type { Inbox, Pdu } from '../support/pdu-socket.js';
import { TestTarget } from '../support/target.js';
import { until } from '../support/verbs-pair.js';

const KEYS = {
  ErrorRecoveryLevel: '2',
  MaxConnections: '2',
  DefaultTime2Wait: '0',
  DefaultTime2Retain: '20',
  InitialR2T: 'Yes',
  ImmediateData: 'No',
  MaxBurstLength: '4096',
  FirstBurstLength: '4096',
};
const DATA = pattern(16 * 512, 1);

describe('task reassignment', () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }], {
      recovery: { errorRecoveryLevel: 2, maxConnections: 2 },
    });
  });
  after(() => target.close());

  const lead = async (keys: Keys = {}, from = target): Promise<Initiator> => {
    const initiator = await from.login({ keys: { ...KEYS, ...keys } });
    assert.equal(initiator.answers['ErrorRecoveryLevel'], '2');
    return initiator;
  };

  const join = async (
    leading: Initiator,
    cid: number,
    keys: Keys = {},
    from = target,
  ): Promise<Initiator> => {
    const { isid, tsih } = leading;
    const joined = await from.login({ isid, joins: { tsih, cid }, keys });
    Object.assign(joined.answers, { ...leading.answers, ...joined.answers });
    return joined;
  };

  /** Sends a request whose tag is not one of those that the next connection uses. */
  const open = (initiator: Initiator, header: Buffer, tag = 0x7000): Inbox => {
    Bhs.initiatorTaskTag.set(header, tag);
    return initiator.open(header);
  };

  /** The inbox of the answer to TASK REASSIGN, and of what follows for the task. */
  const reassign = async (
    initiator: Initiator,
    tag = 0x7000,
    expDataSN = 0,
    immediate = IMMEDIATE,
  ): Promise<{ response: number; answers: Inbox; statSN: number }> => {
    const known = initiator.header(Opcode.SCSI_COMMAND, 0);
    Bhs.initiatorTaskTag.set(known, tag);
    const answers = initiator.await(known);
    const request = initiator.header(
      Opcode.TASK_MANAGEMENT_REQUEST | immediate,
      FINAL | TaskManagementFunction.TASK_REASSIGN,
    );
    TaskManagementRequest.referencedTaskTag.set(request, tag);
    TaskManagementRequest.expDataSN.set(request, expDataSN);
    const pdu = await initiator.request(request);
    assert.equal(pdu.opcode, Opcode.TASK_MANAGEMENT_RESPONSE);
    return { response: Answer.response.get(pdu.header), answers, statSN: Answer.statSN.get(pdu.header) };
  };

  const logout = async (initiator: Initiator, cid: number, expStatSN?: number): Promise<Pdu> => {
    const header = initiator.header(
      Opcode.LOGOUT_REQUEST | IMMEDIATE,
      FINAL | LogoutReason.REMOVE_FOR_RECOVERY,
    );
    LogoutRequest.cid.set(header, cid);
    const inbox = initiator.await(header);
    LogoutRequest.cmdSN.set(header, initiator.cmdSN);
    LogoutRequest.expStatSN.set(header, expStatSN ?? 0);
    initiator.pdus.send(header);
    return inbox.next();
  };

  const cut = async (initiator: Initiator): Promise<void> => {
    initiator.destroy();
    await initiator.closed;
  };

  const logoutResponse = ({ header }: Pdu): number => LogoutResponseHeader.response.get(header);

  /** All Data-In, put where it belongs in `bytes`, up to the status. */
  const collect = async (answers: Inbox, bytes: Buffer): Promise<Pdu[]> => {
    const pdus: Pdu[] = [];
    for (;;) {
      const pdu = await answers.next();
      pdus.push(pdu);
      if (pdu.opcode !== Opcode.DATA_IN) return pdus;
      pdu.data.copy(bytes, DataIn.bufferOffset.get(pdu.header));
      if ((Bhs.flags.get(pdu.header) & DATA_IN_STATUS) !== 0) return pdus;
    }
  };

  /** A write of 16 blocks whose first R2T is there, and answered by `sent` bytes. */
  const beginWrite = async (
    initiator: Initiator,
    lba: number,
    data: Buffer,
    sent: number,
  ): Promise<Buffer> => {
    const command = initiator.commandHeader(0, readWriteCdb(0x8a, lba, 16, false), { dataOut: data });
    const inbox = open(initiator, command);
    const r2t = await inbox.next();
    assert.deepEqual(
      [R2T.bufferOffset.get(r2t.header), R2T.desiredDataTransferLength.get(r2t.header)],
      [0, 4096],
    );
    if (sent > 0) {
      const part = initiator.dataOutHeader(
        command,
        R2T.targetTransferTag.get(r2t.header),
        0,
        0,
        sent === 4096,
      );
      initiator.pdus.send(part, data.subarray(0, sent));
      await initiator.nop(Buffer.alloc(0), true);
    }
    return command;
  };

  const finishWrite = async (
    initiator: Initiator,
    command: Buffer,
    answers: Inbox,
    data: Buffer,
  ): Promise<{ r2ts: [number, number, number][]; status: number }> => {
    const r2ts: [number, number, number][] = [];
    for (;;) {
      const { opcode, header } = await answers.next();
      if (opcode === Opcode.SCSI_RESPONSE) return { r2ts, status: ScsiResponse.status.get(header) };
      const offset = R2T.bufferOffset.get(header);
      const length = R2T.desiredDataTransferLength.get(header);
      r2ts.push([R2T.r2tSN.get(header), offset, length]);
      initiator.sendDataOut(command, R2T.targetTransferTag.get(header), data, offset, length);
    }
  };

  test('a write goes on where it was: only what has not come is asked for', async () => {
    const first = await lead();
    const data = pattern(16 * 512, 7);
    const command = await beginWrite(first, 32, data, 1024);
    await cut(first);
    const second = await join(first, 0);
    assert.equal(second.cmdSN, first.cmdSN);
    const { response, answers, statSN } = await reassign(second, 0x7000, 1);
    assert.equal(response, TaskManagementResponse.FUNCTION_COMPLETE);
    // An R2T shows the number of the next response: it comes behind the answer (RFC 7143 7.2.2).
    const next = await answers.next();
    assert.equal(R2T.statSN.get(next.header), statSN + 1);
    answers.put(next);
    const { r2ts, status } = await finishWrite(second, command, answers, data);
    assert.deepEqual(r2ts, [
      [1, 1024, 4096],
      [2, 5120, 3072],
    ]);
    assert.equal(status, 0);
    assert.ok((await second.read(0, 32, 16)).data.equals(data));
    second.destroy();
  });

  test('an R2T that may not have come is sent again under its number', async () => {
    const first = await lead();
    const data = pattern(16 * 512, 8);
    const command = await beginWrite(first, 48, data, 0);
    await cut(first);
    const second = await join(first, 0);
    const { answers } = await reassign(second);
    const { r2ts, status } = await finishWrite(second, command, answers, data);
    assert.deepEqual([r2ts[0], r2ts.length, status], [[0, 0, 4096], 2, 0]);
    assert.ok((await second.read(0, 48, 16)).data.equals(data));
    second.destroy();
  });

  test('Data-In is sent again from ExpDataSN on, cut for the new connection', async () => {
    const first = await lead({ MaxRecvDataSegmentLength: '1024' });
    assert.equal((await first.write(0, 0, DATA)).status, 0);
    for (const [segment, expDataSN, expected] of [
      ['1024', 0, 8],
      ['1024', 5, 3],
      ['2048', 6, 1],
      ['1024', 99, 8],
    ] as const) {
      const reader = await lead({ MaxRecvDataSegmentLength: '1024' });
      const bytes = Buffer.alloc(DATA.length);
      const inbox = open(
        reader,
        reader.commandHeader(0, readWriteCdb(0x88, 0, 16, false), { dataIn: DATA.length }),
      );
      assert.equal((await collect(inbox, bytes)).length, 8);
      await cut(reader);
      if (expDataSN < 8) bytes.fill(0, expDataSN * 1024);
      else bytes.fill(0);
      const again = await join(reader, 0, { MaxRecvDataSegmentLength: segment });
      const { response, answers } = await reassign(again, 0x7000, expDataSN);
      assert.equal(response, TaskManagementResponse.FUNCTION_COMPLETE);
      const pdus = await collect(answers, bytes);
      assert.equal(pdus.length, expected);
      assert.equal(DataIn.dataSN.get(pdus[0]!.header), expDataSN < 8 ? expDataSN : 0);
      assert.ok(bytes.equals(DATA));
      // The numbers of responses are the new connection's, and go on.
      assert.equal((await again.read(0, 0, 1)).status, 0);
      again.destroy();
    }
    first.destroy();
  });

  test('a status that was sent is sent again, with ExpDataSN all data as a response of its own', async () => {
    const first = await lead();
    const write = open(
      first,
      first.commandHeader(0, readWriteCdb(0x8a, 99999, 1, false), { dataOut: Buffer.alloc(512) }),
    );
    const read = open(
      first,
      first.commandHeader(0, readWriteCdb(0x88, 0, 1, false), { dataIn: 512 }),
      0x7001,
    );
    const before = await write.next();
    await read.next();
    await cut(first);
    const second = await join(first, 0);
    const { response, answers, statSN } = await reassign(second);
    const after = await answers.next();
    assert.deepEqual([response, after.data], [0, before.data]);
    assert.equal(ScsiResponse.statSN.get(after.header), statSN + 1, 'the answer comes first');
    assert.equal(ScsiResponse.status.get(after.header), 2);
    const other = await reassign(second, 0x7001, 1);
    const status = await other.answers.next();
    assert.equal(status.opcode, Opcode.SCSI_RESPONSE);
    assert.deepEqual(
      [ScsiResponse.status.get(status.header), ScsiResponse.expDataSN.get(status.header)],
      [0, 1],
    );
    // It is the connection's now, and a SNACK could have it.
    assert.equal((await reassign(second)).response, TaskManagementResponse.TASK_DOES_NOT_EXIST);
    second.destroy();
  });

  test('an explicit logout for recovery by another connection; before it a task is still allegiant', async () => {
    const first = await lead();
    const second = await join(first, 1);
    const data = pattern(16 * 512, 9);
    second.cmdSN = first.cmdSN;
    const command = await beginWrite(second, 64, data, 4096);
    first.cmdSN = second.cmdSN;
    assert.equal((await reassign(first)).response, TaskManagementResponse.TASK_STILL_ALLEGIANT);
    await cut(second);
    await first.unsolicited.next();
    assert.equal((await reassign(first)).response, TaskManagementResponse.TASK_STILL_ALLEGIANT);
    const out = await logout(first, 1);
    assert.equal(logoutResponse(out), LogoutResponse.SUCCESS);
    assert.equal(LogoutResponseHeader.time2Retain.get(out.header), 20);
    assert.equal(logoutResponse(await logout(first, 9)), LogoutResponse.CID_NOT_FOUND);
    const { response, answers } = await reassign(first, 0x7000, 1);
    assert.equal(response, TaskManagementResponse.FUNCTION_COMPLETE);
    const { r2ts, status } = await finishWrite(first, command, answers, data);
    assert.deepEqual([r2ts, status], [[[1, 4096, 4096]], 0]);
    assert.equal((await reassign(first)).response, TaskManagementResponse.TASK_DOES_NOT_EXIST);
    assert.ok((await first.read(0, 64, 16)).data.equals(data));
    first.destroy();
  });

  test('a connection that is alive is removed by another one, or by itself, and its tasks go on', async () => {
    const first = await lead();
    const second = await join(first, 1);
    const data = pattern(16 * 512, 10);
    second.cmdSN = first.cmdSN;
    const command = await beginWrite(second, 80, data, 0);
    first.cmdSN = second.cmdSN;
    assert.equal(logoutResponse(await logout(first, 1)), LogoutResponse.SUCCESS);
    await second.closed;
    assert.equal(first.unsolicited.length, 0, 'a logout is no loss');
    const taken = await reassign(first);
    assert.equal((await finishWrite(first, command, taken.answers, data)).status, 0);
    // The only connection: the session stays, and its task.
    const next = await beginWrite(first, 96, data, 1024);
    assert.equal(logoutResponse(await logout(first, 0, first.expStatSN)), LogoutResponse.SUCCESS);
    await first.closed;
    const third = await join(first, 5);
    const { answers } = await reassign(third, 0x7000, 1);
    const { r2ts, status } = await finishWrite(third, next, answers, data);
    assert.deepEqual([r2ts[0], status], [[1, 1024, 4096], 0]);
    assert.ok((await third.read(0, 96, 16)).data.equals(data));
    third.destroy();
  });

  test('what the logout acknowledges is not kept, nor what the same tag is used for anew', async () => {
    const first = await lead();
    const read = (initiator: Initiator, tag: number): Inbox =>
      open(initiator, initiator.commandHeader(0, readWriteCdb(0x88, 0, 1, false), { dataIn: 512 }), tag);
    const inboxes = [read(first, 0x7000), read(first, 0x7001), read(first, 0x7002)];
    const [{ header }] = [await inboxes[0]!.next(), await inboxes[1]!.next(), await inboxes[2]!.next()];
    const acknowledged = ScsiResponse.statSN.get(header) + 1;
    await cut(first);
    const second = await join(first, 1);
    assert.equal(logoutResponse(await logout(second, 0, acknowledged)), LogoutResponse.SUCCESS);
    await read(second, 0x7002).next();
    const responses = [];
    for (const tag of [0x7000, 0x7001]) responses.push((await reassign(second, tag)).response);
    assert.deepEqual(responses, [
      TaskManagementResponse.TASK_DOES_NOT_EXIST,
      TaskManagementResponse.FUNCTION_COMPLETE,
    ]);
    second.destroy();
  });

  test('what is no SCSI command is not reassigned, and the request must be immediate', async () => {
    const first = await lead();
    const text = first.header(Opcode.TEXT_REQUEST, FINAL);
    TextRequest.targetTransferTag.set(text, RESERVED_TAG);
    await open(first, text, 0x7005).next();
    await cut(first);
    const second = await join(first, 0);
    assert.equal((await reassign(second, 0x7005)).response, TaskManagementResponse.FUNCTION_REJECTED);
    const request = second.header(
      Opcode.TASK_MANAGEMENT_REQUEST,
      FINAL | TaskManagementFunction.TASK_REASSIGN,
    );
    TaskManagementRequest.referencedTaskTag.set(request, 0x7000);
    second.open(request);
    assert.equal((await second.unsolicited.next()).opcode, Opcode.REJECT);
    second.destroy();
  });

  test('below level 2 nothing is reassigned', async () => {
    const first = await target.login({ keys: { ...KEYS, ErrorRecoveryLevel: '1' } });
    assert.equal((await reassign(first)).response, TaskManagementResponse.REASSIGNMENT_NOT_SUPPORTED);
    assert.equal(logoutResponse(await logout(first, 0)), LogoutResponse.RECOVERY_NOT_SUPPORTED);
    first.destroy();
  });

  test('ABORT TASK ends a task that waits; CmdSN goes on over the loss', async () => {
    const first = await lead();
    await beginWrite(first, 0, DATA, 1024);
    // Comes before its turn, and is lost with the connection.
    const skipped = first.cmdSN;
    first.cmdSN++;
    open(first, first.commandHeader(0, readWriteCdb(0x88, 0, 1, false), { dataIn: 512 }), 0x7001);
    await first.nop(Buffer.alloc(0), true);
    await cut(first);
    const second = await join(first, 0);
    assert.equal(second.cmdSN, skipped);
    const abort = TaskManagementFunction.ABORT_TASK;
    assert.equal(await second.manageTask(abort, 0, 0x7000), TaskManagementResponse.FUNCTION_COMPLETE);
    assert.equal((await reassign(second)).response, TaskManagementResponse.TASK_DOES_NOT_EXIST);
    assert.equal((await reassign(second, 0x7001)).response, TaskManagementResponse.TASK_DOES_NOT_EXIST);
    const { header } = await second.nop();
    assert.equal((ScsiResponse.maxCmdSN.get(header) - ScsiResponse.expCmdSN.get(header)) >>> 0, 255);
    second.destroy();
  });

  test('after Time2Retain the tasks end, whether the session has a connection or not', async () => {
    const short = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }], {
      recovery: { errorRecoveryLevel: 2, maxConnections: 2, defaultTime2Retain: 1 },
    });
    try {
      const first = await lead({}, short);
      assert.equal(first.answers['DefaultTime2Retain'], '1');
      const second = await join(first, 1, {}, short);
      second.cmdSN = first.cmdSN;
      await beginWrite(second, 0, DATA, 1024);
      first.cmdSN = second.cmdSN;
      await cut(second);
      await first.unsolicited.next();
      assert.equal(logoutResponse(await logout(first, 1)), LogoutResponse.SUCCESS);
      let depth = 0;
      do {
        const { header } = await first.nop();
        depth = (ScsiResponse.maxCmdSN.get(header) - ScsiResponse.expCmdSN.get(header)) >>> 0;
        await new Promise((resolve) => setTimeout(resolve, 50));
      } while (depth < 255);
      assert.equal((await reassign(first)).response, TaskManagementResponse.TASK_DOES_NOT_EXIST);
      assert.equal(logoutResponse(await logout(first, 1)), LogoutResponse.CID_NOT_FOUND);
      // RFC 7143 11.14.5
      const told = await first.command(0, Buffer.alloc(16));
      assert.deepEqual([told.status, told.sense[2]! & 0x0f, told.sense.readUInt16BE(12)], [2, 6, 0x477f]);
      await beginWrite(first, 0, DATA, 1024);
      await cut(first);
      await until(() => short.server.sessions().length === 0, 'the end of the session');
    } finally {
      await short.close();
    }
  });
});
