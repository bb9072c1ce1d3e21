import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatPortal, isLoopback, parsePortal } from './portal.js';

describe('portals', () => {
  const good: [string, string, number][] = [
    ['127.0.0.1:3261', '127.0.0.1', 3261],
    ['127.0.0.1', '127.0.0.1', 3260],
    ['0.0.0.0:0', '0.0.0.0', 0],
    ['[::1]:3260', '::1', 3260],
    ['[fe80::1]', 'fe80::1', 3260],
    ['::1', '::1', 3260],
  ];
  for (const [text, address, port] of good) {
    test(text, () => assert.deepEqual(parsePortal(text), { address, port }));
  }

  for (const text of [
    '',
    'myhost',
    'localhost:3260',
    '127.0.0.1:',
    '127.0.0.1:65536',
    '[127.0.0.1]:1',
    '::1:x',
    ':3260',
    '256.0.0.1',
  ]) {
    test(`"${text}" is refused`, () => assert.throws(() => parsePortal(text), { code: 'USAGE' }));
  }

  test('the text form has brackets around an IPv6 address', () => {
    for (const text of ['10.0.0.1:3260', '[::1]:3261']) assert.equal(formatPortal(parsePortal(text)), text);
  });

  test('a loopback portal is told from one that others reach', () => {
    assert.deepEqual(
      ['127.0.0.1', '127.1.2.3', '::1'].map((address) => isLoopback({ address, port: 1 })),
      [true, true, true],
    );
    assert.deepEqual(
      ['0.0.0.0', '::', '10.0.0.1'].map((address) => isLoopback({ address, port: 1 })),
      [false, false, false],
    );
  });
});
