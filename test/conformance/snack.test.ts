/** The target at ErrorRecoveryLevel 1 (RFC 7143 7.2.1, 7.8, 11.16), with an initiator that asks for what it likes. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MemoryDevice } from '../../src/block/index.js';
import {
  Bhs,
  BHS_LENGTH,
  DataIn,
  NopOut,
  R2T,
  Reject,
  ScsiCommand,
  ScsiResponse,
  SnackRequest,
} from '../../src/iscsi/wire/headers.js';
import {
  DATA_IN_ACKNOWLEDGE,
  DATA_IN_STATUS,
  FINAL,
  IMMEDIATE,
  Opcode,
  RejectReason,
  RESERVED_TAG,
  SnackType,
  TaskManagementFunction,
} from '../../src/iscsi/wire/opcodes.js';
import { readWriteCdb } from '../support/cdb.js';
import type { Initiator } from '../support/initiator.js';
import { encodeKeys } from '../support/login.js';
import { pattern } from '../support/pattern.js';
import type { Pdu } from '../support/pdu-socket.js';
import { TestTarget } from '../support/target.js';

const KEYS = {
  ErrorRecoveryLevel: '1',
  HeaderDigest: 'CRC32C',
  DataDigest: 'CRC32C',
  MaxRecvDataSegmentLength: '1024',
  MaxBurstLength: '2048',
  FirstBurstLength: '1024',
  InitialR2T: 'Yes',
  ImmediateData: 'No',
};
const BLOCKS = 8;
const DATA = pattern(BLOCKS * 512, 3);

describe('SNACK', () => {
  let target: TestTarget;
  let initiator: Initiator;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 16 << 20 }) }], {
      recovery: { errorRecoveryLevel: 1 },
    });
  });
  after(() => target.close());

  const withSession = (name: string, body: () => Promise<void>, keys: Record<string, string> = {}): void => {
    test(name, async () => {
      initiator = await target.login({ keys: { ...KEYS, ...keys } });
      try {
        await body();
      } finally {
        initiator.destroy();
      }
    });
  };

  /** Does not acknowledge more than `expStatSN`. */
  const snack = (
    type: number,
    begin: number,
    length: number,
    expStatSN: number,
    tags: Partial<Tags> = {},
  ): void => {
    const header = Buffer.alloc(BHS_LENGTH);
    SnackRequest.opcode.set(header, Opcode.SNACK_REQUEST);
    SnackRequest.flags.set(header, FINAL | type);
    SnackRequest.initiatorTaskTag.set(header, tags.task ?? RESERVED_TAG);
    SnackRequest.targetTransferTag.set(header, tags.transfer ?? RESERVED_TAG);
    SnackRequest.expStatSN.set(header, expStatSN);
    SnackRequest.begRun.set(header, begin);
    SnackRequest.runLength.set(header, length);
    initiator.pdus.send(header);
  };

  const readData = async (): Promise<{ task: number; before: number; pdus: Pdu[] }> => {
    const before = initiator.expStatSN;
    const { pdus, data } = await initiator.read(0, 0, BLOCKS);
    assert.ok(data.equals(DATA));
    return { task: Bhs.initiatorTaskTag.get(pdus[0]!.header), before, pdus };
  };

  /** From now on: nothing more than before. */
  const acknowledgeNothing = (): void => {
    const { expStatSN } = initiator;
    Object.defineProperty(initiator, 'expStatSN', { get: () => expStatSN, set: () => undefined });
  };

  const rejected = async (reason: number): Promise<Buffer> => {
    const { opcode, header } = await initiator.unsolicited.next();
    assert.equal(opcode, Opcode.REJECT);
    assert.equal(Reject.reason.get(header), reason);
    return header;
  };

  /** ExpCmdSN and MaxCmdSN may differ, nothing else. */
  const assertReplica = (again: Pdu, first: Pdu): void => {
    const plain = ({ header }: Pdu): Buffer => {
      const copy = Buffer.from(header);
      ScsiResponse.expCmdSN.set(copy, 0);
      ScsiResponse.maxCmdSN.set(copy, 0);
      return copy;
    };
    assert.deepEqual(plain(again), plain(first));
    assert.ok(again.data.equals(first.data));
  };

  withSession('writes what is read later', async () => {
    assert.equal(initiator.answers['ErrorRecoveryLevel'], '1');
    assert.equal((await initiator.write(0, 0, DATA)).status, 0);
  });

  withSession('a run of Data-In comes again as it was', async () => {
    const { task, before: expStatSN, pdus } = await readData();
    assert.equal(pdus.length, 4);
    snack(SnackType.DATA_OR_R2T, 1, 2, expStatSN, { task });
    for (const number of [1, 2]) assertReplica(await initiator.unsolicited.next(), pdus[number]!);
    snack(SnackType.DATA_OR_R2T, 3, 0, expStatSN, { task });
    assertReplica(await initiator.unsolicited.next(), pdus[3]!);
    snack(SnackType.DATA_OR_R2T, 0, 0, expStatSN, { task });
    for (const pdu of pdus) assertReplica(await initiator.unsolicited.next(), pdu);
  });

  withSession('Data-In that was never sent is not sent again', async () => {
    const { task, before: expStatSN } = await readData();
    for (const [begin, length] of [
      [4, 0],
      [3, 2],
      [0xffff_ffff, 1],
    ] as const) {
      snack(SnackType.DATA_OR_R2T, begin, length, expStatSN, { task });
      assert.equal(Reject.dataSN.get(await rejected(RejectReason.PROTOCOL_ERROR)), 4);
    }
    snack(SnackType.DATA_OR_R2T, 0, 0, expStatSN, { task: 0x7777 });
    await rejected(RejectReason.PROTOCOL_ERROR);
  });

  withSession(
    'the end of a burst asks for a DataACK, and what is acknowledged does not come again',
    async () => {
      const { task, before: expStatSN, pdus } = await readData();
      const asking = pdus.map(({ header }) => (header[1]! & DATA_IN_ACKNOWLEDGE) !== 0);
      assert.deepEqual(asking, [false, true, false, false]);
      const transfer = DataIn.targetTransferTag.get(pdus[1]!.header);
      assert.notEqual(transfer, RESERVED_TAG);
      snack(SnackType.DATA_ACK, 2, 0, expStatSN, { transfer });
      snack(SnackType.DATA_OR_R2T, 1, 1, expStatSN, { task });
      await rejected(RejectReason.PROTOCOL_ERROR);
      snack(SnackType.DATA_OR_R2T, 0, 0, expStatSN, { task });
      for (const number of [2, 3]) assertReplica(await initiator.unsolicited.next(), pdus[number]!);
      snack(SnackType.DATA_ACK, 9, 0, expStatSN, { transfer });
      await rejected(RejectReason.INVALID_DATA_ACK);
    },
  );

  withSession('a status comes again, whatever carried it', async () => {
    acknowledgeNothing();
    const { before: expStatSN, pdus } = await readData();
    const { pdus: write } = await initiator.write(0, 64, DATA);
    const echo = await initiator.nop(Buffer.from('hello'));
    const refused = await initiator.read(0, 1 << 30, 1);
    const all = [pdus[3]!, write.at(-1)!, echo, refused.pdus[0]!];
    assert.equal(all[3]!.opcode, Opcode.SCSI_RESPONSE);
    assert.ok(all[3]!.data.length > 0, 'sense data');
    snack(SnackType.STATUS, expStatSN + 1, 1, expStatSN);
    assertReplica(await initiator.unsolicited.next(), all[1]!);
    snack(SnackType.STATUS, expStatSN + 2, 0, expStatSN);
    for (const pdu of all.slice(2)) assertReplica(await initiator.unsolicited.next(), pdu);
    snack(SnackType.STATUS, 0, 0, expStatSN);
    for (const pdu of all) assertReplica(await initiator.unsolicited.next(), pdu);
  });

  withSession('a status that is acknowledged, or was never sent, does not come again', async () => {
    const { before: expStatSN, task } = await readData();
    snack(SnackType.STATUS, expStatSN + 1, 1, expStatSN);
    await rejected(RejectReason.PROTOCOL_ERROR);
    snack(SnackType.STATUS, expStatSN, 1, expStatSN + 1);
    await rejected(RejectReason.PROTOCOL_ERROR);
    snack(SnackType.DATA_OR_R2T, 0, 0, expStatSN, { task });
    await rejected(RejectReason.PROTOCOL_ERROR);
  });

  withSession(
    'R-Data brings all data anew, cut for what the initiator takes now, and the status with its tag',
    async () => {
      const { task, before: expStatSN } = await readData();
      const text = initiator.header(Opcode.TEXT_REQUEST | IMMEDIATE, FINAL);
      NopOut.targetTransferTag.set(text, RESERVED_TAG);
      ScsiCommand.cmdSN.set(text, initiator.cmdSN);
      ScsiCommand.expStatSN.set(text, expStatSN);
      initiator.pdus.send(text, encodeKeys({ MaxRecvDataSegmentLength: '512' }));
      assert.equal((await initiator.unsolicited.next()).opcode, Opcode.TEXT_RESPONSE);
      // What was sent would not fit any more.
      snack(SnackType.DATA_OR_R2T, 0, 0, expStatSN, { task });
      await rejected(RejectReason.PROTOCOL_ERROR);
      snack(SnackType.R_DATA, 0, 0, expStatSN, { task, transfer: 0x55 });
      const parts: Buffer[] = [];
      for (let number = 0; number < BLOCKS; number++) {
        const { opcode, header, data } = await initiator.unsolicited.next();
        assert.equal(opcode, Opcode.DATA_IN);
        assert.equal(DataIn.dataSN.get(header), number);
        assert.equal(DataIn.bufferOffset.get(header), number * 512);
        assert.equal(header[1]! & DATA_IN_STATUS, 0, 'the status is apart');
        parts.push(data);
      }
      assert.ok(Buffer.concat(parts).equals(DATA));
      const { opcode, header } = await initiator.unsolicited.next();
      assert.equal(opcode, Opcode.SCSI_RESPONSE);
      assert.equal(ScsiResponse.snackTag.get(header), 0x55);
      assert.equal(ScsiResponse.statSN.get(header), expStatSN);
      assert.equal(ScsiResponse.expDataSN.get(header), BLOCKS);
      // The status is the newest from now on.
      snack(SnackType.STATUS, expStatSN, 1, expStatSN);
      assert.equal(ScsiResponse.snackTag.get((await initiator.unsolicited.next()).header), 0x55);
    },
  );

  withSession('R-Data without a tag of its own, or for a part, is refused', async () => {
    const { task, before: expStatSN } = await readData();
    for (const [begin, length, transfer] of [
      [0, 0, 0],
      [0, 0, RESERVED_TAG],
      [1, 0, 0x55],
      [0, 1, 0x55],
    ] as const) {
      snack(SnackType.R_DATA, begin, length, expStatSN, { task, transfer });
      await rejected(RejectReason.INVALID_PDU_FIELD);
    }
    // What it was about is still there.
    snack(SnackType.DATA_OR_R2T, 3, 1, expStatSN, { task });
    assert.equal((await initiator.unsolicited.next()).opcode, Opcode.DATA_IN);
  });

  withSession('an R2T comes again while it is not answered', async () => {
    const command = initiator.commandHeader(0, readWriteCdb(0x8a, 0, BLOCKS, false), { dataOut: DATA });
    const inbox = initiator.open(command);
    const r2t = await inbox.next();
    const task = Bhs.initiatorTaskTag.get(command);
    snack(SnackType.DATA_OR_R2T, 0, 1, initiator.expStatSN, { task });
    assertReplica(await inbox.next(), r2t);
    snack(SnackType.DATA_OR_R2T, 1, 1, initiator.expStatSN, { task });
    await rejected(RejectReason.PROTOCOL_ERROR);
    const sendFor = ({ header }: Pdu): void => {
      const length = R2T.desiredDataTransferLength.get(header);
      const offset = R2T.bufferOffset.get(header);
      initiator.sendDataOut(command, R2T.targetTransferTag.get(header), DATA, offset, length);
    };
    sendFor(r2t);
    const second = await inbox.next();
    assert.equal(R2T.r2tSN.get(second.header), 1);
    snack(SnackType.DATA_OR_R2T, 0, 1, initiator.expStatSN, { task });
    await rejected(RejectReason.PROTOCOL_ERROR);
    sendFor(second);
    const end = await inbox.next();
    assert.equal(end.opcode, Opcode.SCSI_RESPONSE);
    assert.equal(ScsiResponse.status.get(end.header), 0);
  });

  withSession(
    'Data-Out that is damaged, or missing, is asked for again from there on',
    async () => {
      const data = pattern(4096, 9);
      const command = initiator.commandHeader(0, readWriteCdb(0x8a, 128, 8, false), { dataOut: data });
      const inbox = initiator.open(command);
      const first = await inbox.next();
      const transferTag = R2T.targetTransferTag.get(first.header);
      assert.equal(R2T.desiredDataTransferLength.get(first.header), 4096);
      const send = (
        tag: number,
        number: number,
        at: number,
        isLast: boolean,
        corruptDataDigest = false,
      ): void => {
        const header = initiator.dataOutHeader(command, tag, number, at, isLast);
        initiator.pdus.send(header, data.subarray(at, at + 1024), undefined, { corruptDataDigest });
      };
      send(transferTag, 0, 0, false);
      send(transferTag, 1, 1024, false, true);
      send(transferTag, 2, 2048, false);
      send(transferTag, 3, 3072, true);
      await rejected(RejectReason.DATA_DIGEST_ERROR);
      const second = await inbox.next();
      assert.equal(R2T.r2tSN.get(second.header), 1);
      assert.equal(R2T.bufferOffset.get(second.header), 1024);
      assert.equal(R2T.desiredDataTransferLength.get(second.header), 3072);
      const again = R2T.targetTransferTag.get(second.header);
      assert.notEqual(again, transferTag);
      send(again, 0, 1024, false);
      send(again, 0, 1024, false);
      send(again, 2, 3072, true);
      const third = await inbox.next();
      assert.equal(R2T.bufferOffset.get(third.header), 2048);
      send(R2T.targetTransferTag.get(third.header), 0, 2048, false);
      send(R2T.targetTransferTag.get(third.header), 1, 3072, true);
      const end = await inbox.next();
      assert.equal(ScsiResponse.status.get(end.header), 0);
      assert.ok((await initiator.read(0, 128, 8)).data.equals(data));
    },
    { MaxBurstLength: '4096' },
  );

  withSession(
    'commands behind one that is missing wait for it, and what comes twice is ignored',
    async () => {
      const data = pattern(512, 4);
      const write = initiator.commandHeader(0, readWriteCdb(0x8a, 256, 1, false), { dataOut: data });
      const read = initiator.commandHeader(0, readWriteCdb(0x88, 256, 1, false), { dataIn: 512 });
      const nop = initiator.header(Opcode.NOP_OUT, FINAL);
      NopOut.targetTransferTag.set(nop, RESERVED_TAG);
      const missing = initiator.cmdSN;
      initiator.cmdSN++;
      const answer = initiator.open(read);
      const echo = initiator.open(nop, Buffer.from('later'));
      initiator.pdus.send(read);
      initiator.pdus.send(nop, Buffer.from('later'));
      // An immediate request has no turn.
      const pong = await initiator.nop(Buffer.from('now'), true);
      assert.equal(ScsiResponse.expCmdSN.get(pong.header), missing);
      assert.equal(answer.length + echo.length, 0);
      const next = initiator.cmdSN;
      initiator.cmdSN = missing;
      const written = initiator.open(write);
      initiator.cmdSN = next;
      const r2t = await written.next();
      initiator.sendDataOut(write, R2T.targetTransferTag.get(r2t.header), data, 0, 512);
      const { data: zeroes } = await answer.next();
      assert.equal(zeroes.length, 512);
      assert.equal(String((await echo.next()).data), 'later');
      assert.equal(ScsiResponse.status.get((await written.next()).header), 0);
      const last = await initiator.nop(Buffer.alloc(0));
      assert.equal(ScsiResponse.expCmdSN.get(last.header), (next + 1) >>> 0);
      assert.equal(answer.length + echo.length + initiator.unsolicited.length, 0, 'something was done twice');
    },
  );

  withSession('ABORT TASK takes the place of a command that never came', async () => {
    const missing = initiator.cmdSN++;
    const read = initiator.commandHeader(0, readWriteCdb(0x88, 0, 1, false), { dataIn: 512 });
    const waiting = initiator.commandHeader(0, readWriteCdb(0x88, 0, 1, false), { dataIn: 512 });
    const aborted = initiator.open(read);
    const answer = initiator.open(waiting);
    const abort = (task: number, cmdSN: number): Promise<number> =>
      initiator.manageTask(TaskManagementFunction.ABORT_TASK, 0, task, cmdSN);
    assert.equal(await abort(Bhs.initiatorTaskTag.get(read), (missing + 1) >>> 0), 0);
    assert.equal(await abort(0x4444, missing), 0);
    assert.equal((await answer.next()).data.length, 512);
    assert.equal(aborted.length, 0);
  });

  withSession('a response that is not acknowledged is asked about', async () => {
    const { before: expStatSN } = await readData();
    const ping = await initiator.unsolicited.next();
    assert.equal(ping.opcode, Opcode.NOP_IN);
    assert.equal(ScsiResponse.statSN.get(ping.header), (expStatSN + 1) >>> 0);
  });

  withSession('of an initiator that acknowledges nothing only the newest is kept', async () => {
    const expStatSN = initiator.expStatSN;
    acknowledgeNothing();
    const count = 1100;
    for (let i = 0; i < count; i++) await initiator.nop(Buffer.alloc(0), true);
    snack(SnackType.STATUS, expStatSN + count - 1, 1, expStatSN);
    assert.equal((await initiator.unsolicited.next()).opcode, Opcode.NOP_IN);
    snack(SnackType.STATUS, expStatSN + count - 600, 1, expStatSN);
    await rejected(RejectReason.SNACK_REJECT);
    snack(SnackType.STATUS, expStatSN, 1, expStatSN);
    await rejected(RejectReason.SNACK_REJECT);
  });
});

interface Tags {
  task: number;
  transfer: number;
}
