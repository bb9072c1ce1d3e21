/** The parts of the configuration file that say who gets in: schema, and from there to secrets and rules. */

import { resolve } from 'node:path';
import { z } from 'zod';
import { CHAP_ALGORITHMS, receiveIscsiName } from '../iscsi/index.js';
import { AccessList, parseAddresses } from '../target/access.js';
import { ChapUsers } from '../target/authentication.js';
import type { AccessRule, Authentication, Credentials, FailedLoginLimits } from '../target/index.js';
import { RiserError } from '../util/errors.js';
import type { Secret } from '../util/secret.js';
import { messageOf, usageError } from './failure.js';
import { parsed } from './schema.js';
import { readSecret } from './secrets.js';

const credentials = z
  .strictObject({
    name: z.string().min(1),
    secretFile: z.string().min(1).optional(),
    secretEnv: z.string().min(1).optional(),
  })
  .refine(({ secretFile, secretEnv }) => (secretFile === undefined) !== (secretEnv === undefined), {
    error: 'needs either secretFile or secretEnv',
  });

const chap = z.strictObject({
  users: z.array(credentials).min(1),
  mutual: credentials.optional(),
  algorithms: z
    .array(z.enum(CHAP_ALGORITHMS.map(({ name }) => name)))
    .min(1)
    .optional(),
});

/** `none`, or `chap` with its users. */
export const auth = z.preprocess(
  (value) => (value === 'none' ? undefined : value),
  z.strictObject({ chap }, { error: 'must be none, or chap with its users' }).optional(),
);

const initiatorName = parsed(z.string(), (text) => {
  const name = receiveIscsiName(text);
  if (name === null) throw usageError(`${JSON.stringify(text)} is not an iSCSI name`);
  return name;
});

const address = parsed(z.string(), (text) => {
  parseAddresses([text]);
  return text;
});

const rule = z.strictObject({
  initiators: z.array(initiatorName).optional(),
  addresses: z.array(address).optional(),
  users: z.array(z.string()).optional(),
  luns: z.record(z.string().regex(/^(0|[1-9]\d{0,2})$/, 'must be a LUN'), z.int().min(0).max(255)).optional(),
});

/** Rules, the first that fits decides. */
export const access = z.array(rule).optional();

export const discovery = z.strictObject({ auth }).default({});

const seconds = z.number().positive().max(86_400);

export const failedLogins = z
  .strictObject({
    limit: z.int().positive().default(10),
    window: seconds.default(60),
    pause: seconds.default(60),
  })
  .optional();

type Path = readonly (string | number)[];

/** Called with what is wrong at a place of the file. */
export type Complain = (path: Path, problem: string) => void;

/** Reads the secrets of one file, and looks at them all together. */
export class SecurityReader {
  readonly #folder: string;
  readonly #complain: Complain;
  readonly #users: Secret[] = [];
  readonly #mutuals: { path: Path; secret: Secret }[] = [];

  /** `folder`: where relative paths start from. */
  constructor(folder: string, complain: Complain) {
    this.#folder = folder;
    this.#complain = complain;
  }

  /** With its secrets; undefined if it is `none`, and if something is wrong with it. */
  authentication(from: z.infer<typeof auth>, path: Path): Authentication | undefined {
    if (from === undefined) return undefined;
    const { users, mutual, algorithms } = from.chap;
    const at = [...path, 'chap'];
    const known = users.map((user, i) => this.#credentials(user, [...at, 'users', i]));
    const own = mutual === undefined ? undefined : this.#credentials(mutual, [...at, 'mutual']);
    if (own === null || known.includes(null)) return undefined;
    const authentication: Authentication = {
      chap: {
        users: known.filter((user) => user !== null),
        ...(own !== undefined && { mutual: own }),
        ...(algorithms !== undefined && { algorithms }),
      },
    };
    try {
      new ChapUsers(authentication);
    } catch (error) {
      this.#complain(at, describe(error));
      return undefined;
    }
    this.#users.push(...authentication.chap.users.map(({ secret }) => secret as Secret));
    if (own !== undefined) this.#mutuals.push({ path: [...at, 'mutual'], secret: own.secret });
    return authentication;
  }

  /** The rules, which may name the users of `auth` and the LUNs in `luns`. */
  access(
    from: z.infer<typeof access>,
    auth: { chap: { users: readonly { name: string }[] } } | undefined,
    luns: readonly number[],
    path: Path,
  ): AccessRule[] | undefined {
    const users = auth?.chap.users.map((user) => user.name);
    return from?.map((each, i) => {
      for (const [seen, own] of Object.entries(each.luns ?? {})) {
        if (!luns.includes(own)) this.#complain([...path, i, 'luns', seen], `the target has no LUN ${own}`);
      }
      const { initiators, addresses, users: allowed, luns: map } = each;
      const result: AccessRule = {
        ...(initiators !== undefined && { initiators }),
        ...(addresses !== undefined && { addresses }),
        ...(allowed !== undefined && { users: allowed }),
        ...(map !== undefined && { luns: map }),
      };
      try {
        new AccessList([result], users === undefined ? null : new Set(users));
      } catch (error) {
        this.#complain([...path, i], describe(error));
      }
      return result;
    });
  }

  /** To be called last: no target may have a secret that any initiator has (RFC 7143 9.2.1). */
  finish(): void {
    for (const { path, secret } of this.#mutuals) {
      if (this.#users.some((user) => user.equals(secret))) {
        this.#complain(path, 'a CHAP user has this secret too: give the target one of its own');
      }
    }
  }

  #credentials(from: z.infer<typeof credentials>, path: Path): (Credentials & { secret: Secret }) | null {
    const { name, secretFile, secretEnv } = from;
    try {
      const secret =
        secretFile === undefined
          ? readSecret({ env: secretEnv! })
          : readSecret({ file: resolve(this.#folder, secretFile) });
      return { name, secret };
    } catch (error) {
      this.#complain([...path, secretFile === undefined ? 'secretEnv' : 'secretFile'], describe(error));
      return null;
    }
  }
}

export function toFailedLogins(from: z.infer<typeof failedLogins>): FailedLoginLimits | undefined {
  if (from === undefined) return undefined;
  return {
    failedLogins: from.limit,
    failedLoginWindowMs: from.window * 1000,
    failedLoginPauseMs: from.pause * 1000,
  };
}

/** In one line, with the remedy. */
function describe(error: unknown): string {
  const remedy = error instanceof RiserError ? error.remedy : undefined;
  return remedy === undefined ? messageOf(error) : `${messageOf(error)}: ${remedy}`;
}
