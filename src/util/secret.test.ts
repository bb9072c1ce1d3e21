import assert from 'node:assert/strict';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import { Secret } from './secret.js';

const TEXT = 'correct horse battery';

test('a secret is not printed, however it is looked at', () => {
  const secret = new Secret(TEXT);
  const holder = { user: 'alice', deep: { list: [secret] } };
  for (const shown of [
    String(secret),
    inspect(secret, { showHidden: true, depth: 9, getters: true }),
    inspect(holder, { showHidden: true, depth: 9, getters: true }),
    format('%s %o %j', secret, secret, secret),
    JSON.stringify(holder),
    Object.values(secret).join(),
  ]) {
    assert.ok(!shown.includes(TEXT), shown);
    assert.ok(!shown.includes(Buffer.from(TEXT).toString('hex').slice(0, 8)), shown);
  }
  assert.equal(secret.reveal().toString(), TEXT);
});

test('secrets are compared by their bytes', () => {
  assert.ok(new Secret('é').equals(new Secret(Buffer.from([0xc3, 0xa9]))));
  assert.ok(!new Secret('a').equals(new Secret('b')));
  assert.ok(!new Secret('a').equals(new Secret('ab')));
  assert.equal(new Secret('é').length, 2);
});

test('a secret keeps bytes of its own', () => {
  const bytes = Buffer.from('abc');
  const secret = new Secret(bytes);
  bytes.fill(0);
  assert.equal(secret.reveal().toString(), 'abc');
});
