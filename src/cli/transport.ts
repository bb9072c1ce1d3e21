/** What people read of transports; JSON has the words of the code. */

import type { Session } from '../initiator/index.js';

const NAMES = { tcp: 'TCP', iser: 'iSER' } as const;

/** What needs no name: it is everywhere. */
export const SOFTWARE = 'iwarp';

/** `TCP`, `iSER`, or `iSER by mlx5_0` where an adapter does it. */
export function transportName(transport: 'tcp' | 'iser', device: string | null): string {
  return device === null || device === SOFTWARE ? NAMES[transport] : `${NAMES[transport]} by ${device}`;
}

/** `iSER`, or `TCP, as iSER was not to be had: ...` */
export function describeTransport({
  transport,
  device,
  whyNotIser,
}: Pick<Session, 'transport' | 'device' | 'whyNotIser'>): string {
  const name = transportName(transport, device);
  return whyNotIser === null ? name : `${name}, as iSER was not to be had: ${whyNotIser}`;
}
