/** What the parts of the configuration file's schema share. */

import { z } from 'zod';
import { parsePortal } from './portal.js';
import { messageOf } from './failure.js';

/** Input that `parse` understands, which throws where it does not. */
export const parsed = <I, T>(input: z.ZodType<I>, parse: (value: I) => T) =>
  input.transform((value, context) => {
    try {
      return parse(value);
    } catch (error) {
      context.addIssue(messageOf(error));
      return z.NEVER;
    }
  });

/** Where a server listens. */
export const portal = parsed(
  z.string({ error: 'must be text such as 127.0.0.1:3260; an IPv6 portal needs quotes: "[::1]:3260"' }),
  parsePortal,
);
