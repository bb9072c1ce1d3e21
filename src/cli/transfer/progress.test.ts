import assert from 'node:assert/strict';
import { test } from 'node:test';

import { formatDuration, Rate } from './progress.js';

const MIB = 1 << 20;

test('the rate is that of the last seconds', () => {
  const rate = new Rate(1000 * MIB, 0, 0);
  assert.equal(rate.describe(0, 100), '0 bytes of 1000 MiB');
  for (let second = 1; second <= 10; second++) rate.describe(second * 10 * MIB, second * 1000);
  assert.equal(rate.describe(200 * MIB, 11_000), '200 MiB of 1000 MiB, 28 MiB/s, 29 s left');
  for (let second = 12; second <= 20; second++) rate.describe(200 * MIB, second * 1000);
  assert.equal(rate.describe(200 * MIB, 21_000), '200 MiB of 1000 MiB');
});

test('durations in two units', () => {
  assert.deepEqual([0, 59, 60, 3599, 3600, 90_000].map(formatDuration), [
    '0 s',
    '59 s',
    '1 min 0 s',
    '59 min 59 s',
    '1 h 0 min',
    '25 h 0 min',
  ]);
});
