/** Sizes as people write them: `10G` is 10 * 2^30 bytes, the way qemu-img reads it. */

import { usageError } from './failure.js';

const UNITS = ['', 'K', 'M', 'G', 'T', 'P'];
const SIZE = /^(\d+(?:\.\d+)?)\s*(?:([KMGTP])(?:iB)?|B)?$/i;

/**
 * Bytes of a size such as `4096`, `512M`, `1.5G`, `2TiB`; units are powers of 1024.
 *
 * @throws RiserError `USAGE` when it is no size, is zero, is no whole number of bytes or exceeds 2^53
 */
export function parseSize(text: string): number {
  const match = SIZE.exec(text.trim());
  if (match === null) {
    throw usageError(`"${text}" is not a size`, 'Write a number with K, M, G, T or P, such as 512M or 10G.');
  }
  const bytes = Number(match[1]) * 1024 ** UNITS.indexOf((match[2] ?? '').toUpperCase());
  if (bytes === 0) throw usageError('a size must be more than 0');
  if (!Number.isInteger(bytes)) throw usageError(`"${text}" is not a whole number of bytes`);
  if (!Number.isSafeInteger(bytes)) throw usageError(`"${text}" is more than 8 PiB`);
  return bytes;
}

/**
 * As {@link parseSize}; 0 is one too: a place on a disk.
 *
 * @throws RiserError `USAGE`
 */
export function parseOffset(text: string): number {
  return /^0+$/.test(text.trim()) ? 0 : parseSize(text);
}

/** `10 GiB`, `1.5 MiB`, `4096 bytes`: three significant digits at least, exact below 1 KiB. */
export function formatSize(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  if (unit === 0) return `${bytes} bytes`;
  return `${Number(value.toFixed(value < 10 ? 2 : 1))} ${UNITS[unit]!}iB`;
}
