/** The initiator's authentication: against our own target's, and against targets that do not keep to the rules. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { Secret } from '../../util/secret.js';
import { CHAP_ALGORITHMS, ChallengeSource, usableAlgorithms } from './chap.js';
import { InitiatorAuthentication, type InitiatorAuthenticationOptions } from './chap-initiator.js';
import { ChapTarget, type ChapTargetOptions } from './chap-target.js';
import type { AuthenticationStep } from './policy.js';

const USER = { name: 'alice', secret: new Secret('alice has a secret') };
const TARGET = { name: 'riser', secret: new Secret('the target has another') };
const NAMES = CHAP_ALGORITHMS.map(({ name }) => name);
const CHALLENGE = { CHAP_A: '5', CHAP_I: '9', CHAP_C: '0b3q2+7w==' };

const NOTHING = new Map<string, string>();
const keysOf = (step: AuthenticationStep): Record<string, string> => {
  assert.notEqual(step.state, 'failed', 'reason' in step ? step.reason : '');
  return 'keys' in step ? Object.fromEntries(step.keys) : {};
};
const step = (under: InitiatorAuthentication, keys: Record<string, string>) =>
  under.step(new Map(Object.entries(keys)));

/** An initiator that has taken the steps before `state`. */
function at(state: 'method' | 'challenge' | 'proof', options: Partial<InitiatorAuthenticationOptions> = {}) {
  const under = new InitiatorAuthentication({ user: USER, ...options });
  under.step(NOTHING);
  if (state === 'method') return under;
  step(under, { AuthMethod: 'CHAP' });
  if (state === 'challenge') return under;
  assert.equal(step(under, CHALLENGE).state, 'continue');
  return under;
}

function assertFailed(result: AuthenticationStep, reason: RegExp): void {
  assert.equal(result.state, 'failed');
  assert.match((result as { reason: string }).reason, reason);
}

describe('initiator and target together', () => {
  const target = (options: Partial<ChapTargetOptions> = {}) =>
    new ChapTarget({
      users: new Map([[USER.name, USER.secret]]),
      mutual: null,
      algorithms: usableAlgorithms(NAMES),
      challenges: new ChallengeSource(),
      ...options,
    });

  /** Carry out both ends; the last step of each. */
  function run(initiator: InitiatorAuthentication, other: ChapTarget) {
    keysOf(initiator.step(NOTHING));
    let mine = step(initiator, { AuthMethod: 'CHAP' });
    for (;;) {
      const theirs = other.step(new Map(Object.entries(keysOf(mine))));
      if (theirs.state === 'failed') return { mine, theirs };
      mine = step(initiator, keysOf(theirs));
      if (theirs.state === 'done' || mine.state === 'failed') return { mine, theirs };
    }
  }

  for (const algorithm of NAMES) {
    test(`agree one-way and both ways with ${algorithm}`, () => {
      const oneWay = run(new InitiatorAuthentication({ user: USER, algorithms: [algorithm] }), target());
      assert.deepEqual([oneWay.mine.state, oneWay.theirs.state], ['done', 'done']);
      const initiator = new InitiatorAuthentication({ user: USER, target: TARGET, algorithms: [algorithm] });
      const both = run(initiator, target({ mutual: TARGET }));
      assert.deepEqual(both.mine, { state: 'done', keys: [], user: 'riser' });
      assert.equal('user' in both.theirs && both.theirs.user, 'alice');
    });
  }

  test('a wrong secret of either is noticed by the other', () => {
    const wrong = { name: 'alice', secret: new Secret('not her secret') };
    const { theirs } = run(new InitiatorAuthentication({ user: wrong }), target());
    assertFailed(theirs, /wrong response/);
    const impostor = { name: 'riser', secret: new Secret("not the target's secret") };
    const { mine } = run(
      new InitiatorAuthentication({ user: USER, target: TARGET }),
      target({ mutual: impostor }),
    );
    assertFailed(mine, /does not know its secret/);
  });

  test('the name of the target counts if one is expected', () => {
    const named = (name: string | null) =>
      run(
        new InitiatorAuthentication({ user: USER, target: { name, secret: TARGET.secret } }),
        target({ mutual: TARGET }),
      ).mine;
    assert.equal(named(null).state, 'done');
    assertFailed(named('another'), /says that it is "riser", expected was "another"/);
  });
});

describe('what is offered', () => {
  test('AuthMethod', () => {
    const offered = (options: InitiatorAuthenticationOptions) =>
      keysOf(new InitiatorAuthentication(options).step(NOTHING));
    assert.deepEqual(offered({ user: null }), { AuthMethod: 'None' });
    assert.deepEqual(offered({ user: USER }), { AuthMethod: 'CHAP' });
    assert.deepEqual(offered({ user: USER, allowNone: true }), { AuthMethod: 'CHAP,None' });
  });

  test('CHAP_A, in the order of preference', () => {
    assert.deepEqual(keysOf(step(at('method'), { AuthMethod: 'CHAP' })), { CHAP_A: '8,6,5,7' });
    const under = at('method', { algorithms: ['MD5', 'SHA256'] });
    assert.deepEqual(keysOf(step(under, { AuthMethod: 'CHAP' })), { CHAP_A: '5,7' });
  });

  test('None ends the authentication where it was offered', () => {
    const none = new InitiatorAuthentication({ user: null });
    none.step(NOTHING);
    assert.deepEqual(step(none, { AuthMethod: 'None' }), { state: 'done', keys: [] });
    assert.deepEqual(step(at('method', { allowNone: true }), { AuthMethod: 'None' }), {
      state: 'done',
      keys: [],
    });
  });

  test('the response to the challenge of a target', () => {
    const answered = step(at('challenge'), CHALLENGE);
    const expected = createHash('md5')
      .update(Buffer.concat([Buffer.of(9), USER.secret.reveal(), Buffer.from('deadbeef', 'hex')]))
      .digest('hex');
    assert.equal(Buffer.from('3q2+7w==', 'base64').toString('hex'), 'deadbeef');
    assert.deepEqual(answered, {
      state: 'done',
      keys: [
        ['CHAP_N', 'alice'],
        ['CHAP_R', `0x${expected}`],
      ],
    });
  });

  test('a challenge of its own, if the target is to prove itself', () => {
    const asking = step(at('challenge', { target: TARGET }), CHALLENGE);
    assert.equal('isLast' in asking && asking.isLast, true, 'the stage may be left with them');
    const keys = keysOf(asking);
    assert.deepEqual(Object.keys(keys), ['CHAP_N', 'CHAP_R', 'CHAP_I', 'CHAP_C']);
    assert.match(keys['CHAP_C']!, /^0x[0-9a-f]{64}$/);
  });

  test('options that contradict each other are refused', () => {
    const code = { code: 'CHAP_OPTIONS' };
    const same = { name: null, secret: new Secret('alice has a secret') };
    assert.throws(() => new InitiatorAuthentication({ user: USER, target: same }), code);
    assert.throws(() => new InitiatorAuthentication({ user: USER, target: TARGET, allowNone: true }), code);
    assert.throws(() => new InitiatorAuthentication({ user: null, target: TARGET }), code);
    assert.throws(() => new InitiatorAuthentication({ user: USER, algorithms: [] }), code);
  });
});

describe('a target that does not keep to the rules', () => {
  const proof = { CHAP_N: 'riser', CHAP_R: `0x${'00'.repeat(16)}` };
  const cases: [string, Parameters<typeof at>[0], Record<string, string>, RegExp][] = [
    ['chooses no method', 'method', {}, /chosen no AuthMethod/],
    [
      'chooses None, which was not offered',
      'method',
      { AuthMethod: 'None' },
      /AuthMethod="None", offered was CHAP/,
    ],
    ['chooses SRP', 'method', { AuthMethod: 'SRP' }, /AuthMethod="SRP"/],
    ['rejects', 'method', { AuthMethod: 'Reject' }, /AuthMethod="Reject"/],
    ['challenges before its turn', 'method', { AuthMethod: 'CHAP', ...CHALLENGE }, /CHAP_A is not due/],
    ['sends nothing instead of a challenge', 'challenge', {}, /lacks/],
    ['sends no challenge', 'challenge', { CHAP_A: '5', CHAP_I: '1' }, /lacks/],
    ['sends no identifier', 'challenge', { CHAP_A: '5', CHAP_C: '0x01' }, /lacks/],
    ['chooses an algorithm that was not offered', 'challenge', { ...CHALLENGE, CHAP_A: '9' }, /CHAP_A="9"/],
    ['chooses two algorithms', 'challenge', { ...CHALLENGE, CHAP_A: '5,7' }, /CHAP_A="5,7"/],
    ['sends a large identifier', 'challenge', { ...CHALLENGE, CHAP_I: '256' }, /CHAP_I="256"/],
    ['sends an empty challenge', 'challenge', { ...CHALLENGE, CHAP_C: '0x' }, /CHAP_C="0x"/],
    [
      'sends a long challenge',
      'challenge',
      { ...CHALLENGE, CHAP_C: `0x${'0'.repeat(2050)}` },
      /CHAP_C="0x000/,
    ],
    ['proves itself before it is asked', 'challenge', { ...CHALLENGE, ...proof }, /CHAP_N is not due/],
    ['changes the method', 'challenge', { AuthMethod: 'None' }, /AuthMethod is not due/],
    ['skips its proof', 'proof', {}, /has not proved itself/],
    ['gives its name alone', 'proof', { CHAP_N: 'riser' }, /has not proved itself/],
    ['gives no name', 'proof', { CHAP_R: proof.CHAP_R }, /has not proved itself/],
    ['gives a wrong proof', 'proof', proof, /does not know its secret/],
    ['gives a short proof', 'proof', { ...proof, CHAP_R: '0x00' }, /does not know its secret/],
    ['gives a proof that is no binary value', 'proof', { ...proof, CHAP_R: 'x' }, /no binary value/],
    ['challenges once more', 'proof', { ...proof, CHAP_C: '0x00' }, /CHAP_C is not due/],
  ];
  for (const [what, state, keys, reason] of cases) {
    test(`that ${what} is refused`, () => {
      const under = at(state, state === 'method' ? {} : { target: TARGET });
      assertFailed(step(under, keys), reason);
      assertFailed(under.step(NOTHING), /failed already/);
    });
  }

  test("that reflects the initiator's challenge on another connection is refused", () => {
    const challenges = new ChallengeSource();
    const first = at('challenge', { target: TARGET, challenges });
    const { CHAP_I, CHAP_C } = keysOf(step(first, CHALLENGE));
    const second = at('challenge', { target: TARGET, challenges });
    assertFailed(step(second, { CHAP_A: '5', CHAP_I: CHAP_I!, CHAP_C: CHAP_C! }), /our own challenge/);
  });

  test("that returns the initiator's own response is refused", () => {
    const under = at('challenge', { target: TARGET });
    const { CHAP_R } = keysOf(step(under, CHALLENGE));
    assertFailed(step(under, { CHAP_N: 'riser', CHAP_R: CHAP_R! }), /does not know its secret/);
  });

  test('that goes on after the end is refused', () => {
    const under = at('challenge');
    assert.equal(step(under, CHALLENGE).state, 'done');
    assert.deepEqual(under.step(NOTHING), { state: 'done', keys: [] });
    assertFailed(step(under, proof), /CHAP_N is not due/);
  });
});
