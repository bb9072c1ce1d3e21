import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Secret } from '../util/secret.js';
import { type Authentication, ChapUsers } from './authentication.js';

const SECRET = 'alice has a secret';
const alice = { name: 'alice', secret: SECRET };

test('users and secrets are checked, and no error has a secret', () => {
  const refused: [Authentication['chap'], RegExp][] = [
    [{ users: [] }, /without a user/],
    [{ users: [alice, { name: 'alice', secret: 'another one of hers' }] }, /the same name/],
    [
      { users: [alice], mutual: { name: 'riser', secret: SECRET } },
      /the same secret as its CHAP user "alice"/,
    ],
    [{ users: [alice], algorithms: [] }, /without an algorithm/],
    [{ users: [{ name: 'alice', secret: 'shortsecret' }] }, /"alice" has 11 bytes/],
    [{ users: [{ name: 'alice', secret: 'x'.repeat(256) }] }, /"alice" has 256 bytes/],
    [{ users: [alice], mutual: { name: 'riser', secret: '' } }, /"riser" has 0 bytes/],
    [{ users: [{ name: '', secret: SECRET }] }, /1 to 255 bytes/],
    [{ users: [{ name: 'a\0b', secret: SECRET }] }, /1 to 255 bytes/],
    [{ users: [{ name: 'é'.repeat(128), secret: SECRET }] }, /1 to 255 bytes/],
  ];
  for (const [chap, message] of refused) {
    assert.throws(
      () => new ChapUsers({ chap }),
      (error: Error & { code: string; remedy?: string }) => {
        assert.equal(error.code, 'AUTHENTICATION');
        assert.match(error.message, message);
        assert.ok(!`${error.message} ${error.remedy ?? ''}`.includes(SECRET));
        return true;
      },
    );
  }
});

test('12 bytes are enough, as text or as a secret', () => {
  const users = new ChapUsers({
    chap: {
      users: [
        { name: 'alice', secret: 'twelve bytes' },
        { name: 'bob', secret: new Secret(Buffer.alloc(12, 7)) },
      ],
    },
  });
  assert.deepEqual([...users.names], ['alice', 'bob']);
});
