import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { ratioOf, spreadOf } from './summary.js';

describe('the spread of runs', () => {
  test('has the median, whatever the order', () => {
    assert.deepEqual(spreadOf([10, 9, 100]), { median: 10, minimum: 9, maximum: 100 });
    assert.deepEqual(spreadOf([7]), { median: 7, minimum: 7, maximum: 7 });
  });

  test('of an even number it is the mean of the two in the middle', () => {
    assert.deepEqual(spreadOf([1, 1000, 30, 20]), { median: 25, minimum: 1, maximum: 1000 });
  });

  test('leaves out what is not known, and there may be nothing else', () => {
    assert.deepEqual(spreadOf([null, 3, null, 0]), { median: 1.5, minimum: 0, maximum: 3 });
    assert.equal(spreadOf([null, null]), null);
    assert.equal(spreadOf([]), null);
  });
});

describe('the ratio of runs', () => {
  test('is that of the same round, and the median of them', () => {
    const first = [100, 10, 1000].map((iops, i) => ({ round: i + 1, iops }));
    const second = [50, 9, 800].map((iops, i) => ({ round: i + 1, iops }));
    assert.equal(ratioOf(second, first), 0.8);
    assert.equal(ratioOf(first, first), 1);
    assert.equal(ratioOf(second.slice(0, 1), first), 0.5);
  });

  test('is not known of rounds that only one has, or that did nothing', () => {
    assert.equal(ratioOf([{ round: 2, iops: 5 }], [{ round: 1, iops: 5 }]), null);
    assert.equal(ratioOf([{ round: 1, iops: 5 }], [{ round: 1, iops: 0 }]), null);
    assert.equal(ratioOf([], []), null);
  });
});
