/** Bytes in and out of a disk at any place. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';

import { pattern } from '../../../test/contract/block-io.js';
import { VolatileDevice } from '../../../test/support/volatile-device.js';
import { rangeOn } from './range.js';
import { bytesOf } from './read.js';
import { writeBytes } from './write.js';

const SIZE = 4 << 20;

async function* chunksOf(bytes: Buffer, length: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += length)
    yield await Promise.resolve(bytes.subarray(at, at + length));
}

async function collect(device: VolatileDevice, start: number, end: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const bytes of bytesOf(device, { start, end })) chunks.push(Buffer.from(bytes));
  return Buffer.concat(chunks);
}

describe('bytes of a range', () => {
  test('are written and read at any place, and nothing beside them', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(SIZE),
        fc.nat(SIZE),
        fc.integer({ min: 1, max: 3 << 20 }),
        fc.constantFrom(512, 4096),
        async (a, b, chunk, blockSize) => {
          const [start, end] = a < b ? [a, b] : [b, a];
          const disk = new VolatileDevice(SIZE, { blockSize });
          const expected = pattern(SIZE, 1);
          disk.fill(expected);
          const input = pattern(end - start, 2);
          input.copy(expected, start);
          const written = await writeBytes(
            disk,
            { start, end: SIZE },
            chunksOf(input, Math.max(chunk, 4096)),
          );
          assert.equal(written, input.length);
          disk.losePower();
          assert.ok(disk.content().equals(expected), 'it is stable, and nothing else changed');
          assert.ok((await collect(disk, start, end)).equals(input));
        },
      ),
      { numRuns: 40 },
    );
  });

  test('more than fits is refused, and nothing behind the range is touched', async () => {
    const disk = new VolatileDevice(SIZE);
    const tooMuch = chunksOf(pattern(SIZE, 1), 100_000);
    await assert.rejects(writeBytes(disk, { start: 512, end: 2_000_000 }, tooMuch), {
      code: 'TOO_LONG',
      message: /more than the 1999488 bytes/,
    });
    const content = disk.content();
    assert.ok(content.subarray(512, 2_000_000).equals(pattern(SIZE, 1).subarray(0, 1_999_488)));
    assert.ok(content.subarray(2_000_000).equals(Buffer.alloc(SIZE - 2_000_000)));
  });

  test('a range is on the device, or a usage error', () => {
    const disk = new VolatileDevice(SIZE);
    assert.deepEqual(rangeOn(disk, {}), { start: 0, end: SIZE });
    assert.deepEqual(rangeOn(disk, { offset: 10, length: 20 }), { start: 10, end: 30 });
    assert.deepEqual(rangeOn(disk, { offset: SIZE }), { start: SIZE, end: SIZE });
    assert.throws(() => rangeOn(disk, { offset: SIZE + 1 }), { code: 'USAGE' });
    assert.throws(() => rangeOn(disk, { offset: 1, length: SIZE }), { code: 'USAGE' });
  });
});
