import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isPowerOfTwo } from './power-of-two.js';

it('tells powers of two from their neighbours', () => {
  for (let exponent = 2; exponent < 48; exponent++) {
    const power = 2 ** exponent;
    assert.deepEqual([power - 1, power, power + 1].map(isPowerOfTwo), [false, true, false], `2^${exponent}`);
  }
  assert.deepEqual([-4, 0, 1, 2, 3].map(isPowerOfTwo), [false, false, true, true, false]);
});
