/** Negotiation in the full feature phase (RFC 7143 6.4): the few keys that may come in a Text Request. */

import type { TextPair } from '../wire/text.js';
import type { OperationalParameters } from './keys.js';
import { Negotiation } from './negotiation.js';
import { TARGET_OFFER } from './offer.js';

/**
 * Answer all pairs of one Text Request but SendTargets. What they declare goes into `parameters`, all of it or,
 * after an error, nothing (RFC 7143 6.2).
 *
 * Null if the request must be rejected with Protocol Error: a key that only a login may carry, a malformed
 * declaration, a key sent twice, or any key at all in a discovery session (RFC 7143 4.3).
 */
export function answerFullFeatureText(
  pairs: readonly TextPair[],
  parameters: OperationalParameters,
  isDiscovery: boolean,
): readonly TextPair[] | null {
  if (isDiscovery) return pairs.length === 0 ? [] : null;
  const negotiation = new Negotiation({
    role: 'target',
    offer: TARGET_OFFER,
    sessionType: 'Normal',
    leading: false,
    parameters,
  });
  const received = negotiation.receive(pairs, 'fullFeature');
  if ('violation' in received) return null;
  // RFC 7145 6.2: over iSER the key is ignored, its value comes from other keys.
  if (!parameters.rdmaExtensions) Object.assign(parameters, negotiation.result());
  return received.answers;
}
