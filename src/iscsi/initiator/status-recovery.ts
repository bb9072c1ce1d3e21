/**
 * The numbers of responses at ErrorRecoveryLevel 1 and above (RFC 7143 7.1.4.2): one may be missing while others behind it are here
 * already. What is missing is asked for by a SNACK, and acknowledged no sooner than it is here.
 */

import { serialAdd, serialLess } from '../../util/serial.js';

/** Responses that may be here before one that is missing: more than there are commands in any window that was seen. */
const MOST_EARLY = 8192;

export class StatusRecovery {
  /** ExpStatSN: all responses below are here. */
  expStatSN: number;
  /** Behind the highest StatSN that was heard of. */
  #heard: number;
  /** At or above `expStatSN`. */
  readonly #early = new Set<number>();
  readonly #request: (begin: number, length: number) => void;

  /** `request`: ask for `length` responses from number `begin` on. */
  constructor(expStatSN: number, request: (begin: number, length: number) => void) {
    this.expStatSN = expStatSN;
    this.#heard = expStatSN;
    this.#request = request;
  }

  /** Whether a response with this number may come: not, if more were missing than is believable. */
  isPlausible(statSN: number): boolean {
    return serialLess(statSN, serialAdd(this.expStatSN, MOST_EARLY));
  }

  /** Whether it has come before. */
  isRepetition(statSN: number): boolean {
    return serialLess(statSN, this.expStatSN) || this.#early.has(statSN);
  }

  /** It is here. */
  take(statSN: number): void {
    this.hearOf(statSN);
    if (statSN !== this.expStatSN) {
      this.#early.add(statSN);
      return;
    }
    this.expStatSN = serialAdd(statSN, 1);
    while (this.#early.delete(this.expStatSN)) this.expStatSN = serialAdd(this.expStatSN, 1);
  }

  /** It came, but cannot be used: it has to come again. */
  miss(statSN: number): void {
    this.hearOf(statSN);
    this.#request(statSN, 1);
  }

  /** It exists, and will come without being asked for; so those before it exist, and are asked for. */
  hearOf(statSN: number): void {
    this.reveal(statSN);
    if (statSN === this.#heard) this.#heard = serialAdd(statSN, 1);
  }

  /** The target will use `nextStatSN` next. */
  reveal(nextStatSN: number): void {
    if (!serialLess(this.#heard, nextStatSN)) return;
    const first = this.#heard;
    this.#heard = nextStatSN;
    this.#request(first, (nextStatSN - first) >>> 0);
  }
}
