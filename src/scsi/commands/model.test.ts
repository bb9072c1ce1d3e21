/** Random commands against a plain buffer: every READ gives what the writes before it have left. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Sense } from '../sense.js';
import { cdb10, cdb12, cdb16, cdbCompareAndWrite, cdbUnmap, unmapList } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText, type FakeTask } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const BLOCKS = 64;
const miscompare = senseText(Sense.MISCOMPARE_DURING_VERIFY);

/** A unit under test with its model; `run` returns when the command has ended. */
interface Pair {
  blockSize: number;
  model: Buffer;
  run(cdb: readonly number[], dataOut?: Buffer): FakeTask;
}

type Step = (pair: Pair) => void;

const ranges = fc
  .tuple(fc.nat({ max: BLOCKS - 1 }), fc.integer({ min: 1, max: BLOCKS }))
  .map(([lba, blocks]) => [lba, Math.min(blocks, BLOCKS - lba)] as const);
/** Few values, so that comparisons are often equal. */
const letters = fc.constantFrom(0, 1, 2);

const part = ({ model, blockSize }: Pair, lba: number, blocks: number): Buffer =>
  model.subarray(lba * blockSize, (lba + blocks) * blockSize);

const write: fc.Arbitrary<Step> = fc
  .tuple(ranges, letters, fc.constantFrom(0x2a, 0xaa, 0x8a, 0x2e))
  .map(([[lba, blocks], letter, opcode]) => (pair) => {
    const data = Buffer.alloc(blocks * pair.blockSize, letter);
    const layout = opcode === 0xaa ? cdb12 : opcode === 0x8a ? cdb16 : cdb10;
    assert.equal(pair.run(layout(opcode, 0, lba, blocks), data).outcome, 'GOOD');
    data.copy(pair.model, lba * pair.blockSize);
  });

const writeSame: fc.Arbitrary<Step> = fc
  .tuple(ranges, letters, fc.constantFrom(0, 0x08))
  .map(([[lba, blocks], letter, flags]) => (pair) => {
    const block = Buffer.alloc(pair.blockSize, letter);
    assert.equal(pair.run(cdb16(0x93, flags, lba, blocks), block).outcome, 'GOOD');
    part(pair, lba, blocks).fill(flags === 0x08 ? 0 : letter);
  });

const unmap: fc.Arbitrary<Step> = fc.array(ranges, { maxLength: 4 }).map((descriptors) => (pair) => {
  const list = unmapList(...descriptors);
  assert.equal(pair.run(cdbUnmap(list.length), list).outcome, 'GOOD');
  for (const [lba, blocks] of descriptors) part(pair, lba, blocks).fill(0);
});

const compareAndWrite: fc.Arbitrary<Step> = fc
  .tuple(ranges, letters, letters)
  .map(([[lba, blocks], expected, replacement]) => (pair) => {
    const length = blocks * pair.blockSize;
    const data = Buffer.concat([Buffer.alloc(length, expected), Buffer.alloc(length, replacement)]);
    const task = pair.run(cdbCompareAndWrite(0, lba, blocks), data);
    const medium = part(pair, lba, blocks);
    const difference = medium.findIndex((byte) => byte !== expected);
    if (difference < 0) {
      assert.equal(task.outcome, 'GOOD');
      medium.fill(replacement);
    } else {
      assert.equal(task.outcome, miscompare);
      assert.equal(task.sense.bytes.readUInt32BE(3), difference);
    }
  });

const orWrite: fc.Arbitrary<Step> = fc.tuple(ranges, letters).map(([[lba, blocks], letter]) => (pair) => {
  const data = Buffer.alloc(blocks * pair.blockSize, letter);
  assert.equal(pair.run(cdb16(0x8b, 0, lba, blocks), data).outcome, 'GOOD');
  const medium = part(pair, lba, blocks);
  for (let i = 0; i < medium.length; i++) medium[i]! |= letter;
});

const verify: fc.Arbitrary<Step> = fc.tuple(ranges, letters).map(([[lba, blocks], letter]) => (pair) => {
  const data = Buffer.alloc(blocks * pair.blockSize, letter);
  const task = pair.run(cdb10(0x2f, 0x02, lba, blocks), data);
  assert.equal(task.outcome, part(pair, lba, blocks).equals(data) ? 'GOOD' : miscompare);
});

const read: fc.Arbitrary<Step> = ranges.map(([lba, blocks]) => (pair) => {
  const task = pair.run(cdb10(0x28, 0, lba, blocks));
  assert.equal(task.outcome, 'GOOD');
  assert.ok(task.dataIn.equals(part(pair, lba, blocks)));
});

const steps = fc.array(fc.oneof(write, writeSame, unmap, compareAndWrite, orWrite, verify, read), {
  maxLength: 30,
});

function makePairs(blockSize: 512 | 4096): Record<string, Pair> {
  const size = BLOCKS * blockSize;
  const lending = new FakeTarget(fakeUnit({ size, blockSize }));
  const prompt = slowTarget({ size, blockSize }, false).target;
  const late = slowTarget({ size, blockSize });
  const model = () => Buffer.alloc(size);
  return {
    lends: {
      blockSize,
      model: model(),
      run: (cdb, dataOut = Buffer.alloc(0)) => lending.run(cdb, { dataOut }),
    },
    'at once': {
      blockSize,
      model: model(),
      run: (cdb, dataOut = Buffer.alloc(0)) => prompt.run(cdb, { dataOut }),
    },
    later: {
      blockSize,
      model: model(),
      run: (cdb, dataOut = Buffer.alloc(0)) => {
        const task = late.target.run(cdb, { dataOut });
        late.device.completeAll();
        return task;
      },
    },
  };
}

for (const blockSize of [512, 4096] as const) {
  for (const kind of ['lends', 'at once', 'later']) {
    test(`a disk with blocks of ${blockSize} bytes keeps what is written (${kind})`, () => {
      fc.assert(
        fc.property(steps, (commands) => {
          const pair = makePairs(blockSize)[kind]!;
          for (const command of commands) command(pair);
          const task = pair.run(cdb10(0x28, 0, 0, BLOCKS));
          assert.ok(task.dataIn.equals(pair.model));
        }),
        { numRuns: 100 },
      );
    });
  }
}
