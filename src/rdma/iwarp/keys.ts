/**
 * Keys (STags) to memory: who holds one may reach the memory it stands for, within its rights and bounds, as long
 * as it lasts (RFC 5042 5, 6.2). They are drawn at random, so that none follows from another.
 */

import { randomFillSync } from 'node:crypto';
import type { ScatterList } from '../../util/memory.js';
import { Placements } from './placements.js';

/** What a key stands for. */
export interface Grant {
  readonly domain: object;
  /** The only queue pair whose peer may use it; null for all of the domain. */
  readonly queuePair: object | null;
  /** Of `AccessFlag`. */
  readonly access: number;
  /** The tagged offset of its first byte. */
  readonly base: number;
  readonly list: ScatterList;
  /** A peer may end it by a Send with Invalidate. */
  readonly isInvalidable: boolean;
  /** The key is gone. */
  invalidated(): void;
}

const DRAWN_AT_ONCE = 2048;
const FIRST_CAPACITY = 64;

export class KeyTable {
  readonly placements = new Placements();
  /** Keys that are granted. */
  count = 0;
  /**
   * A hash table with open addressing: keys are random, so that their lower bits are where they are looked for, and what finds its
   * place taken is in the next one that is free. A key of 0 is none. A command comes with keys of its own: a `Map` would
   * allocate for them.
   */
  #keys = new Uint32Array(FIRST_CAPACITY);
  #grants = new Array<Grant | null>(FIRST_CAPACITY).fill(null);
  #mask = FIRST_CAPACITY - 1;
  readonly #random = new Uint32Array(DRAWN_AT_ONCE);
  #drawn = DRAWN_AT_ONCE;

  /** A new key for `grant`: 32 bits, never 0. */
  add(grant: Grant): number {
    const key = this.draw();
    this.set(key, grant);
    return key;
  }

  /** A key that nobody has had, to be {@link set} later. */
  draw(): number {
    for (;;) {
      const key = this.#random32();
      if (key !== 0 && this.find(key) === null) return key;
    }
  }

  /** `key` is not granted yet. */
  set(key: number, grant: Grant): void {
    if (2 * ++this.count > this.#keys.length) this.#grow();
    this.#put(key, grant);
  }

  find(key: number): Grant | null {
    return this.#grants[this.#placeOf(key)] ?? null;
  }

  remove(key: number): void {
    const at = this.#placeOf(key);
    const grant = this.#grants[at] ?? null;
    if (grant === null) return;
    this.#take(at);
    this.count--;
    grant.invalidated();
    this.placements.rightsEnded();
  }

  /** Where `key` is, or would be. */
  #placeOf(key: number): number {
    const keys = this.#keys;
    let at = key & this.#mask;
    while (keys[at] !== key && keys[at] !== 0) at = (at + 1) & this.#mask;
    return at;
  }

  #put(key: number, grant: Grant): void {
    const at = this.#placeOf(key);
    this.#keys[at] = key;
    this.#grants[at] = grant;
  }

  /** Empty a place, and move what is behind it only because this one was taken. */
  #take(at: number): void {
    const keys = this.#keys;
    const mask = this.#mask;
    let free = at;
    for (let next = (at + 1) & mask; keys[next] !== 0; next = (next + 1) & mask) {
      const wanted = keys[next]! & mask;
      if (((next - wanted) & mask) < ((next - free) & mask)) continue;
      keys[free] = keys[next]!;
      this.#grants[free] = this.#grants[next]!;
      free = next;
    }
    keys[free] = 0;
    this.#grants[free] = null;
  }

  #grow(): void {
    const keys = this.#keys;
    const grants = this.#grants;
    const capacity = 2 * keys.length;
    this.#keys = new Uint32Array(capacity);
    this.#grants = new Array<Grant | null>(capacity).fill(null);
    this.#mask = capacity - 1;
    for (let i = 0; i < keys.length; i++) if (keys[i] !== 0) this.#put(keys[i]!, grants[i]!);
  }

  #random32(): number {
    if (this.#drawn === DRAWN_AT_ONCE) {
      randomFillSync(this.#random);
      this.#drawn = 0;
    }
    const key = this.#random[this.#drawn]!;
    // What was given away is not kept where it could leak.
    this.#random[this.#drawn++] = 0;
    return key;
  }
}

/** What is wrong with an access, in the order in which it is looked for. */
export const AccessFault = {
  NONE: 0,
  INVALID_KEY: 1,
  NOT_ASSOCIATED: 2,
  ACCESS: 3,
  WRAP: 4,
  BOUNDS: 5,
} as const;
export type AccessFault = (typeof AccessFault)[keyof typeof AccessFault];

const LOW_WORD = 2 ** 32;

/**
 * Whether a peer of `queuePair` may access `length` bytes, at most 2^32 - 1, from a tagged offset on, given as two words
 * (RFC 5041 7.1, RFC 5040 7.2).
 */
export function checkAccess(
  grant: Grant | null,
  domain: object,
  queuePair: object,
  access: number,
  high: number,
  low: number,
  length: number,
): AccessFault {
  if (grant === null) return AccessFault.INVALID_KEY;
  if (grant.domain !== domain || (grant.queuePair !== null && grant.queuePair !== queuePair))
    return AccessFault.NOT_ASSOCIATED;
  if ((grant.access & access) !== access) return AccessFault.ACCESS;
  if (high === LOW_WORD - 1 && low + length >= LOW_WORD) return AccessFault.WRAP;
  // Exact wherever it can be within bounds: grants end below 2^53.
  const at = high * LOW_WORD + low;
  if (at < grant.base || at + length > grant.base + grant.list.length) return AccessFault.BOUNDS;
  return AccessFault.NONE;
}
