/** Finds out whether a silent initiator is still there: a NOP-In that wants an answer, then the end (RFC 7143 11.19). */

import { RiserError } from '../../util/errors.js';
import type { FullFeature } from './full-feature.js';

export interface KeepaliveLimits {
  /** Silence after which the initiator is asked for a sign of life, milliseconds. */
  keepaliveIntervalMs: number;
  /** How long it may take to answer, milliseconds. */
  keepaliveTimeoutMs: number;
}

export class Keepalive {
  readonly #phase: FullFeature;
  readonly #limits: KeepaliveLimits;
  #lastHeard: number;
  #askedAt: number | null = null;

  constructor(phase: FullFeature, limits: KeepaliveLimits, now: number) {
    this.#phase = phase;
    this.#limits = limits;
    this.#lastHeard = now;
  }

  tick(now: number): void {
    if (this.#phase.hasHeard) {
      this.#phase.hasHeard = false;
      this.#lastHeard = now;
      this.#askedAt = null;
    } else if (this.#askedAt !== null) {
      if (now - this.#askedAt < this.#limits.keepaliveTimeoutMs) return;
      const silence = Math.round((now - this.#lastHeard) / 1000);
      this.#phase.drop(
        new RiserError('PEER_DEAD', `the initiator has been silent for ${silence} s`, {
          by: 'peer',
          costs: 'session',
        }),
      );
    } else if (now - this.#lastHeard >= this.#limits.keepaliveIntervalMs) {
      this.#askedAt = now;
      this.#phase.responses.ping();
    }
  }
}
