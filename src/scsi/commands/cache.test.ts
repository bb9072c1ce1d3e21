import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { Sense } from '../sense.js';
import { cdb10, cdb16 } from '../testing/cdb.js';
import { FakeTarget, senseText } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const BLOCKS = 2048;
const outOfRange = senseText(Sense.LBA_OUT_OF_RANGE);

const synchronize = {
  'SYNCHRONIZE CACHE(10)': (flags: number, lba: number, blocks: number) => cdb10(0x35, flags, lba, blocks),
  'SYNCHRONIZE CACHE(16)': (flags: number, lba: number, blocks: number) => cdb16(0x91, flags, lba, blocks),
};
const preFetch = {
  'PRE-FETCH(10)': (flags: number, lba: number, blocks: number) => cdb10(0x34, flags, lba, blocks),
  'PRE-FETCH(16)': (flags: number, lba: number, blocks: number) => cdb16(0x90, flags, lba, blocks),
};

for (const [name, cdb] of Object.entries(synchronize)) {
  test(`${name} ends when the device has flushed, with IMMED too`, () => {
    const { target, device } = slowTarget({ size: 1 << 20 });
    for (const flags of [0, 2, 4, 6]) {
      const task = target.run(cdb(flags, 0, 0));
      assert.equal(task.outcome, 'NOT ENDED');
      device.completeAll();
      assert.equal(task.outcome, 'GOOD');
      assert.equal(device.submitted.pop()?.op, BlockOp.FLUSH);
    }
  });

  test(`${name} tells of a flush that failed`, () => {
    const { target, device } = slowTarget({ size: 1 << 20 }, false);
    device.fault = () => BlockStatus.MEDIUM_ERROR;
    assert.equal(target.run(cdb(0, 0, 0)).outcome, senseText(Sense.WRITE_ERROR));
  });
}

for (const [name, cdb] of Object.entries(preFetch)) {
  test(`${name} is GOOD and touches nothing`, () => {
    const { target, device } = slowTarget({ size: 1 << 20 });
    for (const flags of [0, 2]) {
      for (const group of [0, 3]) {
        const bytes = cdb(flags, 0, 1);
        bytes[bytes.length - (bytes.length === 10 ? 4 : 2)] = group;
        assert.equal(target.run(bytes).outcome, 'GOOD');
      }
    }
    assert.equal(device.submitted.length, 0);
  });
}

for (const [name, cdb] of Object.entries({ ...synchronize, ...preFetch })) {
  test(`${name} checks its range`, () => {
    const target = new FakeTarget();
    for (const [lba, blocks] of [
      [0, BLOCKS],
      [BLOCKS - 1, 1],
      [5, 0],
    ] as const) {
      assert.equal(target.run(cdb(0, lba, blocks)).outcome, 'GOOD');
    }
    for (const [lba, blocks] of [
      [BLOCKS, 1],
      [BLOCKS - 1, 2],
      [BLOCKS + 1, 0],
      [0xffff_ffff, 1],
    ] as const) {
      assert.equal(target.run(cdb(0, lba, blocks)).outcome, outOfRange);
    }
  });
}
