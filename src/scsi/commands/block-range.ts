/**
 * Which blocks a command is for: the LOGICAL BLOCK ADDRESS and the block count of the CDBs that follow
 * the general layouts for 6, 10, 12, 16 and 32 bytes (SPC-4, CDB formats), and the one range check.
 *
 * A CDB's layout follows from its group code, bits 7 to 5 of the operation code. One byte holds the flags that
 * the commands share: byte 1, or byte 10 of 32.
 */

import { getU16, getU32, getU64 } from '../../util/fields.js';
import { ADDITIONAL_CDB_LENGTH_32, VARIABLE_LENGTH } from '../cdb.js';
import type { LogicalUnit } from '../logical-unit.js';

const GROUP_SHIFT = 5;
const GROUP_6_BYTES = 0;
const GROUP_32_BYTES = 3;
const GROUP_16_BYTES = 4;
const GROUP_12_BYTES = 5;

/** DPO, bit 4 of the flags. A hint about caching that needs no obeying. */
export const DPO = 0x10;
/** FUA, bit 3 of the flags: the data is on stable storage before the status. */
export const FUA = 0x08;
/** FUA_NV, bit 1 of the flags: asks for no more than FUA does, obsolete since SBC-3; accepted and not needed. */
export const FUA_NV = 0x02;
/** GROUP NUMBER. Grouping is not supported, so that the number has no effect. */
export const GROUP_NUMBER = 0x1f;

/** Byte offset of the flags. */
export function flagsOffset(cdb: Uint8Array): number {
  return cdb[0]! >>> GROUP_SHIFT === GROUP_32_BYTES ? 10 : 1;
}

/** The byte of DPO, FUA and what else the layouts have there. */
export function flagsOf(cdb: Uint8Array): number {
  return cdb[flagsOffset(cdb)]!;
}

/** LOGICAL BLOCK ADDRESS. Above 2^53 it is not exact, but then no smaller than 2^53. */
export function logicalBlockAddress(cdb: Uint8Array): number {
  switch (cdb[0]! >>> GROUP_SHIFT) {
    case GROUP_6_BYTES:
      return ((cdb[1]! & 0x1f) << 16) | (cdb[2]! << 8) | cdb[3]!;
    case GROUP_16_BYTES:
      return getU64(cdb, 2);
    case GROUP_32_BYTES:
      return getU64(cdb, 12);
    default:
      return getU32(cdb, 2);
  }
}

/** TRANSFER LENGTH, VERIFICATION LENGTH or NUMBER OF LOGICAL BLOCKS, as it stands in the CDB. */
export function blockCountField(cdb: Uint8Array): number {
  switch (cdb[0]! >>> GROUP_SHIFT) {
    case GROUP_6_BYTES:
      return cdb[4]!;
    case GROUP_16_BYTES:
      return getU32(cdb, 10);
    case GROUP_12_BYTES:
      return getU32(cdb, 6);
    case GROUP_32_BYTES:
      return getU32(cdb, 28);
    default:
      return getU16(cdb, 7);
  }
}

/** Byte offset of that field, for a field pointer. */
export function blockCountOffset(cdb: Uint8Array): number {
  switch (cdb[0]! >>> GROUP_SHIFT) {
    case GROUP_6_BYTES:
      return 4;
    case GROUP_16_BYTES:
      return 10;
    case GROUP_12_BYTES:
      return 6;
    case GROUP_32_BYTES:
      return 28;
    default:
      return 7;
  }
}

/** Whether `blocks` blocks from `lba` on are on the medium; no blocks are even right behind its last one. */
export function isInRange(unit: LogicalUnit, lba: number, blocks: number): boolean {
  // The sum cannot wrap: an address at or above 2^53 exceeds any capacity whatever is added to it.
  return lba + blocks <= unit.blockCount;
}

const whole = (bytes: number): number[] => new Array<number>(bytes).fill(0xff);

/** CDB usage data of the layouts; `flags` are the bits of byte 1 that the command evaluates. */
export function usage10(opcode: number, flags: number): readonly number[] {
  return [opcode, flags, ...whole(4), GROUP_NUMBER, ...whole(2), 0x00];
}

export function usage12(opcode: number, flags: number): readonly number[] {
  return [opcode, flags, ...whole(4), ...whole(4), GROUP_NUMBER, 0x00];
}

export function usage16(opcode: number, flags: number): readonly number[] {
  return [opcode, flags, ...whole(8), ...whole(4), GROUP_NUMBER, 0x00];
}

/**
 * The operation code, service action and CDB usage data of a 32-byte command. Its fields for protection information are
 * evaluated by no command with RDPROTECT or WRPROTECT zero, and so may hold anything, as initiators leave them.
 */
export function layout32(
  serviceAction: number,
  flags: number,
): { opcode: number; serviceAction: number; usage: readonly number[] } {
  const identity = [VARIABLE_LENGTH, 0x00, 0, 0, 0, 0, GROUP_NUMBER, ADDITIONAL_CDB_LENGTH_32, 0xff, 0xff];
  const usage = [...identity, flags, 0x00, ...whole(8), ...whole(8), ...whole(4)];
  return { opcode: VARIABLE_LENGTH, serviceAction, usage };
}
