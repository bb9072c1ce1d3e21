import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';

import { extentsOf, pattern, readBack, writing } from '../../../test/contract/block-io.js';
import { VolatileDevice } from '../../../test/support/volatile-device.js';
import { type BlockDevice, BlockOp, BlockStatus, MemoryDevice } from '../../block/index.js';
import { Copier } from './copier.js';

const SIZE = 4 << 20;

const copier = (source: BlockDevice, destination: BlockDevice, { isBlank = false, depth = 4 } = {}): Copier =>
  new Copier({ source, destination, from: 0, to: source.size, depth, isBlank });

describe('a copier', () => {
  test('makes any destination equal to any source', async () => {
    const runs = fc.array(
      fc.record({ at: fc.nat(SIZE / 4096 - 1), blocks: fc.integer({ min: 1, max: 300 }), seed: fc.nat(99) }),
      { maxLength: 5 },
    );
    const fill = async (disk: BlockDevice, writes: { at: number; blocks: number; seed: number }[]) => {
      for (const { at, blocks, seed } of writes) {
        const length = Math.min(blocks * 4096, SIZE - at * 4096);
        await writing(at * 4096, seed === 0 ? Buffer.alloc(length) : pattern(length, seed)).on(disk);
      }
    };
    await fc.assert(
      fc.asyncProperty(runs, runs, fc.boolean(), fc.boolean(), async (there, before, isSlow, isLarge) => {
        const source = isSlow ? new VolatileDevice(SIZE) : new MemoryDevice({ size: SIZE });
        const destination = new MemoryDevice({ size: 2 * SIZE, blockSize: isLarge ? 4096 : 512 });
        await fill(source, there);
        await fill(destination, before);
        const beyond = pattern(4096, 7);
        await writing(SIZE, beyond).on(destination);
        const { pump, counts } = copier(source, destination);
        await pump.run();
        const [a, b] = [await readBack(source, 0, SIZE), await readBack(destination, 0, SIZE)];
        assert.ok(a.equals(b), 'the copy is equal');
        assert.deepEqual([pump.position, pump.processed, counts.data + counts.holes], [SIZE, SIZE, SIZE]);
        assert.deepEqual(await readBack(destination, SIZE, 4096), beyond, 'what is behind stays');
      }),
      { numRuns: 60 },
    );
  });

  test('leaves holes out of a blank destination, and zeroes as well', async () => {
    const source = new MemoryDevice({ size: SIZE });
    await writing(1 << 20, pattern(4096, 1)).on(source);
    await writing(2 << 20, Buffer.alloc(1 << 20)).on(source);
    const destination = new VolatileDevice(SIZE);
    const { pump, counts } = copier(source, destination, { isBlank: true });
    await pump.run();
    assert.equal(destination.changes, 1);
    assert.deepEqual(counts, { data: 4096, holes: SIZE - 4096 });
    assert.deepEqual(
      await extentsOf(destination, 0, SIZE),
      await extentsOf(source, 0, SIZE).then((all) =>
        all
          .filter((_, i) => i < 2)
          .concat({ offset: (1 << 20) + 4096, length: SIZE - (1 << 20) - 4096, mapped: false }),
      ),
    );
  });

  test('stopped, it finishes what is under way; everything below its position is there', async () => {
    const source = new MemoryDevice({ size: SIZE });
    await writing(0, pattern(SIZE, 3)).on(source);
    const destination = new VolatileDevice(SIZE, { delayMs: 1 });
    const { pump } = copier(source, destination, { depth: 2 });
    const run = pump.run();
    // Two pieces are under way, and two have not begun.
    pump.stop();
    await run;
    const { position } = pump;
    assert.equal(position, SIZE / 2);
    assert.ok(pattern(SIZE, 3).subarray(0, position).equals(destination.content().subarray(0, position)));
  });

  test('a piece that cannot be written stops it, and holds its position back', async () => {
    const source = new MemoryDevice({ size: SIZE });
    await writing(0, pattern(SIZE, 3)).on(source);
    const destination = new VolatileDevice(SIZE, { delayMs: 1 });
    const broken: BlockDevice = Object.create(destination, {
      description: { value: 'broken' },
      submit: {
        value: (io: Parameters<BlockDevice['submit']>[0]) =>
          io.op === BlockOp.WRITE && io.offset === 1 << 20
            ? io.fail(BlockStatus.NO_SPACE, io.offset)
            : destination.submit(io),
      },
    }) as BlockDevice;
    const { pump } = copier(source, broken);
    await assert.rejects(pump.run(), { code: 'NO_SPACE', message: /writing broken failed: at byte 1048576/ });
    assert.equal(pump.position, 1 << 20);
  });
});
