import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { serialAdd, serialLess, serialLessOrEqual } from './serial.js';

const serial = fc.integer({ min: 0, max: 0xffff_ffff });

test('order near zero and over the wrap', () => {
  assert.equal(serialLess(0, 1), true);
  assert.equal(serialLess(1, 0), false);
  assert.equal(serialLess(0xffff_ffff, 0), true);
  assert.equal(serialLess(0, 0xffff_ffff), false);
  assert.equal(serialLess(0xffff_fff0, 0x10), true);
  assert.equal(serialLess(7, 7), false);
  assert.equal(serialLessOrEqual(7, 7), true);
});

test('numbers 2^31 apart are in neither order', () => {
  assert.equal(serialLess(0, 0x8000_0000), false);
  assert.equal(serialLess(0x8000_0000, 0), false);
  assert.equal(serialLess(0, 0x7fff_ffff), true);
  assert.equal(serialLess(0x8000_0001, 0), true);
});

test('addition wraps and stays unsigned', () => {
  assert.equal(serialAdd(0xffff_ffff, 1), 0);
  assert.equal(serialAdd(0x7fff_ffff, 1), 0x8000_0000);
  assert.equal(serialAdd(5, 0), 5);
});

test('RFC 1982: s < s + n for 0 < n < 2^31, and never the other way round', () => {
  fc.assert(
    fc.property(serial, fc.integer({ min: 1, max: 0x7fff_ffff }), (s, n) => {
      const later = serialAdd(s, n);
      assert.ok(later >= 0 && later <= 0xffff_ffff);
      assert.equal(serialLess(s, later), true);
      assert.equal(serialLess(later, s), false);
      assert.equal(serialLessOrEqual(s, later), true);
    }),
  );
});
