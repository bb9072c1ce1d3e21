/** How the initiators of a target, or those who ask what there is, are authenticated: options, checked once. */

import {
  CHAP_ALGORITHMS,
  type ChallengeSource,
  type ChapAlgorithm,
  type ChapAlgorithmName,
  type ChapCredentials,
  ChapTarget,
  usableAlgorithms,
} from '../iscsi/index.js';
import { RiserError } from '../util/errors.js';
import { Secret } from '../util/secret.js';

/** A name and the secret that proves it. */
export interface Credentials {
  /** 1 to 255 bytes of UTF-8. */
  name: string;
  /** 12 to 255 bytes (RFC 7143 9.2.1: 96 bits at least). */
  secret: Secret | string;
}

export interface Authentication {
  /** The initiators prove themselves by CHAP (RFC 7143 12.1.3). */
  chap: {
    /** Who may pass. */
    users: readonly Credentials[];
    /** What the target proves itself with when an initiator asks for it. Its secret is that of no user. */
    mutual?: Credentials;
    /** The algorithms that may be chosen; the initiator's order decides. Default: all. */
    algorithms?: readonly ChapAlgorithmName[];
  };
}

/** Bytes. Shorter ones are found by trying all, by whoever has seen one login (RFC 7143 9.2.1). */
export const MIN_SECRET_LENGTH = 12;
const MAX_SECRET_LENGTH = 255;
const MAX_NAME_LENGTH = 255;

/** Whoever a user of a set of users may be. */
export class ChapUsers {
  readonly names: ReadonlySet<string>;
  readonly #secrets: ReadonlyMap<string, Secret>;
  readonly #mutual: ChapCredentials | null;
  readonly #algorithms: readonly ChapAlgorithm[];

  /** @throws RiserError `AUTHENTICATION` */
  constructor({ chap }: Authentication) {
    const users = chap.users.map(checked);
    this.#secrets = new Map(users.map(({ name, secret }) => [name, secret]));
    this.names = new Set(this.#secrets.keys());
    this.#mutual = chap.mutual === undefined ? null : checked(chap.mutual);
    this.#algorithms = usableAlgorithms(chap.algorithms ?? CHAP_ALGORITHMS.map(({ name }) => name));
    if (users.length === 0) throw wrong('CHAP without a user lets nobody in', 'Add a user.');
    if (this.names.size < users.length) throw wrong('two CHAP users have the same name');
    if (this.#algorithms.length === 0) throw wrong('CHAP without an algorithm lets nobody in');
    for (const { name, secret } of users) {
      if (this.#mutual?.secret.equals(secret) !== true) continue;
      // RFC 7143 9.2.1
      throw wrong(
        `the target has the same secret as its CHAP user ${JSON.stringify(name)}`,
        'Give the target a secret of its own: whoever has both could pass for either.',
      );
    }
  }

  /** Whether both have `user`, with one secret. */
  hasSameSecret(user: string, other: ChapUsers | null): boolean {
    const secret = other === null ? undefined : other.#secrets.get(user);
    return secret !== undefined && this.#secrets.get(user)?.equals(secret) === true;
  }

  /** An exchange that only the users `admitted` says yes to can pass. */
  begin(challenges: ChallengeSource, admitted: (user: string) => boolean): ChapTarget {
    const users = { get: (name: string) => (admitted(name) ? this.#secrets.get(name) : undefined) };
    return new ChapTarget({ users, mutual: this.#mutual, algorithms: this.#algorithms, challenges });
  }
}

function checked({ name, secret }: Credentials): ChapCredentials {
  const nameLength = Buffer.byteLength(name);
  if (nameLength < 1 || nameLength > MAX_NAME_LENGTH || name.includes('\0')) {
    throw wrong(`a CHAP name has 1 to ${MAX_NAME_LENGTH} bytes, ${JSON.stringify(name)} has ${nameLength}`);
  }
  const hidden = typeof secret === 'string' ? new Secret(secret) : secret;
  if (hidden.length < MIN_SECRET_LENGTH || hidden.length > MAX_SECRET_LENGTH) {
    throw wrong(
      `the CHAP secret of ${JSON.stringify(name)} has ${hidden.length} bytes`,
      `Give it ${MIN_SECRET_LENGTH} to ${MAX_SECRET_LENGTH}, chosen at random (Windows takes 16 at most): openssl rand -base64 12`,
    );
  }
  return { name, secret: hidden };
}

function wrong(message: string, remedy?: string): RiserError {
  return new RiserError('AUTHENTICATION', message, {
    by: 'local',
    costs: 'task',
    ...(remedy !== undefined && { remedy }),
  });
}
