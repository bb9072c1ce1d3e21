/** What all command descriptor blocks have in common (SPC-4 4.2). */

/** Service actions of a shared operation code are in bits 4 to 0 of byte 1 (SPC-4 4.2.2.3.2). */
export const SERVICE_ACTION_MASK = 0x1f;
const SERVICE_ACTION_BIT = 4;

/** The operation code of CDBs that say themselves how long they are (SPC-4 4.2.3); the 32-byte ones are all there is. */
export const VARIABLE_LENGTH = 0x7f;
/** ADDITIONAL CDB LENGTH, byte 7 of these: what follows byte 7. */
export const ADDITIONAL_CDB_LENGTH = 7;
export const ADDITIONAL_CDB_LENGTH_32 = 0x18;
/** Their SERVICE ACTION takes two bytes. */
const WIDE_SERVICE_ACTION = 8;

/** The service action of `cdb` whose operation code is a shared one. */
export function serviceActionOf(cdb: Uint8Array): number {
  if (cdb[0] !== VARIABLE_LENGTH) return cdb[1]! & SERVICE_ACTION_MASK;
  return (cdb[WIDE_SERVICE_ACTION]! << 8) | cdb[WIDE_SERVICE_ACTION + 1]!;
}

/** Byte offset of the service action of a CDB with this operation code, and the highest bit of it there. */
export function serviceActionOffset(opcode: number): number {
  return opcode === VARIABLE_LENGTH ? WIDE_SERVICE_ACTION : 1;
}

export function serviceActionBit(opcode: number): number {
  return opcode === VARIABLE_LENGTH ? 7 : SERVICE_ACTION_BIT;
}

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
