import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FailedLogins } from './failed-logins.js';

const BAD = '192.0.2.66';
const GOOD = '192.0.2.7';

const setUp = () =>
  new FailedLogins({ failedLogins: 3, failedLoginWindowMs: 1000, failedLoginPauseMs: 5000 });

describe('failed logins', () => {
  test('too many within the window: the address is refused for a while, and no other', () => {
    const logins = setUp();
    assert.equal(logins.failed(BAD, 0), false);
    assert.equal(logins.failed(BAD, 10), false);
    assert.ok(!logins.isRefused(BAD, 10));
    assert.equal(logins.failed(BAD, 20), true);
    assert.ok(logins.isRefused(BAD, 20));
    assert.ok(logins.isRefused(BAD, 5019));
    assert.ok(!logins.isRefused(GOOD, 20));
    assert.ok(!logins.isRefused(BAD, 5020));
    assert.equal(logins.failed(BAD, 5021), false, 'it starts anew');
  });

  test('failures further apart than the window do not add up', () => {
    const logins = setUp();
    for (let now = 0; now < 10_000; now += 501) assert.ok(!logins.failed(BAD, now), `${now}`);
  });

  test('a success clears', () => {
    const logins = setUp();
    for (let round = 0; round < 5; round++) {
      logins.failed(GOOD, 0);
      logins.failed(GOOD, 0);
      logins.succeeded(GOOD);
    }
    assert.ok(!logins.isRefused(GOOD, 0));
  });

  test('other limits count at once', () => {
    const logins = setUp();
    logins.failed(BAD, 0);
    logins.limits = { ...logins.limits, failedLogins: 1 };
    assert.ok(logins.isRefused(BAD, 1));
  });

  test('the table is bounded: who failed longest ago is forgotten first', () => {
    const logins = setUp();
    for (let i = 0; i < 3; i++) logins.failed(BAD, 0);
    for (let i = 0; i < 4095; i++) logins.failed(`10.0.${i >> 8}.${i & 255}`, 1);
    assert.ok(logins.isRefused(BAD, 1));
    logins.failed('10.1.0.0', 1);
    assert.ok(!logins.isRefused(BAD, 1));
  });
});
