import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { connectOptions, parsePortalOrUrl, parseUrl, requireLun } from './connection-options.js';

describe('what a command connects to', () => {
  test('a portal is written as host and port, or as a URL', () => {
    const portals = ['192.0.2.7', '192.0.2.7:3261', '::1', '[::1]:3261', 'disks.example', 'iscsi://[::1]'];
    assert.deepEqual(
      portals.map((text) => {
        const { host, port } = parsePortalOrUrl(text).portal;
        return [host, port];
      }),
      [
        ['192.0.2.7', 3260],
        ['192.0.2.7', 3261],
        ['::1', 3260],
        ['::1', 3261],
        ['disks.example', 3260],
        ['::1', 3260],
      ],
    );
    assert.throws(() => parsePortalOrUrl('192.0.2.7:x'), { code: 'URL' });
    assert.throws(() => parsePortalOrUrl('http://192.0.2.7'), { code: 'USAGE' });
  });

  test('a secret in a URL is refused, and not repeated', () => {
    for (const url of ['iscsi://me%abc123@h/iqn.2001-04.com.example:a/0', 'iscsi://%abc123@h']) {
      assert.throws(
        () => parseUrl(url),
        (error: Error & { code: string; remedy: string }) =>
          error.code === 'USAGE' && !`${error.message}${error.remedy}`.includes('abc123'),
      );
    }
  });

  test('a LUN must be named where one is needed', () => {
    const target = 'iscsi://h/iqn.2001-04.com.example:a';
    assert.throws(
      () => {
        requireLun(parseUrl(target));
      },
      { code: 'USAGE' },
    );
    requireLun(parseUrl(`${target}/0`));
  });

  test('a device is for iSER', () => {
    const { signal } = new AbortController();
    const options = (scheme: string): unknown =>
      connectOptions(parseUrl(`${scheme}://h/iqn.2001-04.com.example:a/0`), { device: 'mlx5_0' }, signal)
        .device;
    assert.equal(options('iser'), 'mlx5_0');
    assert.equal(options('auto'), 'mlx5_0');
    assert.throws(() => options('iscsi'), { code: 'USAGE', message: /the URL asks for TCP/ });
  });

  test('the timeout is that of connecting, of the login and of recovery', () => {
    const url = parseUrl('iscsi://h/iqn.2001-04.com.example:a/0');
    const { signal } = new AbortController();
    const { limits, headerDigest } = connectOptions(url, { timeout: 3000, headerDigest: true }, signal);
    assert.deepEqual(
      [limits, headerDigest],
      [{ connectTimeoutMs: 3000, loginTimeoutMs: 3000, recoveryTimeoutMs: 3000 }, true],
    );
    assert.equal(connectOptions(url, {}, signal).limits, undefined);
  });
});
