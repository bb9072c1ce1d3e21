/** What the parts of the configuration file's schema share. */

import { z } from 'zod';
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
