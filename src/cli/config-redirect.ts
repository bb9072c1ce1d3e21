/** The part of the configuration file that says that a target is elsewhere. */

import { z } from 'zod';
import { parseRedirect, type RedirectOptions } from '../target/redirect.js';
import { formatPortal, type Portal } from './portal.js';
import { parsed } from './schema.js';

const to = parsed(z.string({ error: 'must be text such as storage.example.com:3260' }), (text) => {
  parseRedirect({ to: text });
  return text;
});

export const redirect = z.strictObject({ to, permanent: z.boolean().default(false) }).optional();

/** Whether `redirect` sends initiators to one of `portals`, those of the server, where they would be sent there again. */
export function leadsBack(redirect: RedirectOptions, portals: readonly Portal[]): boolean {
  const { targetAddress } = parseRedirect(redirect);
  return portals.map(formatPortal).includes(targetAddress);
}
