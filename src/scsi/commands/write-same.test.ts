import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { maximumWriteSameBlocks } from '../limits.js';
import { Sense } from '../sense.js';
import { cdb10, cdb16 } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const NDOB = 0x01;
const UNMAP = 0x08;
const ANCHOR = 0x10;
const SIZE = 4 << 20;
const BLOCKS = SIZE / 512;
const outOfRange = senseText(Sense.LBA_OUT_OF_RANGE);
const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);
const invalidUnit = senseText(Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
const zeroes = Buffer.alloc(512);

const layouts = {
  'WRITE SAME(10)': (flags: number, lba: number, blocks: number) => cdb10(0x41, flags, lba, blocks),
  'WRITE SAME(16)': (flags: number, lba: number, blocks: number) => cdb16(0x93, flags, lba, blocks),
};

function medium(target: FakeTarget): Buffer {
  return target.run(cdb16(0x88, 0, 0, BLOCKS), { dataInLimit: SIZE }).dataIn;
}

for (const [name, writeSame] of Object.entries(layouts)) {
  describe(name, () => {
    test('repeats the block over the range and nowhere else', () => {
      for (const target of [
        new FakeTarget(fakeUnit({ size: SIZE })),
        slowTarget({ size: SIZE }, false).target,
      ]) {
        for (const [lba, blocks, letter] of [
          [0, 1, 'a'],
          [3, 256, 'b'],
          [100, 5000, 'c'],
          [BLOCKS - 7, 7, 'd'],
        ] as const) {
          const expected = medium(target);
          expected.fill(letter, lba * 512, (lba + blocks) * 512);
          const task = target.run(writeSame(0, lba, blocks), { dataOut: Buffer.alloc(512, letter) });
          assert.equal(task.outcome, 'GOOD');
          assert.equal(task.transferLength, 512);
          assert.ok(medium(target).equals(expected), `${blocks} blocks at ${lba}`);
        }
      }
    });

    test('a block of zeroes is one operation, which unmaps when that is asked for', () => {
      const { target, device } = slowTarget({ size: SIZE }, false);
      for (const flags of [0, UNMAP]) {
        target.run(writeSame(flags, 8, 100), { dataOut: zeroes });
        assert.deepEqual(device.submitted.pop(), {
          op: BlockOp.WRITE_ZEROES,
          offset: 8 * 512,
          length: 100 * 512,
          fua: false,
          mayUnmap: flags === UNMAP,
        });
      }
    });

    test('with UNMAP any block is unmapped', () => {
      const target = new FakeTarget(fakeUnit({ size: SIZE }));
      target.run(cdb10(0x2a, 0, 0, 16), { dataOut: Buffer.alloc(16 * 512, 'a') });
      const dataOut = Buffer.alloc(512, 0xa6);
      assert.equal(target.run(writeSame(UNMAP, 1, 7), { dataOut }).outcome, 'GOOD');
      assert.deepEqual(medium(target).subarray(512, 4096), Buffer.alloc(7 * 512));
      assert.equal(medium(target)[4096], 0x61);
    });

    test('no number of blocks means up to the last one', () => {
      const target = new FakeTarget(fakeUnit({ size: SIZE }));
      const dataOut = Buffer.alloc(512, 'e');
      assert.equal(target.run(writeSame(0, BLOCKS - 9, 0), { dataOut }).outcome, 'GOOD');
      const expected = Buffer.alloc(SIZE);
      expected.fill('e', SIZE - 9 * 512);
      assert.ok(medium(target).equals(expected));
      assert.equal(target.run(writeSame(0, BLOCKS + 1, 0), { dataOut }).outcome, outOfRange);
      const most = maximumWriteSameBlocks(512);
      const large = new FakeTarget(fakeUnit({ size: 32 << 20 }));
      const count = (32 << 20) / 512;
      assert.equal(large.run(writeSame(0, 0, 0), { dataOut: zeroes }).outcome, invalidField);
      assert.equal(large.run(writeSame(0, count - most - 1, 0), { dataOut: zeroes }).outcome, invalidField);
      assert.equal(large.run(writeSame(0, count - most, 0), { dataOut: zeroes }).outcome, 'GOOD');
      assert.equal(large.run(writeSame(0, 0, most), { dataOut: zeroes }).outcome, 'GOOD');
      assert.equal(large.run(writeSame(0, 0, most + 1), { dataOut: zeroes }).outcome, invalidField);
    });

    test('Data-Out has to be one block', () => {
      const target = new FakeTarget();
      for (const size of [0, 256, 1024]) {
        const task = target.run(writeSame(UNMAP, 0, 1), { dataOut: Buffer.alloc(size) });
        assert.equal(task.outcome, invalidUnit);
        assert.equal(task.requests, 0);
      }
    });

    test('ANCHOR, protection, and a range behind the medium are refused', () => {
      const target = new FakeTarget();
      for (const flags of [ANCHOR, ANCHOR | UNMAP, 0x20, 0xe0]) {
        assert.equal(target.run(writeSame(flags, 0, 1), { dataOut: zeroes }).outcome, invalidField);
      }
      assert.equal(target.run(writeSame(0, 2048, 1), { dataOut: zeroes }).outcome, outOfRange);
      assert.equal(target.run(writeSame(0, 2047, 2), { dataOut: zeroes }).outcome, outOfRange);
    });

    test('UNMAP is refused by a fully provisioned unit, with a pointer at the bit', () => {
      const target = new FakeTarget(fakeUnit({ provisioning: 'full' }));
      const task = target.run(writeSame(UNMAP, 0, 1), { dataOut: zeroes });
      assert.equal(task.outcome, invalidField);
      assert.deepEqual([...task.sense.bytes.subarray(15, 18)], [0xc8 | 3, 0, 1]);
      assert.equal(target.run(writeSame(0, 0, 1), { dataOut: zeroes }).outcome, 'GOOD');
    });
  });
}

test('NDOB writes zeroes without Data-Out, in WRITE SAME(16) alone', () => {
  for (const flags of [NDOB, NDOB | UNMAP]) {
    const target = new FakeTarget(fakeUnit({ size: SIZE }));
    target.run(cdb16(0x93, 0, 0, BLOCKS), { dataOut: Buffer.alloc(512, 'f') });
    const task = target.run(cdb16(0x93, flags, 1, BLOCKS - 2));
    assert.equal(task.outcome, 'GOOD');
    assert.equal(task.transferLength, 0);
    const expected = Buffer.alloc(SIZE, 'f');
    expected.fill(0, 512, SIZE - 512);
    assert.ok(medium(target).equals(expected));
    assert.equal(target.run(cdb10(0x41, flags, 0, 1)).outcome, invalidField);
  }
});

test('faults, and no memory', () => {
  const { target, device } = slowTarget({ size: SIZE });
  device.fault = (io) => (io.offset > 0 ? BlockStatus.NO_SPACE : BlockStatus.GOOD);
  const dataOut = Buffer.alloc(512, 'g');
  const task = target.run(cdb16(0x93, 0, 0, BLOCKS), { dataOut });
  device.completeAll();
  assert.equal(task.outcome, senseText(Sense.SPACE_ALLOCATION_FAILED));
  assert.equal(device.submitted.length, 2);
  assert.equal(target.run(cdb16(0x93, 0, 0, 1), { dataOut, outOfMemory: true }).outcome, 'BUSY');
});

test('without a write cache the blocks are on stable storage', () => {
  const { target, device } = slowTarget({ size: SIZE }, false, { writeCache: false });
  target.run(cdb16(0x93, 0, 0, 1), { dataOut: Buffer.alloc(512, 'h') });
  target.run(cdb16(0x93, NDOB, 0, 1));
  assert.deepEqual(
    device.submitted.map((io) => io.fua),
    [true, true],
  );
});

test('blocks of 4096 bytes', () => {
  const target = new FakeTarget(fakeUnit({ blockSize: 4096 }));
  assert.equal(target.run(cdb10(0x41, 0, 1, 3), { dataOut: Buffer.alloc(4096, 'i') }).outcome, 'GOOD');
  const expected = Buffer.alloc(5 * 4096);
  expected.fill('i', 4096, 4 * 4096);
  assert.deepEqual(target.run(cdb10(0x28, 0, 0, 5)).dataIn, expected);
  const most = maximumWriteSameBlocks(4096);
  assert.equal(most * 4096, maximumWriteSameBlocks(512) * 512);
});
