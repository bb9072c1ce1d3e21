/**
 * WRITE SAME of SBC-3: one block of Data-Out, or of zeroes, written to many.
 *
 * Zeroes become one device operation, which may deallocate when UNMAP is set; so does any block that comes
 * with UNMAP, as unmapped blocks read as zeroes. Any other block is written out from a buffer full of it, piece by piece; `task.step` counts the bytes that are left behind the
 * piece under way. ANCHOR is not evaluated and therefore refused when set: no block is ever anchored.
 */

import { BlockOp, BlockStatus } from '../../block/device.js';
import { MAXIMUM_WRITE_SAME_BYTES } from '../limits.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import type { Task } from '../task.js';
import {
  blockCountField,
  blockCountOffset,
  flagsOf,
  flagsOffset,
  isInRange,
  layout32,
  logicalBlockAddress,
  usage10,
  usage16,
} from './block-range.js';

/** UNMAP, bit 3 of the flags. */
const UNMAP = 0x08;
const UNMAP_BIT = 3;
/** NDOB, bit 0 of the flags of WRITE SAME(16) and (32): there is no Data-Out, the block is all zeroes. */
const NDOB = 0x01;

/** The most that one device operation writes of a block that is not zeroes, in bytes. */
const PIECE_LENGTH = 1 << 20;

const LARGEST_BLOCK = 4096;
/** The block of the command whose Data-Out is being looked at. */
const block = Buffer.alloc(LARGEST_BLOCK);
const zeroes = Buffer.alloc(LARGEST_BLOCK);

function start(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  const { blockSize, configuration } = unit;
  const flags = flagsOf(cdb);
  const isUnmap = (flags & UNMAP) !== 0;
  if (isUnmap && configuration.provisioning !== 'thin') {
    unit.failField(task, flagsOffset(cdb), UNMAP_BIT);
    return;
  }
  const lba = logicalBlockAddress(cdb);
  let blocks = blockCountField(cdb);
  if (!isInRange(unit, lba, blocks)) {
    unit.fail(task, Sense.LBA_OUT_OF_RANGE);
    return;
  }
  if (blocks === 0) blocks = unit.blockCount - lba;
  if (blocks * blockSize > MAXIMUM_WRITE_SAME_BYTES) {
    unit.failField(task, blockCountOffset(cdb));
    return;
  }
  task.offset = lba * blockSize;
  task.length = blocks * blockSize;
  task.mayUnmap = isUnmap;
  if ((flags & NDOB) !== 0) {
    writeZeroes(task, unit);
    return;
  }
  task.transferLength = blockSize;
  // Data-Out that is not one block cannot be the block that is meant.
  if (task.dataOutLimit !== blockSize) {
    unit.fail(task, Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
    return;
  }
  unit.requestData(task, blockSize);
}

function received(task: Task, unit: LogicalUnit): void {
  const { blockSize } = unit;
  task.data.read(0, block, 0, blockSize);
  // UNMAP asks for unmapped blocks, whatever the block: so do other targets, and initiators rely on it.
  if (task.mayUnmap || block.compare(zeroes, 0, blockSize, 0, blockSize) === 0) {
    writeZeroes(task, unit);
    return;
  }
  if (!task.allocateScratch(Math.min(task.length, PIECE_LENGTH))) {
    unit.busy(task);
    return;
  }
  for (let at = 0; at < task.scratch.length; at += blockSize) task.scratch.write(at, block, 0, blockSize);
  task.swapBuffers();
  task.step = task.length;
  writePiece(task, unit);
}

/** Write zeroes to the `task.length` bytes at `task.offset`. */
function writeZeroes(task: Task, unit: LogicalUnit): void {
  if (task.length === 0) {
    unit.good(task);
    return;
  }
  task.op = BlockOp.WRITE_ZEROES;
  task.step = 0;
  unit.startDevice(task);
}

/** Write as much of the `task.step` bytes that are left as a piece takes. */
function writePiece(task: Task, unit: LogicalUnit): void {
  task.op = BlockOp.WRITE;
  task.length = Math.min(task.step, PIECE_LENGTH);
  task.step -= task.length;
  unit.startDevice(task);
}

function deviceDone(task: Task, unit: LogicalUnit): void {
  if (task.status !== BlockStatus.GOOD) {
    unit.failMedium(task);
  } else if (task.step === 0) {
    unit.good(task);
  } else {
    task.offset += task.length;
    writePiece(task, unit);
  }
}

const writing = { writesMedium: true, start, received, deviceDone };

export const writeSameOperations: readonly Operation[] = [
  { name: 'WRITE SAME(10)', opcode: 0x41, usage: usage10(0x41, UNMAP), ...writing },
  { name: 'WRITE SAME(16)', opcode: 0x93, usage: usage16(0x93, UNMAP | NDOB), ...writing },
  { name: 'WRITE SAME(32)', ...layout32(0x0d, UNMAP | NDOB), ...writing },
];
