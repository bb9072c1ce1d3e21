/**
 * VERIFY and WRITE AND VERIFY of SBC-3: read the medium, and compare it with
 * Data-Out when BYTCHK says so.
 *
 * The medium is read in pieces into `task.scratch`, so that a command needs a bounded buffer besides
 * its Data-Out; MAXIMUM TRANSFER LENGTH bounds the work. `task.step` counts the bytes of the range that
 * are left behind the piece that is under way. Where the device lends its memory nothing is read.
 */

import { BlockOp, BlockStatus } from '../../block/device.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import type { Task } from '../task.js';
import { blockCountField, DPO, logicalBlockAddress, usage10, usage12, usage16 } from './block-range.js';
import { failMiscompare, firstDifference } from './compare.js';
import { isAcceptable, lengthToReceive } from './read-write.js';

/** BYTCHK, bits 2 and 1 of byte 1; 10b is reserved. */
const ByteCheck = {
  /** Read the medium, compare nothing; VERIFY has no Data-Out. */
  NONE: 0,
  /** Compare each block with its own block of Data-Out. */
  EACH: 1,
  /** Compare each block with the one block of Data-Out. */
  SAME: 3,
} as const;

const BYTCHK_SHIFT = 1;
const BYTCHK_MASK = 0x06;
const BYTCHK_HIGHEST_BIT = 2;

/** The most that one device operation reads, in bytes. */
const PIECE_LENGTH = 1 << 20;

function byteCheck(task: Task): number {
  return (task.cdb[1]! & BYTCHK_MASK) >> BYTCHK_SHIFT;
}

// ---- VERIFY ----

function startVerify(task: Task, unit: LogicalUnit): void {
  const check = byteCheck(task);
  if (check === 2) {
    unit.failField(task, 1, BYTCHK_HIGHEST_BIT);
    return;
  }
  const blocks = blockCountField(task.cdb);
  if (!isAcceptable(task, unit, logicalBlockAddress(task.cdb), blocks)) return;
  if (blocks === 0) unit.good(task);
  else if (check === ByteCheck.NONE) verify(task, unit);
  else unit.requestData(task, (check === ByteCheck.SAME ? 1 : blocks) * unit.blockSize);
}

/** Begin to verify the whole range of the CDB. */
function verify(task: Task, unit: LogicalUnit): void {
  verifyRange(task, unit, blockCountField(task.cdb) * unit.blockSize);
}

// ---- WRITE AND VERIFY ----

function startWriteAndVerify(task: Task, unit: LogicalUnit): void {
  const lba = logicalBlockAddress(task.cdb);
  const blocks = blockCountField(task.cdb);
  if (!isAcceptable(task, unit, lba, blocks)) return;
  task.transferLength = blocks * unit.blockSize;
  const length = lengthToReceive(task, unit.blockSize);
  if (length === 0) unit.good(task);
  else unit.requestData(task, length);
}

function writeAndVerifyReceived(task: Task, unit: LogicalUnit): void {
  task.op = BlockOp.WRITE;
  task.offset = logicalBlockAddress(task.cdb) * unit.blockSize;
  task.length = task.data.length;
  // What is verified is the medium, so that the data has to be there.
  task.fua = true;
  unit.startDevice(task);
}

function writeAndVerifyDone(task: Task, unit: LogicalUnit): void {
  if (task.op === BlockOp.READ) pieceRead(task, unit);
  else if (task.status !== BlockStatus.GOOD) unit.failMedium(task);
  else verifyRange(task, unit, task.data.length);
}

// ---- the medium, piece by piece ----

/** Verify `length` bytes from the CDB's logical block address on; Data-Out to compare with is in `task.data`. */
function verifyRange(task: Task, unit: LogicalUnit, length: number): void {
  task.offset = logicalBlockAddress(task.cdb) * unit.blockSize;
  task.length = length;
  task.step = 0;
  if (unit.device.lend(task.scratch, task.offset, length, false)) {
    comparePiece(task, unit);
    return;
  }
  if (!task.allocateScratch(Math.min(length, PIECE_LENGTH))) {
    unit.busy(task);
    return;
  }
  task.step = length;
  readPiece(task, unit);
}

/** Read as much of the `task.step` bytes that are left as a piece takes. */
function readPiece(task: Task, unit: LogicalUnit): void {
  task.op = BlockOp.READ;
  task.length = Math.min(task.step, PIECE_LENGTH);
  task.step -= task.length;
  task.swapBuffers();
  unit.startDevice(task);
}

function pieceRead(task: Task, unit: LogicalUnit): void {
  task.swapBuffers();
  if (task.status !== BlockStatus.GOOD) {
    unit.failMedium(task);
    return;
  }
  comparePiece(task, unit);
}

/** `task.length` bytes of the medium are in `task.scratch`: compare them, then go on or end. */
function comparePiece(task: Task, unit: LogicalUnit): void {
  const difference = differenceInPiece(task, unit.blockSize);
  if (difference >= 0) {
    failMiscompare(task, unit, difference);
  } else if (task.step === 0) {
    unit.good(task);
  } else {
    task.offset += task.length;
    readPiece(task, unit);
  }
}

/** Offset in Data-Out of the first byte that the piece does not have, or -1. */
function differenceInPiece(task: Task, blockSize: number): number {
  const { data, scratch, length } = task;
  switch (byteCheck(task)) {
    case ByteCheck.EACH: {
      const before = data.length - task.step - length;
      const difference = firstDifference(data, before, scratch, 0, length);
      return difference < 0 ? -1 : before + difference;
    }
    case ByteCheck.SAME:
      for (let at = 0; at < length; at += blockSize) {
        const difference = firstDifference(data, 0, scratch, at, blockSize);
        if (difference >= 0) return difference;
      }
      return -1;
    default:
      return -1;
  }
}

const VERIFY_FLAGS = DPO | BYTCHK_MASK;
/** BYTCHK of WRITE AND VERIFY is 00b or 01b: there is no block to write more than once. */
const WRITE_AND_VERIFY_FLAGS = DPO | (ByteCheck.EACH << BYTCHK_SHIFT);

const verifying = { start: startVerify, received: verify, deviceDone: pieceRead };
const writing = {
  writesMedium: true,
  start: startWriteAndVerify,
  received: writeAndVerifyReceived,
  deviceDone: writeAndVerifyDone,
};

export const verifyOperations: readonly Operation[] = [
  { name: 'WRITE AND VERIFY(10)', opcode: 0x2e, usage: usage10(0x2e, WRITE_AND_VERIFY_FLAGS), ...writing },
  { name: 'VERIFY(10)', opcode: 0x2f, usage: usage10(0x2f, VERIFY_FLAGS), ...verifying },
  { name: 'WRITE AND VERIFY(16)', opcode: 0x8e, usage: usage16(0x8e, WRITE_AND_VERIFY_FLAGS), ...writing },
  { name: 'VERIFY(16)', opcode: 0x8f, usage: usage16(0x8f, VERIFY_FLAGS), ...verifying },
  { name: 'WRITE AND VERIFY(12)', opcode: 0xae, usage: usage12(0xae, WRITE_AND_VERIFY_FLAGS), ...writing },
  { name: 'VERIFY(12)', opcode: 0xaf, usage: usage12(0xaf, VERIFY_FLAGS), ...verifying },
];
