/** CDBs of the general layouts, for tests. `flags` are the bits of byte 1. */

import { putU64 } from '../../util/fields.js';

const u16 = (value: number): number[] => [(value >>> 8) & 0xff, value & 0xff];
const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value)];

function u64(value: number): number[] {
  const bytes = Buffer.alloc(8);
  putU64(bytes, 0, value);
  return [...bytes];
}

export function cdb6(opcode: number, lba: number, blocks: number): number[] {
  return [opcode, (lba >>> 16) & 0x1f, ...u16(lba), blocks, 0];
}

export function cdb10(opcode: number, flags: number, lba: number, blocks: number): number[] {
  return [opcode, flags, ...u32(lba), 0, ...u16(blocks), 0];
}

export function cdb12(opcode: number, flags: number, lba: number, blocks: number): number[] {
  return [opcode, flags, ...u32(lba), ...u32(blocks), 0, 0];
}

/** `lba` below 2^53. */
export function cdb16(opcode: number, flags: number, lba: number, blocks: number): number[] {
  return [opcode, flags, ...u64(lba), ...u32(blocks), 0, 0];
}

/** COMPARE AND WRITE. */
export function cdbCompareAndWrite(flags: number, lba: number, blocks: number): number[] {
  return [0x89, flags, ...u64(lba), 0, 0, 0, blocks, 0, 0];
}

/** UNMAP of a parameter list of `length` bytes. */
export function cdbUnmap(length: number): number[] {
  return [0x42, 0, 0, 0, 0, 0, 0, ...u16(length), 0];
}

/** The parameter list of an UNMAP: logical block address and number of blocks of each descriptor. */
export function unmapList(...descriptors: readonly (readonly [number, number])[]): Buffer {
  const length = 16 * descriptors.length;
  return Buffer.from([
    ...[...u16(length + 6), ...u16(length), 0, 0, 0, 0],
    ...descriptors.flatMap(([lba, blocks]) => [...u64(lba), ...u32(blocks), 0, 0, 0, 0]),
  ]);
}

/** A 32-byte CDB. `lba` below 2^53. */
export function cdb32(serviceAction: number, flags: number, lba: number, blocks: number): number[] {
  const head = [0x7f, 0, 0, 0, 0, 0, 0, 0x18, ...u16(serviceAction), flags, 0];
  return [...head, ...u64(lba), ...u64(0), ...u32(blocks)];
}
