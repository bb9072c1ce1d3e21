/** The data of a ping: a C string, as rping makes it and its server takes it. */

/** The most bytes of a ping, which a server has room for. */
export const MAX_PING_SIZE = 64 * 1024;

const FIRST = 'A'.charCodeAt(0);
const LAST = 'z'.charCodeAt(0);
const CHARACTERS = LAST - FIRST + 1;

/**
 * Fill `bytes`, one at least, with the text of ping number `sequence`, counted from 0: its name, then the characters from `A` to
 * `z` over and over, from another one on each time; the last byte is 0, and no other.
 */
export function fillPingData(bytes: Buffer, sequence: number): void {
  const named = bytes.write(`rdma-ping-${sequence}: `, 'latin1');
  for (let i = named; i < bytes.length; i++) bytes[i] = FIRST + ((sequence + i - named) % CHARACTERS);
  bytes[bytes.length - 1] = 0;
}

/** Bytes of the string at the start of `bytes` with the 0 that ends it; all, when none does. */
export function stringSize(bytes: Uint8Array): number {
  const end = bytes.indexOf(0);
  return end === -1 ? bytes.length : end + 1;
}

/** The string at the start of `bytes`, without its end. */
export function pingText(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end === -1 ? bytes.length : end);
}
