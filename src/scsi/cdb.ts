/** What all command descriptor blocks have in common (SPC-4 4.2). */

/** Service actions of a shared operation code are in bits 4 to 0 of byte 1 (SPC-4 4.2.2.3.2). */
export const SERVICE_ACTION_MASK = 0x1f;
export const SERVICE_ACTION_BIT = 4;

/**
 * The first bit of `cdb` that is set although `usage` does not have it, as 8 x byte + bit; -1 when there
 * is none. Byte 0, the operation code, is not looked at. The last byte is CONTROL: no usage has NACA,
 * because ACA is not supported (SAM-5 5.2).
 */
export function findUnusedBit(cdb: Uint8Array, usage: readonly number[]): number {
  for (let i = 1; i < usage.length; i++) {
    const excess = cdb[i]! & ~usage[i]!;
    if (excess !== 0) return i * 8 + 31 - Math.clz32(excess);
  }
  return -1;
}
