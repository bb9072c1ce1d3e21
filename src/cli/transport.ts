/** What people read of transports; JSON has the words of the code. */

import type { Session } from '../initiator/index.js';

const NAMES = { tcp: 'TCP', iser: 'iSER' } as const;

export function transportName(transport: 'tcp' | 'iser'): string {
  return NAMES[transport];
}

/** `iSER`, or `TCP, as iSER was not to be had: ...` */
export function describeTransport({
  transport,
  whyNotIser,
}: Pick<Session, 'transport' | 'whyNotIser'>): string {
  const name = transportName(transport);
  return whyNotIser === null ? name : `${name}, as iSER was not to be had: ${whyNotIser}`;
}
