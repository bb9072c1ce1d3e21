import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RiserError } from '../util/errors.js';
import { isIscsiUrl, parseIscsiUrl } from './url.js';

const NAME = 'iqn.2026-11.com.example:disk';

describe('parseIscsiUrl', () => {
  const right: [string, Partial<ReturnType<typeof parseIscsiUrl>>][] = [
    [`iscsi://192.0.2.7/${NAME}/0`, { targetName: NAME, lun: 0, user: null, secret: null, transport: 'tcp' }],
    [`iscsi://192.0.2.7:3261/${NAME}/16383`, { portal: { host: '192.0.2.7', port: 3261 }, lun: 16383 }],
    [
      `iscsi://[2001:db8::1]:1/${NAME}`,
      { portal: { host: '2001:db8::1', port: 1 }, targetName: NAME, lun: null },
    ],
    ['iscsi://storage.example', { portal: { host: 'storage.example', port: 3260 }, targetName: null }],
    ['iscsi://storage.example/', { targetName: null, lun: null }],
    [`ISCSI://host/${NAME}/7/`, { lun: 7 }],
    [`iser://host/${NAME}/7`, { transport: 'iser' }],
    [`iscsi://me%secret@host/${NAME}/0`, { user: 'me', secret: 'secret' }],
    [`iscsi://me%a%b:c@host/${NAME}/0`, { user: 'me', secret: 'a%b:c' }],
    [`iscsi://me@host/${NAME}/0`, { user: 'me', secret: null }],
  ];
  for (const [url, expected] of right) {
    it(url, () => {
      const parsed = parseIscsiUrl(url);
      for (const [key, value] of Object.entries(expected))
        assert.deepEqual(parsed[key as keyof typeof parsed], value, key);
    });
  }

  for (const url of [
    '',
    'http://host/',
    'iscsi:/host',
    'iscsi://',
    `iscsi:///${NAME}/0`,
    `iscsi://[]/${NAME}/0`,
    'iscsi://[',
    `iscsi://[::1/${NAME}/0`,
    `iscsi://]/${NAME}/0`,
    `iscsi://host:/${NAME}/0`,
    `iscsi://host:0/${NAME}/0`,
    `iscsi://host:65536/${NAME}/0`,
    `iscsi://host:1e3/${NAME}/0`,
    'iscsi://host/disk/0',
    `iscsi://host/${NAME}/16384`,
    `iscsi://host/${NAME}/-1`,
    `iscsi://host/${NAME}/0x1`,
    `iscsi://host/${NAME}/0/1`,
  ]) {
    it(`refuses ${JSON.stringify(url)}`, () => {
      assert.throws(
        () => parseIscsiUrl(url),
        (error) => error instanceof RiserError && error.code === 'URL',
      );
    });
  }

  it('tells no part of a secret in an error, wherever the separators are', () => {
    for (const credentials of [
      'me%Hush',
      'me%Hu/Hush',
      'me:Hush',
      'me%Hush@Hush',
      'me/Hush',
      'me:1/Hush',
      'me%/Hush/Hush',
    ]) {
      for (const rest of ['host:x', 'host/disk/0', `host/${NAME}/x`, 'host:99999', '']) {
        try {
          parseIscsiUrl(`iscsi://${credentials}@${rest}`);
        } catch (error) {
          assert.ok(error instanceof RiserError && !error.message.includes('Hush'), (error as Error).message);
        }
      }
    }
  });

  it('answers any text with a URL or a RiserError', () => {
    fc.assert(
      fc.property(fc.constantFrom('iscsi://', 'iser://', ''), fc.string(), (scheme, rest) => {
        try {
          const { portal, lun } = parseIscsiUrl(scheme + rest);
          assert.ok(portal.host !== '' && portal.port > 0 && portal.port < 65536);
          assert.ok(lun === null || (lun >= 0 && lun < 16384));
        } catch (error) {
          assert.ok(error instanceof RiserError);
        }
      }),
    );
  });
});

it('knows a URL when it sees one', () => {
  assert.deepEqual(['iscsi://', 'ISER://x', 'iscsi', 'disk.img', 'nbd://x'].map(isIscsiUrl), [
    true,
    true,
    false,
    false,
    false,
  ]);
});
