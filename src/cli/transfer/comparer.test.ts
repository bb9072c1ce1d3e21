import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';

import { pattern, writing } from '../../../test/contract/block-io.js';
import { VolatileDevice } from '../../../test/support/volatile-device.js';
import { type BlockDevice, BlockStatus, MemoryDevice } from '../../block/index.js';
import { Comparer } from './comparer.js';

const SIZE = 3 << 20;

async function differences(a: BlockDevice, b: BlockDevice) {
  const comparer = new Comparer({ a, b, from: 0, to: SIZE, depth: 3 });
  await comparer.pump.run();
  return comparer.differences;
}

describe('a comparer', () => {
  test('finds every byte that was flipped', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.nat(SIZE - 1), { maxLength: 20 }), async (flipped) => {
        const content = pattern(SIZE, 5);
        const a = new MemoryDevice({ size: SIZE });
        await writing(0, content).on(a);
        const b = new VolatileDevice(SIZE, { blockSize: 4096 });
        const other = Buffer.from(content);
        for (const at of flipped) other[at]! ^= 0x10;
        b.fill(other);
        assert.deepEqual(await differences(a, b), {
          first: flipped.length === 0 ? null : Math.min(...flipped),
          bytes: flipped.length,
          blocks: new Set(flipped.map((at) => Math.floor(at / 4096))).size,
          blockSize: 4096,
        });
      }),
      { numRuns: 30 },
    );
  });

  test('a hole equals zeroes, and nothing else', async () => {
    const hole = new MemoryDevice({ size: SIZE });
    const zeroes = new MemoryDevice({ size: SIZE, thin: false });
    assert.equal((await differences(hole, zeroes)).first, null);
    assert.equal((await differences(hole, new MemoryDevice({ size: SIZE }))).first, null);
    const one = Buffer.alloc(512);
    one[511] = 1;
    await writing(1 << 20, one).on(zeroes);
    const { first, bytes, blocks } = await differences(hole, zeroes);
    assert.deepEqual([first, bytes, blocks], [(1 << 20) + 511, 1, 1]);
  });

  test('a side that cannot be read is a failure, not a difference', async () => {
    const good = new MemoryDevice({ size: SIZE });
    const bad: BlockDevice = Object.create(good, {
      description: { value: 'bad' },
      size: { value: SIZE },
      submit: {
        value: (io: Parameters<BlockDevice['submit']>[0]) => io.fail(BlockStatus.MEDIUM_ERROR, io.offset),
      },
    }) as BlockDevice;
    await assert.rejects(differences(good, bad), { code: 'MEDIUM_ERROR', message: /reading bad failed/ });
  });
});
