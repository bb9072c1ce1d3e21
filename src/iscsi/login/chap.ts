/**
 * What both roles of CHAP compute with (RFC 7143 12.1.3, RFC 1994): algorithms, challenges, responses. The
 * exchanges themselves are in chap-target.ts and chap-initiator.ts.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Secret } from '../../util/secret.js';
import { parseList, parseNumber } from './values.js';

export type ChapAlgorithmName = 'MD5' | 'SHA1' | 'SHA256' | 'SHA3-256';

/** A digest algorithm of CHAP. */
export interface ChapAlgorithm {
  readonly name: ChapAlgorithmName;
  /** Its number in IANA's registry of PPP authentication algorithms. */
  readonly number: number;
  /** Its name in OpenSSL. */
  readonly hash: string;
  /** Length of a response, bytes. */
  readonly length: number;
}

/** All of them, the strongest first. */
export const CHAP_ALGORITHMS: readonly ChapAlgorithm[] = [
  { name: 'SHA3-256', number: 8, hash: 'sha3-256', length: 32 },
  { name: 'SHA256', number: 7, hash: 'sha256', length: 32 },
  { name: 'SHA1', number: 6, hash: 'sha1', length: 20 },
  { name: 'MD5', number: 5, hash: 'md5', length: 16 },
];

/** A name, and the secret that proves it. */
export interface ChapCredentials {
  /** CHAP_N: 1 to 255 bytes of UTF-8. */
  readonly name: string;
  readonly secret: Secret;
}

/** The longest CHAP_C and CHAP_R, bytes (RFC 7143 12.1.3). */
export const CHAP_BINARY_LIMIT = 1024;
/** Length of the challenges that we make, bytes. */
export const CHALLENGE_LENGTH = 32;

/** The algorithms of these names that this build of Node has (one for FIPS has no MD5), in the order given. */
export function usableAlgorithms(names: readonly ChapAlgorithmName[]): readonly ChapAlgorithm[] {
  return names.flatMap((name) => CHAP_ALGORITHMS.filter((each) => each.name === name && isUsable(each)));
}

function isUsable({ hash }: ChapAlgorithm): boolean {
  try {
    createHash(hash);
    return true;
  } catch {
    return false;
  }
}

/** The numbers of a CHAP_A list in their order; null if it is malformed. */
export function parseAlgorithms(text: string): readonly number[] | null {
  const numbers = parseList(text)?.map(parseNumber);
  return numbers?.every((number) => number !== null) === true ? numbers : null;
}

/** CHAP_I: 0 to 255 (RFC 1994 4.1); null if it is malformed. */
export function parseIdentifier(text: string): number | null {
  const number = parseNumber(text);
  return number !== null && number <= 255 ? number : null;
}

/** The response to a challenge: digest of identifier, secret and challenge (RFC 1994 4.1). */
export function chapResponse(
  algorithm: ChapAlgorithm,
  identifier: number,
  secret: Secret,
  challenge: Uint8Array,
): Buffer {
  return createHash(algorithm.hash)
    .update(Buffer.of(identifier))
    .update(secret.reveal())
    .update(challenge)
    .digest();
}

/** Whether two responses are the same; takes the same time wherever they differ. */
export function isSameResponse(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** CHAP_I and CHAP_C. */
export interface Challenge {
  readonly identifier: number;
  readonly bytes: Buffer;
}

/** How many challenges are remembered at least. */
const REMEMBERED = 1024;

/**
 * Makes challenges, and knows the latest that it made: one that comes back has been reflected, and answering it
 * would help whoever sent it to pass for us (RFC 7143 9.2.1). All exchanges of one node share one, because
 * a challenge may be reflected on another connection.
 */
export class ChallengeSource {
  readonly #random: (length: number) => Buffer;
  #latest = new Set<string>();
  #earlier = new Set<string>();

  /** `random`: bytes that nobody can foresee. */
  constructor(random: (length: number) => Buffer = randomBytes) {
    this.#random = random;
  }

  make(): Challenge {
    const bytes = this.#random(CHALLENGE_LENGTH);
    if (this.#latest.size === REMEMBERED) {
      this.#earlier = this.#latest;
      this.#latest = new Set();
    }
    this.#latest.add(bytes.toString('hex'));
    return { identifier: this.#random(1)[0]!, bytes };
  }

  /** Whether it is one of ours. */
  made(challenge: Buffer): boolean {
    if (challenge.length !== CHALLENGE_LENGTH) return false;
    const text = challenge.toString('hex');
    return this.#latest.has(text) || this.#earlier.has(text);
  }
}
