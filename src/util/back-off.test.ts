import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BackOff } from './back-off.js';

/** Pauses are exact in the middle of the range that chance has. */
const MIDDLE = (): number => 0.5;

describe('back-off', () => {
  it('tries at once, then after pauses that double up to the longest', () => {
    const backOff = new BackOff(100, 500, MIDDLE);
    assert.deepEqual(
      Array.from({ length: 6 }, () => backOff.next()),
      [0, 100, 200, 400, 500, 500],
    );
  });

  it('begins anew after a success', () => {
    const backOff = new BackOff(100, 500, MIDDLE);
    for (let i = 0; i < 4; i++) backOff.next();
    backOff.reset();
    assert.deepEqual([backOff.next(), backOff.next()], [0, 100]);
  });

  it('lets those who lost the same peer come back apart', () => {
    for (const [chance, pause] of [
      [0, 75],
      [0.999_999, 125],
    ] as const) {
      const backOff = new BackOff(100, 500, () => chance);
      backOff.next();
      assert.equal(Math.round(backOff.next()), pause);
    }
  });

  it('takes a longest pause that is shorter than the first', () => {
    const backOff = new BackOff(100, 20, MIDDLE);
    assert.deepEqual([backOff.next(), backOff.next(), backOff.next()], [0, 20, 20]);
  });
});
