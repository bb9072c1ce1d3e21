/** The SecurityNegotiation stage of a target's login (RFC 7143 6.3.2, 12.1): choosing and running AuthMethod. */

import { quote, type TextPair } from '../wire/text.js';
import type { AuthenticationExchange, Authenticator, LoginIdentity, LoginRefusal } from './policy.js';
import { LoginStatus } from './status.js';
import { parseList } from './values.js';

const NONE = 'None';

export class SecurityStage {
  readonly #identity: LoginIdentity;
  readonly #authenticator: Authenticator | null;
  readonly #methods: readonly string[];
  /** The running exchange; null before a method is chosen and with None. */
  #exchange: AuthenticationExchange | null = null;
  #chosen = false;
  #done = false;
  #user: string | null = null;

  /** `authenticator` null: only None is accepted. */
  constructor(identity: LoginIdentity, authenticator: Authenticator | null) {
    this.#identity = identity;
    this.#authenticator = authenticator;
    this.#methods = authenticator?.methods(identity) ?? [NONE];
  }

  /** Whether an initiator may start with the operational stage. */
  get mayBeSkipped(): boolean {
    return this.#methods.includes(NONE);
  }

  /** Whether the stage may be left. */
  get done(): boolean {
    return this.#done;
  }

  /** The name that the initiator has been authenticated by; null if it has not. */
  get user(): string | null {
    return this.#user;
  }

  /** Take the security keys of one complete text. `transit`: the initiator is ready to leave the stage. */
  handle(keys: readonly TextPair[], transit: boolean): readonly TextPair[] | LoginRefusal {
    const answers: TextPair[] = [];
    const values = new Map<string, string>();
    for (const { key, value } of keys) {
      if (values.has(key)) return { refusal: LoginStatus.INITIATOR_ERROR, reason: `${key} is sent twice` };
      values.set(key, value);
    }
    const offered = values.get('AuthMethod');
    if (offered !== undefined) {
      const method = this.#choose(offered);
      if (typeof method !== 'string') return method;
      values.delete('AuthMethod');
      answers.push({ key: 'AuthMethod', value: method });
    }
    if (this.#exchange === null || this.#done) {
      const [stray] = values.keys();
      if (stray !== undefined) {
        return { refusal: LoginStatus.INITIATOR_ERROR, reason: `${stray} is not due` };
      }
      // RFC 7143 6.3.1: an initiator that wants no security proposes none and asks to go on.
      if (!this.#chosen && transit) return this.#skip();
      return answers;
    }
    return this.#step(this.#exchange, values, answers, offered !== undefined);
  }

  /** The first of the initiator's list that this login may use (RFC 7143 6.3.2). */
  #choose(offered: string): string | LoginRefusal {
    if (this.#chosen) return { refusal: LoginStatus.INITIATOR_ERROR, reason: 'AuthMethod is sent again' };
    const method = parseList(offered)?.find((candidate) => this.#methods.includes(candidate));
    if (method === undefined) {
      return {
        refusal: LoginStatus.AUTHENTICATION_FAILURE,
        reason: `AuthMethod=${quote(offered)}, accepted are ${this.#methods.join(',')}`,
      };
    }
    this.#chosen = true;
    if (method === NONE || this.#authenticator === null) this.#done = true;
    else this.#exchange = this.#authenticator.begin(method, this.#identity);
    return method;
  }

  #skip(): readonly TextPair[] | LoginRefusal {
    if (!this.mayBeSkipped) {
      return {
        refusal: LoginStatus.AUTHENTICATION_FAILURE,
        reason: 'AuthMethod is missing, authentication is required',
      };
    }
    this.#done = true;
    return [];
  }

  #step(
    exchange: AuthenticationExchange,
    values: ReadonlyMap<string, string>,
    answers: TextPair[],
    justChosen: boolean,
  ): readonly TextPair[] | LoginRefusal {
    // The method's own keys come with the request after the choice, unless sent along with it.
    if (justChosen && values.size === 0) return answers;
    const step = exchange.step(values);
    if (step.state === 'failed') {
      return { refusal: step.status ?? LoginStatus.AUTHENTICATION_FAILURE, reason: step.reason };
    }
    if (step.state === 'done') {
      this.#done = true;
      this.#user = step.user ?? null;
    }
    for (const [key, value] of step.keys) answers.push({ key, value });
    return answers;
  }
}
