import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MemoryDevice, type BlockDevice, BlockStatus } from '../../block/index.js';
import { Checkpoints } from './checkpoints.js';

describe('checkpoints', () => {
  test('record the position of before the flush, after the flush', async () => {
    const events: string[] = [];
    const copied = { position: 10, stop: () => undefined };
    const disk = new MemoryDevice({ size: 4096 });
    const noting: BlockDevice = Object.create(disk, {
      submit: {
        value: () => {
          events.push('flush');
          copied.position = 20;
          return true;
        },
      },
    }) as BlockDevice;
    const checkpoints = new Checkpoints(noting, copied, (position) => {
      events.push(`record ${position}`);
      return Promise.resolve();
    });
    assert.equal(await checkpoints.stop(), 10);
    assert.equal(await checkpoints.stop(), 20);
    assert.deepEqual(events, ['flush', 'record 10', 'flush', 'record 20']);
  });

  test('after a flush that failed nothing is recorded any more', async () => {
    const disk = new MemoryDevice({ size: 4096 });
    let isBroken = true;
    const broken: BlockDevice = Object.create(disk, {
      submit: {
        value: (io: Parameters<BlockDevice['submit']>[0]) =>
          isBroken ? io.fail(BlockStatus.MEDIUM_ERROR, 0) : disk.submit(io),
      },
    }) as BlockDevice;
    let stops = 0;
    const copied = {
      position: 10,
      stop: () => {
        stops++;
      },
    };
    const checkpoints = new Checkpoints(broken, copied, () => Promise.reject(new Error('recorded')));
    await assert.rejects(checkpoints.stop(), { code: 'MEDIUM_ERROR' });
    isBroken = false;
    await assert.rejects(checkpoints.stop(), { code: 'MEDIUM_ERROR' });
    assert.equal(stops, 1);
  });
});
