/**
 * CRC32C, the digest of iSCSI (RFC 7143 13.1) and of MPA (RFC 5044 4.4): by @node-rs/crc32, which uses the
 * processor's own instruction, and by tables where that is not available or the call would cost more than it saves.
 */

import { createRequire } from 'node:module';
import type { ScatterList } from './memory.js';

/** Below this many bytes the tables are faster than a call of native code. */
const NATIVE_FROM = 192;

type Crc32c = (bytes: Uint8Array, initial: number) => number;

const native = loadNative();

/** Whether long inputs are computed by native code. */
export const crc32cIsNative = native !== null;

/**
 * CRC32C of `bytes[start, end)`, unsigned. With `initial`, the CRC of the bytes before these, the result is
 * that of both together; so several segments are covered one call each, starting with 0.
 *
 * On the wire a digest is this value with its least significant byte first: its x^31 coefficient, which the
 * reflected value has lowest, goes to bit 7 of the lowest byte (RFC 7143 13.1).
 *
 * @example
 * const whole = crc32c(second, crc32c(first));
 */
export function crc32c(bytes: Uint8Array, initial = 0, start = 0, end = bytes.length): number {
  if (native === null || end - start < NATIVE_FROM) return crc32cByTable(bytes, initial, start, end);
  return native(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), initial);
}

/** The same of `length` bytes of `list` from `skip` on. */
export function crc32cOfList(list: ScatterList, initial: number, skip: number, length: number): number {
  let crc = initial;
  for (let i = 0; i < list.count && length > 0; i++) {
    const have = list.lengths[i]!;
    if (skip >= have) {
      skip -= have;
      continue;
    }
    const part = Math.min(have - skip, length);
    const from = list.offsets[i]! + skip;
    crc = crc32c(list.regions[i]!.bytes, crc, from, from + part);
    length -= part;
    skip = 0;
  }
  return crc;
}

/** {@link crc32c} without native code. */
export function crc32cByTable(bytes: Uint8Array, initial = 0, start = 0, end = bytes.length): number {
  let crc = ~initial;
  let at = start;
  for (; at + 8 <= end; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      TABLES[7 * 256 + (crc & 0xff)]! ^
      TABLES[6 * 256 + ((crc >>> 8) & 0xff)]! ^
      TABLES[5 * 256 + ((crc >>> 16) & 0xff)]! ^
      TABLES[4 * 256 + (crc >>> 24)]! ^
      TABLES[3 * 256 + bytes[at + 4]!]! ^
      TABLES[2 * 256 + bytes[at + 5]!]! ^
      TABLES[256 + bytes[at + 6]!]! ^
      TABLES[bytes[at + 7]!]!;
  }
  for (; at < end; at++) crc = TABLES[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Eight tables of 256 entries: table n advances a byte by n further zero bytes. */
const TABLES = makeTables();

function makeTables(): Int32Array {
  const REFLECTED_POLYNOMIAL = 0x82f63b78; // 0x11edc6f41 without its x^32, bits reversed
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ REFLECTED_POLYNOMIAL : crc >>> 1;
    tables[byte] = crc;
  }
  for (let i = 256; i < tables.length; i++) {
    const before = tables[i - 256]!;
    tables[i] = tables[before & 0xff]! ^ (before >>> 8);
  }
  return tables;
}

function loadNative(): Crc32c | null {
  try {
    return (createRequire(import.meta.url)('@node-rs/crc32') as { crc32c: Crc32c }).crc32c;
  } catch {
    return null;
  }
}
