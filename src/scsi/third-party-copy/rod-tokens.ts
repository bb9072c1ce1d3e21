/**
 * ROD tokens (SPC-4 5.17): 512 bytes that stand for data of a logical unit. They are of the type "point in time copy,
 * change vulnerable": no store here can keep data that is overwritten, so that a token is revoked by the first change of
 * what it stands for. It also ends with the nexus that it was made for, and when nobody has used it for a while.
 */

import { randomBytes, timingSafeEqual } from 'node:crypto';

import { getU16, getU32, putU16, putU32, putU64 } from '../../util/fields.js';
import { targetDesignator } from '../designators.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Nexus } from '../nexus.js';
import { Sense, type SenseCode } from '../sense.js';
import { cscdDescriptor } from './cscd.js';
import type { CopyHost } from './copy-manager.js';

/** ROD TYPE. */
export const RodType = {
  /** The copy manager chooses among the points in time. */
  POINT_IN_TIME_DEFAULT: 0x0080_0000,
  POINT_IN_TIME_CHANGE_VULNERABLE: 0x0080_0001,
  POINT_IN_TIME_ANY: 0x0080_ffff,
  /** Well known: stands for as many zeroes as anybody wants (SBC-3). */
  BLOCK_DEVICE_ZERO: 0xffff_0001,
} as const;

export const ROD_TOKEN_LENGTH = 512;
/** ROD TOKEN LENGTH: what follows its field. */
const LENGTH_FIELD = ROD_TOKEN_LENGTH - 8;
const CREATOR_LOGICAL_UNIT = 16;
const BYTES_REPRESENTED = 48;
/** 16 bytes; the last 8 can tell all that there is. */
const BYTES_REPRESENTED_LOW = BYTES_REPRESENTED + 8;
const DEVICE_TYPE_SPECIFIC = 96;
const TARGET_DEVICE_DESCRIPTOR = 128;

/** Seconds without use after which a token ends. */
export const DEFAULT_INACTIVITY_TIMEOUT = 60;
export const MAXIMUM_INACTIVITY_TIMEOUT = 600;

/** Tokens that can be used, of one nexus and of all. */
export const MAXIMUM_TOKENS_OF_NEXUS = 256;
export const MAXIMUM_TOKENS = 4096;
/** How many ended ones are remembered, so that who comes with one hears why. */
const MAXIMUM_ENDED = 1024;

/** Bytes of a medium. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** One token, and what it stands for. */
export class RodToken {
  readonly unit: LogicalUnit;
  /** Whose right to read it conveys. */
  readonly nexus: Nexus;
  readonly ranges: readonly ByteRange[];
  /** Sum of all ranges. */
  readonly length: number;
  readonly bytes: Buffer;
  /** Why it can be used no more; null while it can. */
  ended: SenseCode | null = null;
  /** Copies that read by it. */
  uses = 0;
  readonly #host: CopyHost;
  readonly #inactivityMs: number;
  readonly #onEnd: (token: RodToken) => void;
  #lastUse: number;

  constructor(
    host: CopyHost,
    source: { unit: LogicalUnit; nexus: Nexus; ranges: readonly ByteRange[]; inactivityTimeout: number },
    identifier: number,
    onEnd: (token: RodToken) => void,
  ) {
    this.unit = source.unit;
    this.nexus = source.nexus;
    this.ranges = source.ranges;
    this.length = source.ranges.reduce((sum, { length }) => sum + length, 0);
    this.bytes = tokenBytes(source.unit, this.length, identifier);
    this.#host = host;
    this.#inactivityMs = source.inactivityTimeout * 1000;
    this.#lastUse = host.now();
    this.#onEnd = onEnd;
  }

  hasExpired(): boolean {
    return this.uses === 0 && this.#host.now() - this.#lastUse > this.#inactivityMs;
  }

  /** Whether it stands for any of these bytes. */
  covers(offset: number, length: number): boolean {
    return this.ranges.some(
      (range) => range.offset < offset + length && offset < range.offset + range.length,
    );
  }

  begin(): void {
    this.uses++;
  }

  finish(): void {
    this.uses--;
    this.#lastUse = this.#host.now();
  }

  end(why: SenseCode): void {
    if (this.ended !== null) return;
    this.ended = why;
    this.unit.copies.removeToken(this);
    this.#onEnd(this);
  }
}

/** All tokens of a server. */
export class RodTokens {
  readonly #host: CopyHost;
  /** By identifier, those that have ended among them; the oldest first. */
  readonly #tokens = new Map<number, RodToken>();
  readonly #ended = new Set<RodToken>();
  readonly #ofNexus = new Map<Nexus, number>();
  #lastIdentifier = 0;

  constructor(host: CopyHost) {
    this.#host = host;
  }

  /** A new token; null where there are too many. */
  create(source: {
    unit: LogicalUnit;
    nexus: Nexus;
    ranges: readonly ByteRange[];
    inactivityTimeout: number;
  }): RodToken | null {
    const { nexus, unit } = source;
    this.#expire();
    const count = this.#ofNexus.get(nexus) ?? 0;
    const live = this.#tokens.size - this.#ended.size;
    if (count >= MAXIMUM_TOKENS_OF_NEXUS || live >= MAXIMUM_TOKENS) return null;
    const identifier = ++this.#lastIdentifier;
    const token = new RodToken(this.#host, source, identifier, this.#tokenEnded);
    this.#tokens.set(identifier, token);
    this.#ofNexus.set(nexus, count + 1);
    unit.copies.addToken(token);
    return token;
  }

  /** The token that has these 512 bytes and can be used, or what is wrong with it. */
  find(bytes: Buffer): RodToken | SenseCode {
    const type = getU32(bytes, 0);
    if (type !== RodType.POINT_IN_TIME_CHANGE_VULNERABLE) return Sense.UNSUPPORTED_TOKEN_TYPE;
    if (!hasTokenLength(bytes)) return Sense.INVALID_TOKEN_LENGTH;
    this.#expire();
    // COPY MANAGER ROD TOKEN IDENTIFIER counts; what cannot be guessed is at the end of the token.
    const token = this.#tokens.get(Number(bytes.readBigUInt64BE(8)));
    if (token === undefined) return Sense.TOKEN_UNKNOWN;
    if (!timingSafeEqual(token.bytes, bytes)) return Sense.TOKEN_CORRUPT;
    return token.ended ?? token;
  }

  readonly #tokenEnded = (token: RodToken): void => {
    const count = this.#ofNexus.get(token.nexus)! - 1;
    if (count === 0) this.#ofNexus.delete(token.nexus);
    else this.#ofNexus.set(token.nexus, count);
    this.#ended.add(token);
    if (this.#ended.size <= MAXIMUM_ENDED) return;
    const [oldest] = this.#ended;
    this.#ended.delete(oldest!);
    this.#tokens.delete(identifierOf(oldest!));
  };

  #expire(): void {
    for (const token of this.#tokens.values()) if (token.hasExpired()) token.end(Sense.TOKEN_EXPIRED);
  }
}

export function hasTokenLength(bytes: Uint8Array): boolean {
  return getU16(bytes, 6) === LENGTH_FIELD;
}

function identifierOf({ bytes }: RodToken): number {
  return Number(bytes.readBigUInt64BE(8));
}

/** The token itself: SPC-4 has its fields, and SBC-3 those of block devices. */
function tokenBytes(unit: LogicalUnit, length: number, identifier: number): Buffer {
  const bytes = Buffer.alloc(ROD_TOKEN_LENGTH);
  putU32(bytes, 0, RodType.POINT_IN_TIME_CHANGE_VULNERABLE);
  putU16(bytes, 6, LENGTH_FIELD);
  putU64(bytes, 8, identifier);
  cscdDescriptor(unit).copy(bytes, CREATOR_LOGICAL_UNIT);
  putU64(bytes, BYTES_REPRESENTED_LOW, length);
  // As in READ CAPACITY(16) parameter data, without the address of the last block.
  putU32(bytes, DEVICE_TYPE_SPECIFIC, unit.blockSize);
  bytes[DEVICE_TYPE_SPECIFIC + 5] = Math.log2(unit.logicalBlocksPerPhysical);
  const target = targetDesignator(unit.configuration.identity.targetName);
  target.copy(bytes, TARGET_DEVICE_DESCRIPTOR);
  // What nobody can guess: the rest is no secret.
  const random = TARGET_DEVICE_DESCRIPTOR + target.length;
  randomBytes(ROD_TOKEN_LENGTH - random).copy(bytes, random);
  return bytes;
}
