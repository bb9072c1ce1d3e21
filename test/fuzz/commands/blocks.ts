/** What a command may do to the medium, and what it must have done. */

import { blockCountField, logicalBlockAddress } from '../../../src/scsi/commands/block-range.js';

/** Blocks from the first up to, not including, the second. */
export type Blocks = readonly [first: number, end: number];

const READS: readonly number[] = [0x08, 0x28, 0xa8, 0x88];
/** Without and with verification. */
const WRITES: readonly number[] = [0x0a, 0x2a, 0xaa, 0x8a, 0x2e, 0xae, 0x8e, 0x9c];
const WRITE_SAMES: readonly number[] = [0x41, 0x93];
const WRITE_ATOMIC = 0x9c;
const COMPARE_AND_WRITE = 0x89;
const ORWRITE = 0x8b;
/** Those whose parameter list says where, and SANITIZE. They, but for UNMAP, may fail on the way. */
const UNMAP = 0x42;
const PIECEWISE: readonly number[] = [0x48, 0x83];

/** Service actions of 32-byte commands. */
const LONG = 0x7f;
const LONG_READ = 0x09;
const LONG_WRITES: readonly number[] = [0x0b, 0x0c];
const LONG_WRITE_SAME = 0x0d;
const LONG_ORWRITE = 0x0e;

const NONE: Blocks = [0, 0];

const isLong = (cdb: Buffer, ...serviceActions: readonly number[]): boolean =>
  cdb[0] === LONG && serviceActions.includes(cdb.readUInt16BE(8));

export const isRead = (cdb: Buffer): boolean => READS.includes(cdb[0]!) || isLong(cdb, LONG_READ);
export const isWrite = (cdb: Buffer): boolean => WRITES.includes(cdb[0]!) || isLong(cdb, ...LONG_WRITES);
/** Whether a failure may leave some of what the command was to do. */
export const isPiecewise = (cdb: Buffer): boolean => PIECEWISE.includes(cdb[0]!);

/** The blocks that a READ or WRITE names. */
export function namedBlocks(cdb: Buffer): Blocks {
  const lba = logicalBlockAddress(cdb);
  // Its transfer length has two bytes, behind what other 16-byte commands have there.
  const blocks = cdb[0] === WRITE_ATOMIC ? cdb.readUInt16BE(12) : blockCountField(cdb);
  return [lba, lba + (blocks === 0 && cdb[0]! < 0x20 ? 256 : blocks)];
}

/** The blocks of a medium of `count` that the command may change. */
export function writableBlocks(cdb: Buffer, count: number): Blocks {
  const opcode = cdb[0]!;
  if (opcode === UNMAP || isPiecewise(cdb)) return [0, count];
  if (opcode === COMPARE_AND_WRITE) return [logicalBlockAddress(cdb), logicalBlockAddress(cdb) + cdb[13]!];
  const [lba, end] = namedBlocks(cdb);
  if (WRITE_SAMES.includes(opcode) || isLong(cdb, LONG_WRITE_SAME)) return [lba, end > lba ? end : count];
  return isWrite(cdb) || opcode === ORWRITE || isLong(cdb, LONG_ORWRITE) ? [lba, end] : NONE;
}
