import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseModePages } from './mode-pages.js';

/** Parameter data with its header and a block descriptor of eight bytes in front of `pages`. */
function parameterData(pages: string): Buffer {
  const body = Buffer.from(`0000001000000008${'00'.repeat(8)}${pages}`.replace(/ /g, ''), 'hex');
  body.writeUInt16BE(body.length - 2, 0);
  return body;
}

test('pages with and without a subpage, behind the block descriptor', () => {
  const pages = parseModePages(parameterData('08 02 0400  4a 01 0003 aabbcc'));
  assert.deepEqual(
    pages.map(({ page, subpage, body }) => [page, subpage, body.toString('hex')]),
    [
      [0x08, 0, '0400'],
      [0x0a, 1, 'aabbcc'],
    ],
  );
});

test('what is cut short, or lies about its length, is left out', () => {
  const whole = parameterData('08 02 0400  0a 04 00112233');
  for (let length = 0; length < whole.length; length++) {
    const pages = parseModePages(whole.subarray(0, length));
    assert.equal(pages.length, length < 20 ? 0 : 1, `of ${length} bytes`);
  }
  assert.deepEqual(parseModePages(parameterData('08 ff 04')), []);
  assert.deepEqual(parseModePages(Buffer.from('00ff000000ff00ff', 'hex')), []);
});
