/** A logical unit on an image file: what takes a thread is answered when it is done, and the image may grow. */

import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { createImage, FileDevice } from '../../src/block/index.js';
import type { Initiator } from '../support/initiator.js';
import { pattern } from '../support/pattern.js';
import { TestTarget } from '../support/target.js';
import { temporaryFolder } from '../support/temporary.js';

const SIZE = 8 << 20;
const READ_CAPACITY_10 = Buffer.from([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

describe('a logical unit on a file', () => {
  const path = join(temporaryFolder(), 'disk.img');
  let device: FileDevice;
  let target: TestTarget;
  let initiator: Initiator;

  before(async () => {
    await createImage(path, SIZE);
    device = await FileDevice.open(path);
    target = await TestTarget.start([{ device }]);
    initiator = await target.login();
  });
  after(async () => {
    initiator.destroy();
    await target.close();
  });

  test('answers a write when its thread has written, without waiting for other traffic', async () => {
    const data = pattern(300_032, 1);
    assert.equal((await initiator.write(0, 7, data)).status, 0);
    assert.ok((await initiator.read(0, 7, data.length / 512)).data.equals(data));
  });

  test('answers when its data is stable', async () => {
    assert.equal((await initiator.write(0, 0, pattern(4096, 2), true)).status, 0);
    assert.equal((await initiator.synchronizeCache(0)).status, 0);
  });

  test('answers many commands that are in threads at a time', async () => {
    const blocks = Array.from({ length: 64 }, (_, i) => pattern(8192, i));
    const results = await Promise.all(blocks.map((data, i) => initiator.write(0, 16 * i, data)));
    assert.ok(results.every(({ status }) => status === 0));
    for (const [i, data] of blocks.entries()) {
      assert.ok((await initiator.read(0, 16 * i, 16)).data.equals(data));
    }
  });

  test('grows with its image, and every initiator is told', async () => {
    const other = await target.login();
    truncateSync(path, 2 * SIZE);
    await device.refresh();
    for (const session of [initiator, other]) {
      const { status, sense } = await session.command(0, READ_CAPACITY_10, { dataIn: 8 });
      assert.equal(status, 2);
      // UNIT ATTENTION, CAPACITY DATA HAS CHANGED
      assert.deepEqual([sense[2]! & 0x0f, sense[12], sense[13]], [6, 0x2a, 0x09]);
      const { data } = await session.command(0, READ_CAPACITY_10, { dataIn: 8 });
      assert.equal((data.readUInt32BE(0) + 1) * 512, 2 * SIZE);
    }
    const data = pattern(512, 3);
    assert.equal((await initiator.write(0, (2 * SIZE) / 512 - 1, data)).status, 0);
    other.destroy();
  });
});
