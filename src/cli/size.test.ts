import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatSize, parseSize } from './size.js';

describe('sizes', () => {
  const good: [string, number][] = [
    ['4096', 4096],
    ['512B', 512],
    ['1k', 1024],
    ['512M', 512 * 2 ** 20],
    ['10G', 10 * 2 ** 30],
    ['1.5G', 1.5 * 2 ** 30],
    ['2TiB', 2 * 2 ** 40],
    [' 1 T ', 2 ** 40],
    ['7P', 7 * 2 ** 50],
  ];
  for (const [text, bytes] of good) {
    test(`"${text}" is ${bytes} bytes`, () => assert.equal(parseSize(text), bytes));
  }

  for (const text of ['', 'G', '10X', '10GB', '-1', '0', '1e9', '0.3', '9P', '0x10', '1,5G', '1 0']) {
    test(`"${text}" is refused`, () => assert.throws(() => parseSize(text), { code: 'USAGE' }));
  }

  test('a size is printed in the largest unit that fits', () => {
    assert.equal(formatSize(512), '512 bytes');
    assert.equal(formatSize(2 ** 30), '1 GiB');
    assert.equal(formatSize(1.5 * 2 ** 20), '1.5 MiB');
    assert.equal(formatSize(2 ** 40 - 1), '1024 GiB');
    assert.equal(formatSize(10.25 * 2 ** 30), '10.3 GiB');
  });

  test('what is printed for whole units reads back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1023 }), fc.integer({ min: 1, max: 4 }), (count, unit) => {
        const bytes = count * 1024 ** unit;
        assert.equal(parseSize(formatSize(bytes)), bytes);
      }),
    );
  });
});
