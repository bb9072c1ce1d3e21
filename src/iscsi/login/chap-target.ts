/** CHAP, the target's role (RFC 7143 12.1.3): challenges the initiator, and answers its challenge if it is asked to. */

import { randomBytes } from 'node:crypto';
import { Secret } from '../../util/secret.js';
import { quote } from '../wire/text.js';
import {
  CHAP_BINARY_LIMIT,
  type ChapAlgorithm,
  type ChapCredentials,
  chapResponse,
  type Challenge,
  type ChallengeSource,
  isSameResponse,
  parseAlgorithms,
  parseIdentifier,
} from './chap.js';
import type { AuthenticationExchange, AuthenticationStep } from './policy.js';
import { LoginStatus } from './status.js';
import { formatBinary, parseBinary, VALUE_LIMIT } from './values.js';

export interface ChapTargetOptions {
  /** Secrets of the initiators that may pass, by CHAP_N. */
  users: { get(name: string): Secret | undefined };
  /** What the target proves itself with; null if it does not. Its secret must be that of no user. */
  mutual: ChapCredentials | null;
  /** Those that may be chosen; the initiator's order decides. */
  algorithms: readonly ChapAlgorithm[];
  challenges: ChallengeSource;
}

/** What a user without a secret is compared with, so that it takes as long as one who has a secret. */
const NO_SECRET = new Secret(randomBytes(32));

type Failed = Extract<AuthenticationStep, { state: 'failed' }>;

/** Keys that the step does not have (RFC 7143 9.2). */
const malformed = (reason: string): Failed => ({
  state: 'failed',
  reason,
  status: LoginStatus.INITIATOR_ERROR,
});
const missing = (key: string): Failed => ({
  state: 'failed',
  reason: `${key} is missing`,
  status: LoginStatus.MISSING_PARAMETER,
});
const refused = (reason: string): Failed => ({ state: 'failed', reason });

/** One exchange, on one connection. */
export class ChapTarget implements AuthenticationExchange {
  readonly #options: ChapTargetOptions;
  /** Set when CHAP_A has been chosen: what CHAP_R must answer. */
  #asked: { readonly algorithm: ChapAlgorithm; readonly challenge: Challenge } | null = null;

  constructor(options: ChapTargetOptions) {
    this.#options = options;
  }

  step(keys: ReadonlyMap<string, string>): AuthenticationStep {
    const due = this.#asked === null ? ['CHAP_A'] : ['CHAP_N', 'CHAP_R', 'CHAP_I', 'CHAP_C'];
    for (const key of keys.keys()) {
      if (!due.includes(key)) return malformed(`${key} is not due`);
    }
    return this.#asked === null ? this.#challenge(keys) : this.#verify(keys, this.#asked);
  }

  #challenge(keys: ReadonlyMap<string, string>): AuthenticationStep {
    const text = keys.get('CHAP_A');
    if (text === undefined) return missing('CHAP_A');
    const offered = parseAlgorithms(text);
    if (offered === null) return malformed(`CHAP_A=${quote(text)}`);
    const { algorithms } = this.#options;
    const number = offered.find((candidate) => algorithms.some((each) => each.number === candidate));
    const algorithm = algorithms.find((each) => each.number === number);
    if (algorithm === undefined) {
      const accepted = algorithms.map((each) => each.number).join(',');
      return refused(`CHAP_A=${quote(text)}, accepted are ${accepted}`);
    }
    const challenge = this.#options.challenges.make();
    this.#asked = { algorithm, challenge };
    return {
      state: 'continue',
      keys: [
        ['CHAP_A', String(algorithm.number)],
        ['CHAP_I', String(challenge.identifier)],
        ['CHAP_C', formatBinary(challenge.bytes)],
      ],
    };
  }

  #verify(
    keys: ReadonlyMap<string, string>,
    { algorithm, challenge }: { algorithm: ChapAlgorithm; challenge: Challenge },
  ): AuthenticationStep {
    const { users, mutual } = this.#options;
    const name = keys.get('CHAP_N');
    if (name === undefined) return missing('CHAP_N');
    if (name === '' || Buffer.byteLength(name) > VALUE_LIMIT) return malformed(`CHAP_N=${quote(name)}`);
    // RFC 7143 9.2: without this an initiator could leave out its own response and have the target's reflected.
    const responseText = keys.get('CHAP_R');
    if (responseText === undefined) return missing('CHAP_R');
    const response = parseBinary(responseText, CHAP_BINARY_LIMIT);
    if (response === null) return malformed('CHAP_R is no binary value of 1 to 1024 bytes');
    const counter = this.#counterChallenge(keys);
    if (counter !== null && 'state' in counter) return counter;

    const secret = users.get(name);
    const expected = chapResponse(algorithm, challenge.identifier, secret ?? NO_SECRET, challenge.bytes);
    const isRight = isSameResponse(response, expected);
    if (secret === undefined) return refused(`CHAP: there is no user ${quote(name)} here`);
    if (!isRight) return refused(`CHAP: wrong response of user ${quote(name)}`);
    if (mutual !== null) {
      // RFC 7143 9.2.1: one secret for both directions is as good as none.
      const own = chapResponse(algorithm, challenge.identifier, mutual.secret, challenge.bytes);
      if (isSameResponse(response, own)) return refused(`CHAP: user ${quote(name)} has the target's secret`);
    }
    if (counter === null) return { state: 'done', keys: [], user: name };
    if (mutual === null)
      return refused('CHAP: the initiator asks the target for a proof, which has no secret');
    const proof = chapResponse(algorithm, counter.identifier, mutual.secret, counter.bytes);
    return {
      state: 'done',
      keys: [
        ['CHAP_N', mutual.name],
        ['CHAP_R', formatBinary(proof)],
      ],
      user: name,
    };
  }

  /** The initiator's challenge; null if there is none. */
  #counterChallenge(keys: ReadonlyMap<string, string>): Challenge | Failed | null {
    const identifierText = keys.get('CHAP_I');
    const challengeText = keys.get('CHAP_C');
    if (identifierText === undefined && challengeText === undefined) return null;
    if (identifierText === undefined) return missing('CHAP_I');
    if (challengeText === undefined) return missing('CHAP_C');
    const identifier = parseIdentifier(identifierText);
    if (identifier === null) return malformed(`CHAP_I=${quote(identifierText)}`);
    const bytes = parseBinary(challengeText, CHAP_BINARY_LIMIT);
    if (bytes === null) return malformed(`CHAP_C=${quote(challengeText)}`);
    if (this.#options.challenges.made(bytes)) return refused('CHAP: our own challenge came back');
    return { identifier, bytes };
  }
}
