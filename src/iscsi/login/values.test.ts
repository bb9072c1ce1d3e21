import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBoolean, parseBoolean, parseList, parseNumber } from './values.js';

test('numbers are decimal or hexadecimal, and nothing else', () => {
  const good: [string, number][] = [
    ['0', 0],
    ['8192', 8192],
    ['16777215', 16777215],
    ['0x2000', 8192],
    ['0X2000', 8192],
    ['0xFf', 255],
    ['0x0000', 0],
  ];
  for (const [text, number] of good) assert.equal(parseNumber(text), number, text);
  for (const text of [
    '',
    '-1',
    '+1',
    '1.5',
    '1e3',
    '0123',
    '0x',
    '0xg',
    ' 1',
    '1 ',
    '1~5',
    '0bAQ==',
    'Yes',
  ]) {
    assert.equal(parseNumber(text), null, text);
  }
});

test('numbers end at 2^64', () => {
  assert.equal(parseNumber('0xffffffffffffffff'), 2 ** 64);
  assert.equal(parseNumber('0x1ffffffffffffffff'), null);
  assert.equal(parseNumber('9'.repeat(21)), null);
});

test('any number is read as it is written, in both forms', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (number) => {
      assert.equal(parseNumber(String(number)), number);
      assert.equal(parseNumber(`0x${number.toString(16)}`), number);
    }),
  );
});

test('booleans are Yes and No in this case', () => {
  assert.equal(parseBoolean('Yes'), true);
  assert.equal(parseBoolean('No'), false);
  for (const text of ['yes', 'NO', '', '1', 'true']) assert.equal(parseBoolean(text), null);
  assert.equal(formatBoolean(true), 'Yes');
  assert.equal(formatBoolean(false), 'No');
});

test('lists have no empty and no overlong members', () => {
  assert.deepEqual(parseList('CRC32C,None'), ['CRC32C', 'None']);
  assert.deepEqual(parseList('None'), ['None']);
  for (const text of ['', ',', 'a,,b', 'a,', 'x'.repeat(256)]) assert.equal(parseList(text), null);
});
