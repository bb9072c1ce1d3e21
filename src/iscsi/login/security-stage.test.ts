import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AuthenticationStep, Authenticator } from './policy.js';
import { LoginStatus } from './status.js';
import { LoginStage } from './target-login.js';
import {
  assertRefused,
  flagsOf,
  FULL_FEATURE,
  LoginUnderTest,
  NAMES,
  textOf,
  TO_OPERATIONAL,
} from './testing/initiator.js';

/** A method with one challenge: the initiator sends CHAP_A, gets CHAP_C, answers CHAP_R=right. */
function authenticator(methods: readonly string[]): Authenticator {
  return {
    methods: () => methods,
    begin: () => ({
      step(keys): AuthenticationStep {
        if (keys.has('CHAP_A')) return { state: 'continue', keys: [['CHAP_C', '0x01']] };
        if (keys.get('CHAP_R') === 'right') return { state: 'done', keys: [['CHAP_N', 'target']] };
        return { state: 'failed', reason: 'wrong response' };
      },
    }),
  };
}

const required = (): LoginUnderTest => new LoginUnderTest({ authenticator: authenticator(['CHAP']) });
const optional = (): LoginUnderTest => new LoginUnderTest({ authenticator: authenticator(['CHAP', 'None']) });
const STAY = { stage: LoginStage.SECURITY };

describe('with authentication required', () => {
  test('a whole exchange: the stage is left only when it is done', () => {
    const login = required();
    const chosen = login.send(TO_OPERATIONAL, [...NAMES, 'AuthMethod=CHAP,None']);
    assert.deepEqual(textOf(chosen).slice(-1), ['AuthMethod=CHAP']);
    assert.equal(flagsOf(chosen).transit, null);
    const challenged = login.send(STAY, ['CHAP_A=5']);
    assert.deepEqual(textOf(challenged), ['CHAP_C=0x01']);
    const answered = login.send(TO_OPERATIONAL, ['CHAP_R=right']);
    assert.deepEqual(textOf(answered), ['CHAP_N=target']);
    assert.equal(flagsOf(answered).transit, LoginStage.OPERATIONAL);
    assert.ok(login.send(FULL_FEATURE, []).result !== null);
  });

  test('the keys of the method may come along with the choice', () => {
    const outcome = required().send(STAY, [...NAMES, 'AuthMethod=CHAP', 'CHAP_A=5']);
    assert.deepEqual(textOf(outcome).slice(-2), ['AuthMethod=CHAP', 'CHAP_C=0x01']);
  });

  test('a wrong response', () => {
    const login = required();
    login.send(STAY, [...NAMES, 'AuthMethod=CHAP']);
    login.send(STAY, ['CHAP_A=5']);
    assertRefused(login.send(STAY, ['CHAP_R=wrong']), LoginStatus.AUTHENTICATION_FAILURE, /wrong response/);
  });

  test('no way around it', () => {
    const skipped = required().send(FULL_FEATURE, NAMES);
    assertRefused(skipped, LoginStatus.AUTHENTICATION_FAILURE, /SecurityNegotiation is skipped/);
    const none = required().send(TO_OPERATIONAL, [...NAMES, 'AuthMethod=None']);
    assertRefused(none, LoginStatus.AUTHENTICATION_FAILURE, /accepted are CHAP/);
    const silent = required().send(TO_OPERATIONAL, NAMES);
    assertRefused(silent, LoginStatus.AUTHENTICATION_FAILURE, /AuthMethod is missing/);
    const early = required();
    early.send(TO_OPERATIONAL, [...NAMES, 'AuthMethod=CHAP']);
    assertRefused(early.send(FULL_FEATURE, []), LoginStatus.INITIATOR_ERROR, /while in SecurityNegotiation/);
  });

  test('keys out of turn', () => {
    const before = required().send(STAY, [...NAMES, 'CHAP_A=5']);
    assertRefused(before, LoginStatus.INITIATOR_ERROR, /CHAP_A is not due/);
    const again = required();
    again.send(STAY, [...NAMES, 'AuthMethod=CHAP']);
    assertRefused(
      again.send(STAY, ['AuthMethod=CHAP']),
      LoginStatus.INITIATOR_ERROR,
      /AuthMethod is sent again/,
    );
    const twice = required().send(STAY, [...NAMES, 'AuthMethod=CHAP', 'CHAP_A=5', 'CHAP_A=7']);
    assertRefused(twice, LoginStatus.INITIATOR_ERROR, /CHAP_A is sent twice/);
    const after = required();
    after.send(STAY, [...NAMES, 'AuthMethod=CHAP', 'CHAP_A=5']);
    after.send(STAY, ['CHAP_R=right']);
    assertRefused(after.send(STAY, ['CHAP_R=right']), LoginStatus.INITIATOR_ERROR, /CHAP_R is not due/);
  });
});

describe('with authentication possible', () => {
  test("the initiator's preference decides", () => {
    assert.deepEqual(textOf(optional().send(STAY, [...NAMES, 'AuthMethod=None,CHAP'])).slice(-1), [
      'AuthMethod=None',
    ]);
    assert.deepEqual(textOf(optional().send(STAY, [...NAMES, 'AuthMethod=CHAP,None'])).slice(-1), [
      'AuthMethod=CHAP',
    ]);
  });

  test('it may be skipped', () => {
    assert.ok(optional().send(FULL_FEATURE, NAMES).result !== null);
    assert.equal(flagsOf(optional().send(TO_OPERATIONAL, NAMES)).transit, LoginStage.OPERATIONAL);
  });

  test('an initiator that proposes nothing and does not go on is waited for', () => {
    const login = optional();
    assert.equal(flagsOf(login.send(STAY, NAMES)).transit, null);
    assert.deepEqual(textOf(login.send(STAY, ['AuthMethod=None'])), ['AuthMethod=None']);
    assert.equal(flagsOf(login.send(TO_OPERATIONAL, [])).transit, LoginStage.OPERATIONAL);
  });
});
