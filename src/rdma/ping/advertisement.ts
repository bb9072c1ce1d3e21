/**
 * The one message of rping's protocol (librdmacm/examples/rping.c of rdma-core), which grants the peer the use of memory.
 * The server's "go ahead" is as long, and what is in it means nothing.
 */

import { getU32, putU32 } from '../../util/fields.js';
import type { MemoryRegion } from '../verbs.js';

/** Where a peer's memory is, and by which key it is reached. */
export interface Advertisement {
  /** The address, 64 bits as two words: that of a C program is any. */
  readonly addressHigh: number;
  readonly addressLow: number;
  readonly remoteKey: number;
  /** Bytes, 32 bits unsigned. */
  readonly size: number;
}

export const ADVERTISEMENT_BYTES = 16;

const ADDRESS_HIGH = 0;
const ADDRESS_LOW = 4;
const REMOTE_KEY = 8;
const SIZE = 12;

/** What grants all of `region`, as far as its rights go. */
export function advertisementOf({ address, remoteKey, memory }: MemoryRegion): Advertisement {
  const addressHigh = Math.floor(address / 2 ** 32);
  return { addressHigh, addressLow: address >>> 0, remoteKey, size: memory.length };
}

/** Into the 16 bytes from `offset` on, big-endian. */
export function putAdvertisement(bytes: Uint8Array, offset: number, advertisement: Advertisement): void {
  putU32(bytes, offset + ADDRESS_HIGH, advertisement.addressHigh);
  putU32(bytes, offset + ADDRESS_LOW, advertisement.addressLow);
  putU32(bytes, offset + REMOTE_KEY, advertisement.remoteKey);
  putU32(bytes, offset + SIZE, advertisement.size);
}

/** Of the 16 bytes from `offset` on. */
export function getAdvertisement(bytes: Uint8Array, offset: number): Advertisement {
  return {
    addressHigh: getU32(bytes, offset + ADDRESS_HIGH),
    addressLow: getU32(bytes, offset + ADDRESS_LOW),
    remoteKey: getU32(bytes, offset + REMOTE_KEY),
    size: getU32(bytes, offset + SIZE),
  };
}
