import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { VolatileDevice } from '../../../test/support/volatile-device.js';
import { operation, pattern, writing } from '../../../test/contract/block-io.js';
import { BlockOp, type BlockDevice, MemoryDevice } from '../../block/index.js';
import { PieceWalker } from './piece-walker.js';

const KIB = 1024;

/** The pieces of a walk over all of `devices`: offset, length, and who has data. */
async function walk(devices: BlockDevice[], { pieceLength = 64 * KIB, unit = 4096 } = {}) {
  const to = devices[0]!.size;
  const pieces: [number, number, ...boolean[]][] = [];
  await new Promise<void>((resolve) => {
    const go = (): void => {
      for (;;) {
        const step = walker.next();
        if (step === 'end') resolve();
        if (step !== 'piece') return;
        pieces.push([walker.offset, walker.length, ...walker.mapped]);
      }
    };
    const walker = new PieceWalker(devices, { from: 0, to, pieceLength, unit, ready: go });
    go();
  });
  return pieces;
}

async function diskWithData(device: BlockDevice, ...at: number[]): Promise<BlockDevice> {
  for (const offset of at) await writing(offset, pattern(4096, 1)).on(device);
  return device;
}

describe('a walk', () => {
  test('tells holes from data, and cuts data to pieces', async () => {
    const disk = new MemoryDevice({ size: 1024 * KIB });
    await writing(256 * KIB, pattern(96 * KIB, 1)).on(disk);
    assert.deepEqual(await walk([disk]), [
      [0, 256 * KIB, false],
      [256 * KIB, 64 * KIB, true],
      [320 * KIB, 32 * KIB, true],
      [352 * KIB, 672 * KIB, false],
    ]);
  });

  test('over two devices cuts where one of them changes, whichever answers later', async () => {
    const size = 64 * KIB;
    const a = await diskWithData(new MemoryDevice({ size }), 0, 16 * KIB);
    const b = await diskWithData(new VolatileDevice(size, { delayMs: 2 }), 16 * KIB, 60 * KIB);
    assert.deepEqual(await walk([a, b]), [
      [0, 4 * KIB, true, false],
      [4 * KIB, 12 * KIB, false, false],
      [16 * KIB, 4 * KIB, true, true],
      [20 * KIB, 40 * KIB, false, false],
      [60 * KIB, 4 * KIB, false, true],
    ]);
  });

  test('a hole that is no whole unit is data, so that every piece is whole units', async () => {
    const disk = await diskWithData(new MemoryDevice({ size: 64 * KIB }), 4 * KIB, 24 * KIB);
    assert.deepEqual(await walk([disk], { unit: 16 * KIB }), [
      [0, 16 * KIB, true],
      [16 * KIB, 16 * KIB, true],
      [32 * KIB, 32 * KIB, false],
    ]);
  });

  test('a device that does not tell its extents has data everywhere', async () => {
    const disk = new MemoryDevice({ size: 128 * KIB });
    const silent: BlockDevice = Object.create(disk, {
      size: { value: disk.size },
      submit: { value: (io: ReturnType<typeof operation>) => io.fail(1, io.offset) },
    }) as BlockDevice;
    assert.deepEqual(await walk([silent]), [
      [0, 64 * KIB, true],
      [64 * KIB, 64 * KIB, true],
    ]);
    assert.equal(await operation(BlockOp.EXTENTS, 0, 4096).on(silent), 1);
  });
});
