import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { ScatterList } from '../../util/memory.js';
import { MAXIMUM_UNMAP_DESCRIPTORS, MAXIMUM_UNMAP_LBA_COUNT } from '../limits.js';
import { Sense } from '../sense.js';
import { cdb10, cdb16, cdbUnmap, unmapList } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText, type FakeTask } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const SIZE = 1 << 20;
const BLOCKS = SIZE / 512;
const invalidParameter = senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST);
const lengthError = senseText(Sense.PARAMETER_LIST_LENGTH_ERROR);
const outOfRange = senseText(Sense.LBA_OUT_OF_RANGE);

function unmap(target: FakeTarget, list: Buffer): FakeTask {
  return target.run(cdbUnmap(list.length), { dataOut: list });
}

function filled(): FakeTarget {
  const target = new FakeTarget();
  target.run(cdb10(0x2a, 0, 0, BLOCKS), { dataOut: Buffer.alloc(SIZE, 'x') });
  return target;
}

const medium = (target: FakeTarget): Buffer => target.run(cdb10(0x28, 0, 0, BLOCKS)).dataIn;

describe('UNMAP', () => {
  test('zeroes what its descriptors name, and nothing else', () => {
    const target = filled();
    const task = unmap(target, unmapList([0, 8], [100, 1], [BLOCKS - 3, 3], [100, 1], [50, 0]));
    assert.equal(task.outcome, 'GOOD');
    assert.equal(task.transferLength, 8 + 5 * 16);
    const expected = Buffer.alloc(SIZE, 'x');
    for (const [lba, blocks] of [
      [0, 8],
      [100, 1],
      [BLOCKS - 3, 3],
    ] as const) {
      expected.fill(0, lba * 512, (lba + blocks) * 512);
    }
    assert.ok(medium(target).equals(expected));
  });

  test('runs its descriptors in turn on a device that takes its time', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const task = unmap(target, unmapList([8, 8], [0, 0], [64, 16]));
    assert.equal(task.outcome, 'NOT ENDED');
    assert.equal(device.submitted.length, 1);
    device.completeAll();
    assert.equal(task.outcome, 'GOOD');
    assert.deepEqual(
      device.submitted.map(({ op, offset, length }) => [op, offset, length]),
      [
        [BlockOp.UNMAP, 8 * 512, 8 * 512],
        [BlockOp.UNMAP, 64 * 512, 16 * 512],
      ],
    );
  });

  test('nothing to unmap is GOOD', () => {
    const target = filled();
    for (const list of [Buffer.alloc(0), unmapList(), unmapList([0, 0]), unmapList([BLOCKS, 0])]) {
      assert.equal(unmap(target, list).outcome, 'GOOD');
    }
    assert.ok(medium(target).equals(Buffer.alloc(SIZE, 'x')));
  });

  test('a range behind the medium stops all of them', () => {
    const target = filled();
    const beyond = unmapList([0, 8], [0, 8]);
    beyond.fill(0xff, 24, 32);
    for (const list of [unmapList([0, 8], [BLOCKS, 1]), unmapList([0, 8], [BLOCKS - 1, 2]), beyond]) {
      assert.equal(unmap(target, list).outcome, outOfRange);
    }
    assert.ok(medium(target).equals(Buffer.alloc(SIZE, 'x')));
  });

  test('a list that is shorter than it says is refused', () => {
    const target = filled();
    const list = unmapList([0, 8], [8, 8]);
    for (let length = 1; length < list.length; length++) {
      assert.equal(unmap(target, list.subarray(0, length)).outcome, lengthError, `${length} bytes`);
    }
    const inconsistent = Buffer.from(list);
    inconsistent.writeUInt16BE(0, 0);
    inconsistent.writeUInt16BE(48, 2);
    assert.equal(unmap(target, inconsistent).outcome, lengthError);
    inconsistent.writeUInt16BE(list.length - 1, 0);
    inconsistent.writeUInt16BE(32, 2);
    assert.equal(unmap(target, inconsistent).outcome, lengthError);
    assert.ok(medium(target).equals(Buffer.alloc(SIZE, 'x')));
  });

  test('an incomplete last descriptor is left out', () => {
    const target = filled();
    const list = Buffer.concat([unmapList([0, 1]), Buffer.alloc(10, 0xff)]);
    list.writeUInt16BE(26, 2);
    assert.equal(unmap(target, list).outcome, 'GOOD');
    assert.equal(medium(target).indexOf('x'), 512);
  });

  test('its limits hold, with a pointer at what exceeds them', () => {
    const target = new FakeTarget(fakeUnit({ size: 2 ** 40 }));
    const one = [0, 1] as const;
    const most = new Array(MAXIMUM_UNMAP_DESCRIPTORS).fill(one) as (typeof one)[];
    assert.equal(unmap(target, unmapList(...most)).outcome, 'GOOD');
    const tooMany = unmap(target, unmapList(...most, one));
    assert.equal(tooMany.outcome, invalidParameter);
    assert.equal(tooMany.sense.bytes.readUInt16BE(16), 2);
    assert.equal(unmap(target, unmapList([7, MAXIMUM_UNMAP_LBA_COUNT])).outcome, 'GOOD');
    const tooLong = unmap(target, unmapList([7, MAXIMUM_UNMAP_LBA_COUNT], one));
    assert.equal(tooLong.outcome, invalidParameter);
    assert.equal(tooLong.sense.bytes.readUInt16BE(16), 8 + 16 + 8);
  });

  test('too little Data-Out, ANCHOR, write protection and faults', () => {
    const target = filled();
    const list = unmapList([0, 1]);
    const short = target.run(cdbUnmap(list.length + 1), { dataOut: list });
    assert.equal(short.outcome, senseText(Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT));
    const anchor = target.run([0x42, 1, ...cdbUnmap(list.length).slice(2)], { dataOut: list });
    assert.equal(anchor.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    const locked = new FakeTarget(fakeUnit({ readOnly: true }));
    assert.equal(unmap(locked, list).outcome, senseText(Sense.WRITE_PROTECTED));
    const { target: faulty, device } = slowTarget({ size: SIZE }, false);
    device.fault = () => BlockStatus.MEDIUM_ERROR;
    assert.equal(unmap(faulty, unmapList([0, 1], [1, 1])).outcome, senseText(Sense.WRITE_ERROR));
    assert.equal(device.submitted.length, 1);
  });

  test('is unknown to a fully provisioned unit', () => {
    const target = new FakeTarget(fakeUnit({ provisioning: 'full' }));
    assert.equal(unmap(target, unmapList()).outcome, senseText(Sense.INVALID_COMMAND_OPERATION_CODE));
  });
});

describe('GET LBA STATUS', () => {
  const getLbaStatus = (target: FakeTarget, lba: number, allocationLength = 4104): FakeTask =>
    target.run(cdb16(0x9e, 0x12, lba, allocationLength));

  /** Descriptors as [first block, blocks, provisioning status]. */
  function descriptors(task: FakeTask): [number, number, number][] {
    assert.equal(task.outcome, 'GOOD');
    const data = task.dataIn;
    assert.ok(data.length >= 8);
    const found: [number, number, number][] = [];
    for (let at = 8; at + 16 <= data.length; at += 16) {
      found.push([Number(data.readBigUInt64BE(at)), data.readUInt32BE(at + 8), data[at + 12]!]);
    }
    return found;
  }

  test('tells mapped from deallocated runs, from the block that is asked for', () => {
    const target = new FakeTarget();
    assert.deepEqual(descriptors(getLbaStatus(target, 5)), [[5, BLOCKS - 5, 1]]);
    target.run(cdb10(0x2a, 0, 16, 8), { dataOut: Buffer.alloc(8 * 512, 'y') });
    const all: [number, number, number][] = [
      [0, 16, 1],
      [16, 8, 0],
      [24, BLOCKS - 24, 1],
    ];
    const task = getLbaStatus(target, 0);
    assert.deepEqual(descriptors(task), all);
    assert.equal(task.dataIn.readUInt32BE(0), task.dataIn.length - 4);
    assert.deepEqual(descriptors(getLbaStatus(target, 20)), [[20, 4, 0], all[2]!]);
    assert.deepEqual(descriptors(getLbaStatus(target, BLOCKS - 1)), [[BLOCKS - 1, 1, 1]]);
  });

  test('an unmapped run beside a mapped one', () => {
    const target = filled();
    unmap(target, unmapList([0, 8]));
    assert.deepEqual(descriptors(getLbaStatus(target, 0, 24)), [[0, 8, 1]]);
    assert.deepEqual(descriptors(getLbaStatus(target, 8, 24)), [[8, BLOCKS - 8, 0]]);
  });

  test('gives no more than the allocation length', () => {
    const target = new FakeTarget();
    for (let lba = 0; lba < 64; lba += 16) {
      target.run(cdb10(0x2a, 0, lba, 8), { dataOut: Buffer.alloc(8 * 512, 'y') });
    }
    assert.equal(descriptors(getLbaStatus(target, 0, 8 + 3 * 16)).length, 3);
    for (const allocationLength of [0, 4, 23, 24, 40]) {
      const task = getLbaStatus(target, 0, allocationLength);
      assert.equal(task.outcome, 'GOOD');
      assert.equal(task.dataIn.length, allocationLength);
    }
  });

  test('merges what the device tells in pieces, and does not ask it without end', () => {
    const { target, device } = slowTarget({ size: 2 ** 40 });
    let looks = 0;
    device.submit = (io) => {
      assert.equal(io.op, BlockOp.EXTENTS);
      looks++;
      io.extents.length = 0;
      io.addExtent(Math.min(io.length, 4096), true);
      return true;
    };
    assert.deepEqual(descriptors(getLbaStatus(target, 1)), [[1, looks * 8, 0]]);
    assert.ok(looks < 10_000);
  });

  test('waits for a device that answers later, and tells of one that cannot answer', () => {
    const { target, device } = slowTarget({ size: SIZE });
    device.memory.lend(new ScatterList(), 4096, 4096, true);
    const task = getLbaStatus(target, 0);
    assert.equal(task.outcome, 'NOT ENDED');
    assert.ok(device.completeNext());
    assert.deepEqual(descriptors(task), [
      [0, 8, 1],
      [8, 8, 0],
      [16, BLOCKS - 16, 1],
    ]);
    device.fault = () => BlockStatus.MEDIUM_ERROR;
    device.defers = false;
    assert.equal(getLbaStatus(target, 0).outcome, senseText(Sense.UNRECOVERED_READ_ERROR));
  });

  test('runs longer than its fields can tell are cut', () => {
    const target = new FakeTarget(fakeUnit({ size: 2 ** 45 }));
    const [first, second] = descriptors(getLbaStatus(target, 0));
    assert.deepEqual(first, [0, 0xffff_ffff, 1]);
    assert.equal(second![0], 0xffff_ffff);
  });

  test('everything is mapped on a fully provisioned unit', () => {
    const target = new FakeTarget(fakeUnit({ provisioning: 'full' }));
    assert.deepEqual(descriptors(getLbaStatus(target, 7)), [[7, BLOCKS - 7, 0]]);
  });

  test('a start behind the medium is out of range', () => {
    const target = new FakeTarget();
    for (const lba of [BLOCKS, BLOCKS + 1, 2 ** 52]) {
      assert.equal(getLbaStatus(target, lba).outcome, outOfRange);
    }
    const last = target.run([0x9e, 0x12, ...new Array<number>(8).fill(0xff), 0, 0, 0, 24, 0, 0]);
    assert.equal(last.outcome, outOfRange);
  });
});
