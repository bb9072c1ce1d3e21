/**
 * How an initiator authenticates, sans-I/O (RFC 7143 12.1): offers AuthMethod, proves itself by CHAP, and has the
 * target prove itself if it is asked to.
 */

import { RiserError } from '../../util/errors.js';
import type { Secret } from '../../util/secret.js';
import { quote } from '../wire/text.js';
import {
  CHAP_BINARY_LIMIT,
  type ChapAlgorithm,
  type ChapAlgorithmName,
  type ChapCredentials,
  chapResponse,
  type Challenge,
  ChallengeSource,
  isSameResponse,
  parseIdentifier,
  usableAlgorithms,
} from './chap.js';
import type { AuthenticationExchange, AuthenticationStep } from './policy.js';
import { formatBinary, parseBinary, parseNumber } from './values.js';

export interface InitiatorAuthenticationOptions {
  /** What the initiator proves itself with; null: it offers None only. */
  user: ChapCredentials | null;
  /** What the target must prove itself with. `name`: its CHAP_N, any if null. Absent or null: it need not. */
  target?: { readonly name: string | null; readonly secret: Secret } | null;
  /** Offer None as well, after CHAP: a target may then let the initiator in without a proof. Default: false. */
  allowNone?: boolean;
  /** The algorithms to offer, in order of preference. Default: {@link DEFAULT_OFFER}. */
  algorithms?: readonly ChapAlgorithmName[];
  /** Shared by all connections of the initiator; of its own if absent. */
  challenges?: ChallengeSource;
}

/** All. To tgt, 7 is SHA1, its number before there was a registered one; so it comes after those that tgt knows. */
const DEFAULT_OFFER: readonly ChapAlgorithmName[] = ['SHA3-256', 'SHA1', 'MD5', 'SHA256'];

/** What is awaited, or that there is nothing more to come. */
type State = 'start' | 'method' | 'challenge' | 'proof' | 'done' | 'failed';

/** The keys that a target may send in each state. */
const DUE: Readonly<Record<State, readonly string[]>> = {
  start: [],
  method: ['AuthMethod'],
  challenge: ['CHAP_A', 'CHAP_I', 'CHAP_C'],
  proof: ['CHAP_N', 'CHAP_R'],
  done: [],
  failed: [],
};

/**
 * One authentication, on one connection.
 *
 * `step` without keys begins; every further one takes the security keys of one complete Login Response, AuthMethod
 * included. When a step is `done`, its keys are the last to send, with which the stage may be left; the target's
 * answer to them must have no security key, which another `step` checks.
 *
 * @example
 * const authentication = new InitiatorAuthentication({ user: { name: 'alice', secret } });
 * authentication.step(new Map()); // { state: 'continue', keys: [['AuthMethod', 'CHAP']] }
 * authentication.step(new Map([['AuthMethod', 'CHAP']])); // { state: 'continue', keys: [['CHAP_A', '8,6,5,7']] }
 */
export class InitiatorAuthentication implements AuthenticationExchange {
  readonly #user: ChapCredentials | null;
  readonly #target: { readonly name: string | null; readonly secret: Secret } | null;
  readonly #methods: readonly string[];
  readonly #algorithms: readonly ChapAlgorithm[];
  readonly #challenges: ChallengeSource;
  #state: State = 'start';
  /** Set when the target has to answer it. */
  #asked: { readonly algorithm: ChapAlgorithm; readonly challenge: Challenge } | null = null;

  /** @throws RiserError `CHAP_OPTIONS` when the options contradict each other */
  constructor(options: InitiatorAuthenticationOptions) {
    const { user, target = null, allowNone = false, algorithms } = options;
    this.#user = user;
    this.#target = target;
    this.#methods = user === null ? ['None'] : allowNone ? ['CHAP', 'None'] : ['CHAP'];
    this.#algorithms = usableAlgorithms(algorithms ?? DEFAULT_OFFER);
    this.#challenges = options.challenges ?? new ChallengeSource();
    if (target !== null && this.#methods.includes('None')) {
      throw optionsError(
        'the target can prove itself by CHAP only',
        'Give the initiator a name and a secret, and require CHAP.',
      );
    }
    if (user !== null && target?.secret.equals(user.secret) === true) {
      // RFC 7143 9.2.1
      throw optionsError(
        'initiator and target have the same CHAP secret',
        'Give them different ones; anybody could reflect the one.',
      );
    }
    if (user !== null && this.#algorithms.length === 0) {
      throw optionsError('no CHAP algorithm is left to offer', 'Name one that this build of Node has.');
    }
  }

  step(keys: ReadonlyMap<string, string>): AuthenticationStep {
    const due = DUE[this.#state];
    const [stray] = [...keys.keys()].filter((key) => !due.includes(key));
    const step = stray === undefined ? this.#take(keys) : failed(`${stray} is not due`);
    if (step.state === 'failed') this.#state = 'failed';
    return step;
  }

  #take(keys: ReadonlyMap<string, string>): AuthenticationStep {
    switch (this.#state) {
      case 'start':
        this.#state = 'method';
        return { state: 'continue', keys: [['AuthMethod', this.#methods.join(',')]] };
      case 'method':
        return this.#method(keys.get('AuthMethod'));
      case 'challenge':
        return this.#answer(keys, this.#user!);
      case 'proof':
        return this.#verify(keys, this.#target!);
      case 'done':
        return { state: 'done', keys: [] };
      case 'failed':
        return failed('the authentication has failed already');
    }
  }

  #method(chosen: string | undefined): AuthenticationStep {
    if (chosen === undefined) return failed('the target has chosen no AuthMethod');
    if (!this.#methods.includes(chosen)) {
      return failed(`the target answers AuthMethod=${quote(chosen)}, offered was ${this.#methods.join(',')}`);
    }
    if (chosen === 'None') return this.#finish([]);
    this.#state = 'challenge';
    const numbers = this.#algorithms.map(({ number }) => number).join(',');
    return { state: 'continue', keys: [['CHAP_A', numbers]] };
  }

  #answer(keys: ReadonlyMap<string, string>, user: ChapCredentials): AuthenticationStep {
    const algorithmText = keys.get('CHAP_A');
    const identifierText = keys.get('CHAP_I');
    const challengeText = keys.get('CHAP_C');
    if (algorithmText === undefined || identifierText === undefined || challengeText === undefined) {
      return failed("the target's challenge lacks CHAP_A, CHAP_I or CHAP_C");
    }
    const number = parseNumber(algorithmText);
    const algorithm = this.#algorithms.find((each) => each.number === number);
    if (algorithm === undefined) return failed(`the target chose CHAP_A=${quote(algorithmText)}`);
    const identifier = parseIdentifier(identifierText);
    if (identifier === null) return failed(`the target sent CHAP_I=${quote(identifierText)}`);
    const bytes = parseBinary(challengeText, CHAP_BINARY_LIMIT);
    if (bytes === null) return failed(`the target sent CHAP_C=${quote(challengeText)}`);
    if (this.#challenges.made(bytes)) return failed('the target sent our own challenge back');
    const response = chapResponse(algorithm, identifier, user.secret, bytes);
    const answer: [string, string][] = [
      ['CHAP_N', user.name],
      ['CHAP_R', formatBinary(response)],
    ];
    if (this.#target === null) return this.#finish(answer);
    const challenge = this.#challenges.make();
    this.#asked = { algorithm, challenge };
    this.#state = 'proof';
    answer.push(['CHAP_I', String(challenge.identifier)], ['CHAP_C', formatBinary(challenge.bytes)]);
    return { state: 'continue', keys: answer, isLast: true };
  }

  #verify(
    keys: ReadonlyMap<string, string>,
    target: { readonly name: string | null; readonly secret: Secret },
  ): AuthenticationStep {
    const { algorithm, challenge } = this.#asked!;
    const name = keys.get('CHAP_N');
    const responseText = keys.get('CHAP_R');
    if (name === undefined || responseText === undefined) {
      return failed('the target has not proved itself: CHAP_N or CHAP_R is missing');
    }
    const response = parseBinary(responseText, CHAP_BINARY_LIMIT);
    if (response === null) return failed('the target sent a CHAP_R that is no binary value');
    const expected = chapResponse(algorithm, challenge.identifier, target.secret, challenge.bytes);
    // The same response as our own would be (RFC 7143 9.2.1) is never the expected one: the secrets differ.
    if (!isSameResponse(response, expected)) return failed('the target does not know its secret');
    if (target.name !== null && name !== target.name) {
      return failed(`the target says that it is ${quote(name)}, expected was ${quote(target.name)}`);
    }
    return this.#finish([], name);
  }

  #finish(keys: readonly (readonly [string, string])[], user?: string): AuthenticationStep {
    this.#state = 'done';
    return { state: 'done', keys, ...(user !== undefined && { user }) };
  }
}

function failed(reason: string): AuthenticationStep {
  return { state: 'failed', reason };
}

function optionsError(message: string, remedy: string): RiserError {
  return new RiserError('CHAP_OPTIONS', message, { by: 'local', costs: 'session', remedy });
}
