/**
 * Control-type PDUs that the peer of an iSER connection cannot expect, and for which it has only so much room
 * (RFC 7145 6.7, 8.1): one that were too many would find no receive.
 */

import { serialLess } from '../util/serial.js';

export class UnexpectedPdus {
  readonly #limit: number;
  /** The sequence numbers of those that are outstanding, the oldest first. */
  readonly #outstanding: number[] = [];

  /** `declared`: MaxOutstandingUnexpectedPDUs of the peer; 0 for no limit, as over TCP. */
  constructor(declared: number) {
    this.#limit = declared === 0 ? Infinity : declared;
  }

  /** How many may be sent now. */
  get room(): number {
    return this.#limit - this.#outstanding.length;
  }

  /** One was sent, with a sequence number that no earlier one is ahead of. */
  sent(sequenceNumber: number): void {
    if (this.#limit !== Infinity) this.#outstanding.push(sequenceNumber);
  }

  /** The peer has told that `expected` is the next sequence number: it has taken what was before. */
  retire(expected: number): void {
    const outstanding = this.#outstanding;
    while (outstanding.length > 0 && serialLess(outstanding[0]!, expected)) outstanding.shift();
  }
}
