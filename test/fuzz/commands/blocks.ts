/** What a command may do to the medium, and what it must have done. */

import { blockCountField, logicalBlockAddress } from '../../../src/scsi/commands/block-range.js';

/** Blocks from the first up to, not including, the second. */
export type Blocks = readonly [first: number, end: number];

const READS: readonly number[] = [0x08, 0x28, 0xa8, 0x88];
/** Without and with verification. */
const WRITES: readonly number[] = [0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e];
const WRITE_SAMES: readonly number[] = [0x41, 0x93];
const COMPARE_AND_WRITE = 0x89;
const ORWRITE: readonly number[] = [0x8b];
/** Those whose parameter list says where. */
const ANYWHERE: readonly number[] = [0x42];

const NONE: Blocks = [0, 0];

export const isRead = (cdb: Buffer): boolean => READS.includes(cdb[0]!);
export const isWrite = (cdb: Buffer): boolean => WRITES.includes(cdb[0]!);

/** The blocks that a READ or WRITE names. */
export function namedBlocks(cdb: Buffer): Blocks {
  const lba = logicalBlockAddress(cdb);
  const blocks = blockCountField(cdb);
  return [lba, lba + (blocks === 0 && cdb[0]! < 0x20 ? 256 : blocks)];
}

/** The blocks of a medium of `count` that the command may change. */
export function writableBlocks(cdb: Buffer, count: number): Blocks {
  const opcode = cdb[0]!;
  if (ANYWHERE.includes(opcode)) return [0, count];
  if (opcode === COMPARE_AND_WRITE) return [logicalBlockAddress(cdb), logicalBlockAddress(cdb) + cdb[13]!];
  const [lba, end] = namedBlocks(cdb);
  if (WRITE_SAMES.includes(opcode)) return [lba, end > lba ? end : count];
  return isWrite(cdb) || ORWRITE.includes(opcode) ? [lba, end] : NONE;
}
