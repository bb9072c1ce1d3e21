import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { spreadOf } from './summary.js';

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
