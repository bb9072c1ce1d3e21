import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isIsnsUrl, parseIsnsServer, parseIsnsUrl } from './isns-server.js';

describe('iSNS servers on the command line', () => {
  test('host, port and brackets', () => {
    assert.deepEqual(parseIsnsServer('isns.example.com'), { host: 'isns.example.com', port: 3205 });
    assert.deepEqual(parseIsnsServer('192.0.2.9:13205'), { host: '192.0.2.9', port: 13205 });
    assert.deepEqual(parseIsnsServer('::1'), { host: '::1', port: 3205 });
    assert.deepEqual(parseIsnsServer('[2001:db8::1]:3206'), { host: '2001:db8::1', port: 3206 });
    assert.deepEqual(parseIsnsUrl('ISNS://host:1/'), { host: 'host', port: 1 });
  });

  test('what is none says how to write one', () => {
    for (const text of ['', 'a b', 'host:0', 'host:65536', 'host:x', '[host]', '[::1', 'a@b', 'host/name']) {
      assert.throws(() => parseIsnsServer(text), {
        code: 'USAGE',
        message: `"${text}" is not an iSNS server`,
      });
    }
  });

  test('other URLs are none of iSNS', () => {
    assert.deepEqual(['isns://x', 'iscsi://x', 'isns.example'].map(isIsnsUrl), [true, false, false]);
  });
});
