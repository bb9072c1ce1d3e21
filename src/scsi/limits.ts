/**
 * The limits of the commands that carry blocks: what VPD page B0h (Block Limits, SBC-3)
 * announces and the command families enforce. Counts are in logical blocks unless a name says bytes;
 * limits on work and memory are in bytes, so that they hold for 512- and 4096-byte blocks alike.
 */

/**
 * Most bytes that one command transfers. A command buffers its Data-Out, and the Data-In that a device
 * does not lend, as a whole: this bounds the memory of a command.
 */
export const MAXIMUM_TRANSFER_BYTES = 8 << 20;

/** MAXIMUM TRANSFER LENGTH for a block size in bytes: READ, WRITE, VERIFY, WRITE AND VERIFY, ORWRITE. */
export function maximumTransferBlocks(blockSize: number): number {
  return MAXIMUM_TRANSFER_BYTES / blockSize;
}

/** OPTIMAL TRANSFER LENGTH in bytes: a few buffers of the I/O path. */
export const OPTIMAL_TRANSFER_BYTES = 1 << 20;

/** MAXIMUM COMPARE AND WRITE LENGTH: the most that its one-byte field can say. */
export const MAXIMUM_COMPARE_AND_WRITE_BLOCKS = 255;

/** MAXIMUM UNMAP LBA COUNT: the sum over all descriptors of one UNMAP. */
export const MAXIMUM_UNMAP_LBA_COUNT = 1 << 20;

/** MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT. */
export const MAXIMUM_UNMAP_DESCRIPTORS = 256;

/**
 * Most bytes that one WRITE SAME covers: a pattern other than zeroes has to be written out, and one
 * command is not to keep the device busy for long.
 */
export const MAXIMUM_WRITE_SAME_BYTES = 16 << 20;

/**
 * MAXIMUM WRITE SAME LENGTH for a block size in bytes. Below 65536, because an initiator may expect to
 * WRITE in one command what it can WRITE SAME in one when its count takes more than two bytes.
 */
export function maximumWriteSameBlocks(blockSize: number): number {
  return MAXIMUM_WRITE_SAME_BYTES / blockSize;
}

/** WSNZ: whether WRITE SAME refuses zero as its number of blocks. Here zero means up to the last block. */
export const WRITE_SAME_NON_ZERO = false;

/** MAXIMUM ATOMIC TRANSFER LENGTH for what a device promises (`atomicWriteLimit`) and a block size, both in bytes. */
export function maximumAtomicTransferBlocks(atomicWriteLimit: number, blockSize: number): number {
  return Math.min(atomicWriteLimit, MAXIMUM_TRANSFER_BYTES) / blockSize;
}
