/** Negotiation in the full feature phase (RFC 7143 6.4): the few keys that may come in Text Requests. */

import type { TextPair } from '../wire/text.js';
import type { OperationalParameters } from './keys.js';
import { Negotiation } from './negotiation.js';
import { TARGET_OFFER } from './offer.js';

/** One negotiation, of one Text Request or several. What it declares counts when it has succeeded (RFC 7143 6.2). */
export class FullFeatureKeys {
  readonly #parameters: OperationalParameters;
  readonly #isDiscovery: boolean;
  readonly #negotiation: Negotiation;

  constructor(parameters: OperationalParameters, isDiscovery: boolean) {
    this.#parameters = parameters;
    this.#isDiscovery = isDiscovery;
    this.#negotiation = new Negotiation({
      role: 'target',
      offer: TARGET_OFFER,
      sessionType: 'Normal',
      leading: false,
      parameters,
    });
  }

  /**
   * Answer all pairs of one text but SendTargets.
   *
   * Null if the request must be rejected with Protocol Error, which ends the negotiation: a key that only a login may carry, a
   * malformed declaration, a key sent twice, or any key at all in a discovery session (RFC 7143 4.3).
   */
  answer(pairs: readonly TextPair[]): readonly TextPair[] | null {
    if (this.#isDiscovery) return pairs.length === 0 ? [] : null;
    const received = this.#negotiation.receive(pairs, 'fullFeature');
    return 'violation' in received ? null : received.answers;
  }

  /** The negotiation has succeeded: its results go into the parameters. */
  conclude(): void {
    // RFC 7145 6.2: over iSER the key is ignored, its value comes from other keys.
    if (!this.#parameters.rdmaExtensions) Object.assign(this.#parameters, this.#negotiation.result());
  }
}
