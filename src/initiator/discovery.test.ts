import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TextPair } from '../iscsi/index.js';
import { parseTargetAddress, targetsOf } from './discovery.js';

const ASKED = { host: '192.0.2.1', port: 3261 };
const NAME = 'iqn.2026-11.com.example:disk';
const pairs = (...texts: string[]): TextPair[] =>
  texts.map((text) => ({ key: text.slice(0, text.indexOf('=')), value: text.slice(text.indexOf('=') + 1) }));

describe('targetsOf', () => {
  it('gathers the portals behind each name', () => {
    const targets = targetsOf(
      pairs(
        `TargetName=${NAME}1`,
        'TargetAddress=192.0.2.7:3260,1',
        'TargetAddress=[2001:db8::7]:3260,2',
        `TargetName=${NAME}2`,
        'TargetAddress=storage.example',
      ),
      ASKED,
    );
    assert.deepEqual(targets, [
      {
        name: `${NAME}1`,
        portals: [
          { host: '192.0.2.7', port: 3260, portalGroupTag: 1 },
          { host: '2001:db8::7', port: 3260, portalGroupTag: 2 },
        ],
      },
      { name: `${NAME}2`, portals: [{ host: 'storage.example', port: 3260, portalGroupTag: null }] },
    ]);
  });

  it('takes the portal that was asked for a target without an address', () => {
    assert.deepEqual(targetsOf(pairs(`TargetName=${NAME}`), ASKED), [
      { name: NAME, portals: [{ ...ASKED, portalGroupTag: null }] },
    ]);
  });

  it('passes over an address of no target, and keys that it does not know', () => {
    assert.deepEqual(targetsOf(pairs('TargetAddress=192.0.2.7', 'X-key=1'), ASKED), []);
  });

  it('refuses names that a terminal would obey', () => {
    for (const name of ['', '\x1b[2J', 'iqn.2026-11.com.example:\r\ndisk', 'x'.repeat(300)])
      assert.throws(() => targetsOf(pairs(`TargetName=${name}`), ASKED), { code: 'TARGET_NAME' });
  });
});

describe('parseTargetAddress', () => {
  for (const text of [
    '',
    ':3260',
    '192.0.2.7:0',
    '192.0.2.7:65536',
    '[::1',
    '::1',
    '[]',
    'a b',
    '\x1b[2J',
    'host:1,x',
    'host:1,1,1',
    '[::1]x',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseTargetAddress(text), { code: 'TARGET_ADDRESS' });
    });
  }
});
