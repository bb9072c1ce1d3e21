import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBinary, formatBoolean, parseBinary, parseBoolean, parseList, parseNumber } from './values.js';

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

test('binary values survive the way there and back, in hexadecimal and in base64', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 1024 }), (bytes) => {
      const value = Buffer.from(bytes);
      assert.deepEqual(parseBinary(formatBinary(bytes), 1024), value);
      assert.deepEqual(parseBinary(`0X${value.toString('hex').toUpperCase()}`, 1024), value);
      assert.deepEqual(parseBinary(`0b${value.toString('base64')}`, 1024), value);
      assert.deepEqual(parseBinary(`0B${value.toString('base64')}`, value.length), value);
      assert.equal(parseBinary(formatBinary(bytes), value.length - 1), null);
      assert.equal(parseBinary(`0b${value.toString('base64')}`, value.length - 1), null);
    }),
  );
});

test('whatever is read as a binary value has one reading, within the limit', () => {
  const texts = fc
    .tuple(fc.constantFrom('0x', '0X', '0b', '0B', ''), fc.string({ maxLength: 40 }))
    .map((parts) => parts.join(''));
  fc.assert(
    fc.property(texts, (text) => {
      const bytes = parseBinary(text, 16);
      if (bytes === null) return;
      assert.ok(bytes.length >= 1 && bytes.length <= 16);
      const digits = text.slice(2);
      if (/^0x/i.test(text))
        assert.equal(bytes.toString('hex'), digits.toLowerCase().padStart(bytes.length * 2, '0'));
      else assert.equal(bytes.toString('base64'), digits);
    }),
  );
});

test('an odd number of hexadecimal digits has a zero in front', () => {
  assert.deepEqual(parseBinary('0xf', 1), Buffer.of(0x0f));
  assert.deepEqual(parseBinary('0xabc', 2), Buffer.of(0x0a, 0xbc));
  assert.equal(parseBinary('0xabc', 1), null);
});

test('malformed binary values', () => {
  for (const text of [
    '',
    '0',
    '0x',
    '0b',
    '12',
    'ff',
    '0xfg',
    '0x ff',
    '0xff ',
    '0xff\n',
    ' 0xff',
    '0b====',
    '0bAQ',
    '0bAQ=',
    '0bAR==',
    '0bA-_A',
    '0bAQ==\n',
    '0b AQ==',
    '0bAQ==AQ==',
  ]) {
    assert.equal(parseBinary(text, 16), null, JSON.stringify(text));
  }
});
