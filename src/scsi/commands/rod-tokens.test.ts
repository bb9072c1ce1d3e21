import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { BlockOp, BlockStatus } from '../../block/device.js';
import { MemoryDevice } from '../../block/memory.js';
import { Sense } from '../sense.js';
import { Status } from '../status.js';
import { cdb16, cdbUnmap, unmapList } from '../testing/cdb.js';
import { copyList, type CopyTarget, FakeCopies, zeroToken } from '../testing/fake-copies.js';
import { fakeNexus, senseText } from '../testing/fake-task.js';
import { reserveOut, ServiceAction } from '../testing/persistent-reserve.js';
import { SlowDevice } from '../testing/slow-device.js';
import { MAXIMUM_TOKENS_OF_NEXUS } from '../third-party-copy/rod-tokens.js';

const MIB = 1 << 20;
const MINUTE = 60_000;

function pattern(blocks: number, seed = 1): Buffer {
  return Buffer.from(Array.from({ length: 512 * blocks }, (_, i) => (i * 5 + (i >>> 9) * 77 + seed) & 0xff));
}

interface Pair {
  copies: FakeCopies;
  a: CopyTarget;
  b: CopyTarget;
}

function pair(): Pair {
  const copies = new FakeCopies();
  return { copies, a: copies.add(), b: copies.add() };
}

/** A token for 100 blocks from 10 on, which hold a pattern. */
function tokenOf({ a }: Pair): Buffer {
  a.write(10, pattern(100));
  assert.equal(a.populate([[10, 100]]).outcome, 'GOOD');
  return a.token();
}

describe('ODX', () => {
  test('a token carries blocks to another logical unit', () => {
    const all = pair();
    const { a, b } = all;
    a.write(0, pattern(5000));
    const populated = a.populate([
      [100, 3000],
      [4000, 500],
    ]);
    assert.equal(populated.outcome, 'GOOD');
    const token = a.token();
    const written = b.writeUsing(token, [
      [0, 200],
      [7000, 1192],
      [300, 2000],
    ]);
    assert.equal(written.outcome, 'GOOD');
    const source = Buffer.concat([
      pattern(5000).subarray(51200, 3100 * 512),
      pattern(5000).subarray(2048000),
    ]);
    assert.ok(b.read(0, 200).equals(source.subarray(0, 200 * 512)));
    assert.ok(b.read(7000, 1192).equals(source.subarray(200 * 512, 1392 * 512)));
    assert.ok(b.read(300, 2000).equals(source.subarray(1392 * 512, 3392 * 512)));
    const offset = b.writeUsing(token, [[5000, 10]], { offset: 3005 });
    assert.equal(offset.outcome, 'GOOD');
    assert.ok(b.read(5000, 10).equals(source.subarray(3005 * 512, 3015 * 512)));
    assert.equal(all.copies.manager.running, 0);
  });

  test('the token, and what RECEIVE ROD TOKEN INFORMATION tells with it', () => {
    const all = pair();
    const token = tokenOf(all);
    assert.equal(token.readUInt32BE(0), 0x0080_0001);
    assert.equal(token.readUInt16BE(6), 504);
    assert.equal(token[16], 0xe4);
    assert.equal(token.readBigUInt64BE(56), BigInt(100 * 512));
    assert.equal(token.readUInt32BE(96), 512);
    const told = all.a.results(0x07, 1).dataIn;
    assert.equal(told.length, 32 + 4 + 2 + 512);
    assert.equal(told.readUInt32BE(0), told.length - 4);
    // POPULATE TOKEN completed without errors, and transferred logical blocks.
    assert.deepEqual([told[4], told[5], told[15], told.readBigUInt64BE(16)], [0x10, 0x01, 0xf1, 100n]);
    assert.equal(told.readUInt32BE(32), 514);
    assert.equal(all.b.results(0x07, 1).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(all.a.populate([[10, 100]]).outcome, 'GOOD');
    assert.notDeepEqual(all.a.token(), token);
  });

  test('between blocks of 512 and of 4096 bytes', () => {
    const copies = new FakeCopies();
    const a = copies.add();
    const b = copies.add(new MemoryDevice({ size: 4 * MIB, blockSize: 4096 }));
    a.write(16, pattern(32));
    a.populate([[16, 32]]);
    assert.equal(b.writeUsing(a.token(), [[5, 3]]).outcome, 'GOOD');
    assert.ok(b.read(5, 3).equals(pattern(32).subarray(0, 3 * 4096)));
    b.populate([[5, 3]]);
    assert.equal(
      a.writeUsing(b.token(), [[200, 9]], { offset: 1 }).outcome,
      senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST),
    );
    assert.equal(a.writeUsing(b.token(), [[200, 16]]).outcome, 'GOOD');
    assert.ok(a.read(200, 16).equals(pattern(32).subarray(0, 16 * 512)));
  });

  test('zeroes', () => {
    const { a, b } = pair();
    b.write(0, pattern(8192));
    const offset = b.writeUsing(zeroToken(), [
      [1, 3000],
      [8000, 100],
    ]);
    assert.equal(offset.outcome, 'GOOD');
    assert.ok(b.read(1, 3000).equals(Buffer.alloc(3000 * 512)));
    assert.ok(b.read(8000, 100).equals(Buffer.alloc(51200)));
    assert.ok(b.read(3001, 1).equals(pattern(8192).subarray(3001 * 512, 3002 * 512)));
    const short = zeroToken();
    short[7] = 0;
    assert.equal(a.writeUsing(short, [[0, 1]]).outcome, senseText(Sense.INVALID_TOKEN_LENGTH));
  });

  test('IMMED ends the command, and the copy goes on', () => {
    const all = pair();
    all.a.write(0, pattern(5000));
    all.a.populate([[0, 5000]], { flags: 1 });
    const token = all.a.token();
    const task = all.b.startWriteUsing(token, [[0, 5000]], { flags: 1 });
    assert.equal(task.outcome, 'GOOD');
    const under = all.b.results(0x07, 2).dataIn;
    assert.deepEqual([under[4], under[5], under.readBigUInt64BE(16)], [0x11, 0x12, 2048n]);
    all.copies.host.turnAll();
    const over = all.b.results(0x05, 2).dataIn;
    assert.deepEqual([over[5], over.readBigUInt64BE(16)], [0x01, 5000n]);
    assert.ok(all.b.read(0, 5000).equals(pattern(5000)));
  });

  test('a copy in the background ends with the nexus', () => {
    const all = pair();
    all.a.write(0, pattern(8192));
    all.a.populate([[0, 8192]]);
    const { b, copies } = all;
    b.startWriteUsing(all.a.token(), [[0, 8192]], { flags: 1 });
    assert.equal(copies.manager.running, 1);
    copies.inventory.removeNexus(copies.nexus);
    copies.host.turnAll();
    assert.equal(copies.manager.running, 0);
    assert.ok(b.read(2048, 1).equals(Buffer.alloc(512)));
  });
});

describe('a ROD token is no good any more', () => {
  const writers: Record<string, (target: CopyTarget, copies: FakeCopies) => string> = {
    'WRITE(16) of its last block': (a) => a.start(cdb16(0x8a, 0, 109, 1), { dataOut: pattern(1) }).outcome,
    'WRITE SAME(16) across it': (a) =>
      a.start(cdb16(0x93, 0, 0, 200), { dataOut: Buffer.alloc(512) }).outcome,
    UNMAP: (a) => a.start(cdbUnmap(24), { dataOut: unmapList([50, 1]) }).outcome,
    'EXTENDED COPY onto it': (a) =>
      a.extendedCopy(copyList([a.unit], [{ destination: 0, blocks: 2, from: 500, to: 9 }])).outcome,
    'WRITE USING TOKEN onto it': (a) => a.writeUsing(zeroToken(), [[100, 1]]).outcome,
  };
  for (const [name, change] of Object.entries(writers)) {
    test(`revoked by ${name}`, () => {
      const all = pair();
      const token = tokenOf(all);
      assert.equal(change(all.a, all.copies), 'GOOD');
      assert.equal(all.b.writeUsing(token, [[0, 100]]).outcome, senseText(Sense.TOKEN_REVOKED));
      assert.ok(all.b.read(0, 1).equals(Buffer.alloc(512)));
      assert.equal(all.a.unit.copies.watches, false);
    });
  }

  test('but not by what is beside it', () => {
    const all = pair();
    const token = tokenOf(all);
    all.a.write(9, pattern(1));
    all.a.write(110, pattern(1));
    all.a.read(10, 100);
    // SYNCHRONIZE CACHE(16) and GET LBA STATUS.
    all.a.start(cdb16(0x91, 0, 0, 0));
    all.a.start(cdb16(0x9e, 0x12, 0, 512));
    assert.equal(all.b.writeUsing(token, [[0, 100]]).outcome, 'GOOD');
  });

  test('revoked in the middle of a copy, which then ends', () => {
    const all = pair();
    all.a.write(0, pattern(8192));
    all.a.populate([[0, 8192]]);
    const token = all.a.token();
    const task = all.b.startWriteUsing(token, [[0, 8192]]);
    all.a.write(8000, pattern(1));
    all.copies.host.turnAll();
    assert.equal(task.outcome, senseText(Sense.TOKEN_REVOKED));
    const told = all.b.results(0x07, 2).dataIn;
    assert.deepEqual([told[5], told[12], told.readBigUInt64BE(16)], [0x02, Status.CHECK_CONDITION, 2048n]);
    assert.equal(told[14], task.sense.length);
  });

  test('revoked by a change between the read and the write of a piece', () => {
    const copies = new FakeCopies();
    const slow = new SlowDevice({ size: MIB, blockSize: 512 }, false);
    const [a, b] = [copies.add(slow, { provisioning: 'full' }), copies.add()];
    a.write(0, pattern(8));
    a.populate([[0, 8]]);
    const token = a.token();
    slow.defers = true;
    const task = b.writeUsing(token, [[0, 8]]);
    assert.deepEqual(
      slow.pending.map(({ op }) => op),
      [BlockOp.READ],
    );
    a.start(cdb16(0x8a, 0, 7, 1), { dataOut: pattern(1, 9) });
    slow.completeAll();
    copies.host.turnAll();
    assert.equal(task.outcome, senseText(Sense.TOKEN_REVOKED));
    assert.ok(b.read(0, 8).equals(Buffer.alloc(8 * 512)));
  });

  test('a token is made when all writes before it are done', () => {
    const copies = new FakeCopies();
    const slow = new SlowDevice({ size: MIB, blockSize: 512 });
    const a = copies.add(slow);
    const writing = a.start(cdb16(0x8a, 0, 0, 8), { dataOut: pattern(8) });
    const populating = a.populate([[0, 8]]);
    assert.equal(populating.ending, 'none');
    slow.completeAll();
    assert.deepEqual([writing.outcome, populating.outcome], ['GOOD', 'GOOD']);
    assert.equal(a.unit.copies.watches, true);
  });

  test('expired when nobody has used it for as long as it was made for', () => {
    const all = pair();
    const token = tokenOf(all);
    const use = (): string => all.b.writeUsing(token, [[0, 100]]).outcome;
    for (let i = 0; i < 3; i++) {
      all.copies.host.time += MINUTE;
      assert.equal(use(), 'GOOD');
    }
    all.copies.host.time += MINUTE + 1;
    assert.equal(use(), senseText(Sense.TOKEN_EXPIRED));
    all.a.populate([[10, 100]], { timeout: 600 });
    const long = all.a.token();
    all.copies.host.time += 10 * MINUTE;
    assert.equal(all.b.writeUsing(long, [[0, 100]]).outcome, 'GOOD');
    assert.equal(
      all.a.populate([[10, 100]], { timeout: 601 }).outcome,
      senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST),
    );
  });

  test('deleted by DEL_TKN', () => {
    const all = pair();
    const token = tokenOf(all);
    assert.equal(all.b.writeUsing(token, [[0, 100]], { flags: 2 }).outcome, 'GOOD');
    assert.equal(all.b.writeUsing(token, [[0, 100]]).outcome, senseText(Sense.TOKEN_DELETED));
  });

  test('guessed, changed, or of another kind', () => {
    const all = pair();
    const token = tokenOf(all);
    const outcome = (at: number, value: number): string => {
      const other = Buffer.from(token);
      other[at] = value;
      return all.b.writeUsing(other, [[0, 100]]).outcome;
    };
    assert.equal(outcome(511, token[511]! ^ 1), senseText(Sense.TOKEN_CORRUPT));
    assert.equal(outcome(63, 1), senseText(Sense.TOKEN_CORRUPT));
    assert.equal(outcome(15, 99), senseText(Sense.TOKEN_UNKNOWN));
    assert.equal(outcome(7, 0), senseText(Sense.INVALID_TOKEN_LENGTH));
    assert.equal(outcome(1, 0x01), senseText(Sense.UNSUPPORTED_TOKEN_TYPE));
  });

  test('revoked with the nexus that it was made for, and while that could not read', () => {
    const all = pair();
    const token = tokenOf(all);
    const other = fakeNexus('b');
    all.copies.inventory.addNexus(other);
    reserveOut(all.a, other, ServiceAction.REGISTER, { newKey: 1 });
    reserveOut(all.a, other, ServiceAction.RESERVE, { key: 1, type: 3 });
    assert.equal(all.b.writeUsing(token, [[0, 100]]).outcome, senseText(Sense.TOKEN_REVOKED));
    reserveOut(all.a, other, ServiceAction.CLEAR, { key: 1 });
    assert.equal(all.b.writeUsing(token, [[0, 100]]).outcome, 'GOOD');
    all.copies.inventory.removeNexus(all.copies.nexus);
    assert.equal(all.b.writeUsing(token, [[0, 100]]).outcome, senseText(Sense.TOKEN_REVOKED));
  });

  test('there are so many of a nexus, and no more', () => {
    const { a } = pair();
    for (let i = 0; i < MAXIMUM_TOKENS_OF_NEXUS; i++) assert.equal(a.populate([[i, 1]]).outcome, 'GOOD');
    assert.equal(a.populate([[0, 1]]).outcome, senseText(Sense.INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN));
    a.write(5, pattern(1));
    assert.equal(a.populate([[0, 1]]).outcome, 'GOOD');
  });
});

describe('the parameter lists of POPULATE TOKEN and WRITE USING TOKEN', () => {
  test('ranges', () => {
    const all = pair();
    const token = tokenOf(all);
    for (const [ranges, sense] of [
      [[], Sense.INVALID_FIELD_IN_PARAMETER_LIST],
      [[[8191, 2]], Sense.LBA_OUT_OF_RANGE],
      [[[2 ** 60, 1]], Sense.LBA_OUT_OF_RANGE],
      [
        [
          [0, 10],
          [9, 1],
        ],
        Sense.INVALID_FIELD_IN_PARAMETER_LIST,
      ],
    ] as const) {
      assert.equal(all.a.populate(ranges).outcome, senseText(sense));
      assert.equal(all.b.writeUsing(token, ranges).outcome, senseText(sense));
    }
    const many = Array.from({ length: 65 }, (_, i) => [i, 1] as const);
    assert.equal(all.a.populate(many).outcome, senseText(Sense.PARAMETER_LIST_LENGTH_ERROR));
    assert.equal(all.a.populate(many.slice(1)).outcome, 'GOOD');
  });

  test('more than the token has, or from behind its end', () => {
    const all = pair();
    const token = tokenOf(all);
    for (const [blocks, offset, parameter] of [
      [101, 0, 534],
      [2, 99, 534],
      [1, 101, 8],
    ] as const) {
      const task = all.b.writeUsing(token, [[0, blocks]], { offset });
      assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST));
      assert.equal(task.sense.bytes.readUInt16BE(16), parameter);
    }
  });

  test('ROD types', () => {
    const { a } = pair();
    for (const rodType of [0x0080_0000, 0x0080_0001, 0x0080_ffff]) {
      assert.equal(a.populate([[0, 1]], { flags: 2, rodType }).outcome, 'GOOD');
    }
    for (const rodType of [0, 0x0001_0000, 0x0080_0002, 0xffff_0001]) {
      const task = a.populate([[0, 1]], { flags: 2, rodType });
      assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST));
      assert.equal(a.populate([[0, 1]], { rodType }).outcome, 'GOOD');
    }
  });

  test('a list whose length is not that of what it has', () => {
    const { a } = pair();
    const cdb = (length: number): number[] => [0x83, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, length, 0, 0];
    // POPULATE TOKEN DATA LENGTH without a range, and a range descriptor length of two.
    for (const [at, value] of [
      [1, 29],
      [15, 32],
    ] as const) {
      const list = Buffer.alloc(32);
      list[1] = 30;
      list[15] = 16;
      list[at] = value;
      const task = a.start(cdb(list.length), { dataOut: list });
      assert.equal(task.outcome, senseText(Sense.PARAMETER_LIST_LENGTH_ERROR));
    }
    assert.equal(a.start(cdb(15)).outcome, senseText(Sense.PARAMETER_LIST_LENGTH_ERROR));
    assert.equal(a.start(cdb(0)).outcome, 'GOOD');
  });

  test('a destination that is write protected, and one whose device fails', () => {
    const all = pair();
    const token = tokenOf(all);
    const locked = all.copies.add(undefined, { readOnly: true });
    assert.equal(locked.writeUsing(token, [[0, 100]]).outcome, senseText(Sense.WRITE_PROTECTED));
    const slow = new SlowDevice({ size: MIB, blockSize: 512 }, false);
    const full = all.copies.add(slow);
    slow.fault = () => BlockStatus.NO_SPACE;
    assert.equal(full.writeUsing(token, [[0, 100]]).outcome, senseText(Sense.SPACE_ALLOCATION_FAILED));
  });
});
