/** Header and data digests of PDUs in memory (RFC 7143 13.1, 11.2.3). On the wire a digest is little-endian. */

import { crc32c, crc32cOfList } from '../../util/crc32c.js';
import type { ScatterList } from '../../util/memory.js';

/** Whether the 4 bytes behind `length` bytes at `offset` are their digest. */
export function digestMatches(bytes: Buffer, offset: number, length: number): boolean {
  const end = offset + length;
  return bytes.readUInt32LE(end) === crc32c(bytes, 0, offset, end);
}

/** Put the digest of `length` bytes at `offset` behind them. */
export function appendDigest(bytes: Buffer, offset: number, length: number): void {
  const end = offset + length;
  bytes.writeUInt32LE(crc32c(bytes, 0, offset, end), end);
}

const zeroes = Buffer.alloc(4);

/** Put the digest of a part of `list` and of `padding` zero bytes into `target` at `targetOffset`. */
export function listDigest(
  list: ScatterList,
  skip: number,
  length: number,
  padding: number,
  target: Buffer,
  targetOffset: number,
): void {
  let crc = crc32cOfList(list, 0, skip, length);
  if (padding > 0) crc = crc32c(zeroes, crc, 0, padding);
  target.writeUInt32LE(crc, targetOffset);
}
