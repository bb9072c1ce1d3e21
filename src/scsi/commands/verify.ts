/**
 * VERIFY and WRITE AND VERIFY of SBC-3: read the medium, and compare it with
 * Data-Out when BYTCHK says so.
 */

import { BlockOp, BlockStatus } from '../../block/device.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Counted } from '../statistics.js';
import type { Task } from '../task.js';
import {
  blockCountField,
  DPO,
  flagsOf,
  flagsOffset,
  layout32,
  logicalBlockAddress,
  usage10,
  usage12,
  usage16,
} from './block-range.js';
import { failMiscompare, firstDifference } from './compare.js';
import { pieceOffset, pieceRead, readMedium, readNextPiece } from './medium-pieces.js';
import { isAcceptable, requestBlocks, writeBlocks } from './read-write.js';

/** BYTCHK, bits 2 and 1 of the flags; 10b is reserved. */
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

function byteCheck(task: Task): number {
  return (flagsOf(task.cdb) & BYTCHK_MASK) >> BYTCHK_SHIFT;
}

// ---- VERIFY ----

function startVerify(task: Task, unit: LogicalUnit): void {
  const check = byteCheck(task);
  if (check === 2) {
    unit.failField(task, flagsOffset(task.cdb), BYTCHK_HIGHEST_BIT);
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
  readMedium(task, unit, blockCountField(task.cdb) * unit.blockSize, comparePiece);
}

function verifyDone(task: Task, unit: LogicalUnit): void {
  pieceRead(task, unit, comparePiece);
}

// ---- WRITE AND VERIFY ----

function writeAndVerifyReceived(task: Task, unit: LogicalUnit): void {
  // What is verified is the medium, so that the data has to be there.
  task.fua = true;
  writeBlocks(task, unit);
}

function writeAndVerifyDone(task: Task, unit: LogicalUnit): void {
  if (task.op === BlockOp.READ) verifyDone(task, unit);
  else if (task.status !== BlockStatus.GOOD) unit.failMedium(task);
  else readMedium(task, unit, task.data.length, comparePiece);
}

// ---- the comparison ----

function comparePiece(task: Task, unit: LogicalUnit): void {
  const difference = differenceInPiece(task, unit.blockSize);
  if (difference >= 0) failMiscompare(task, unit, difference);
  else if (!readNextPiece(task, unit)) unit.good(task);
}

/** Offset in Data-Out of the first byte that the piece does not have, or -1. */
function differenceInPiece(task: Task, blockSize: number): number {
  const { data, scratch, length } = task;
  switch (byteCheck(task)) {
    case ByteCheck.EACH: {
      const before = pieceOffset(task);
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

const verifying = { readsMedium: true, start: startVerify, received: verify, deviceDone: verifyDone };
const writing = {
  counted: Counted.WRITE,
  writesMedium: true,
  start: requestBlocks,
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
  { name: 'VERIFY(32)', ...layout32(0x0a, VERIFY_FLAGS), ...verifying },
  { name: 'WRITE AND VERIFY(32)', ...layout32(0x0c, WRITE_AND_VERIFY_FLAGS), ...writing },
];
