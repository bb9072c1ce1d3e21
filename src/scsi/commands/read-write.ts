/**
 * READ and WRITE of SBC-3: the I/O path. Nothing here allocates.
 *
 * Those of 32 bytes are there whatever the protection, as in other targets; SBC-3 has them for type 2 protection.
 *
 * Where the device lends its memory, a READ is answered from there and a WRITE received into it, and
 * neither is submitted to the device. RDPROTECT and WRPROTECT are not evaluated and therefore refused
 * when set: there is no protection information.
 */

import { BlockOp, BlockStatus } from '../../block/device.js';
import { MAXIMUM_TRANSFER_BYTES } from '../limits.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import { Counted } from '../statistics.js';
import type { Task } from '../task.js';
import { PartStep, partDone, writeWithPart } from './partial-write.js';
import {
  blockCountField,
  blockCountOffset,
  DPO,
  flagsOf,
  FUA,
  FUA_NV,
  isInRange,
  layout32,
  logicalBlockAddress,
  usage10,
  usage12,
  usage16,
} from './block-range.js';

/** What TRANSFER LENGTH 0 means in READ(6) and WRITE(6), and only there. */
const DEFAULT_TRANSFER_LENGTH_6 = 256;

/** `task.step` of a WRITE: where its Data-Out goes. */
const RECEIVES_INTO_BUFFERS = 0;
const RECEIVES_INTO_DEVICE = 1;

function startRead(task: Task, unit: LogicalUnit): void {
  task.fua = (flagsOf(task.cdb) & FUA) !== 0;
  read(task, unit, blockCountField(task.cdb));
}

function startRead6(task: Task, unit: LogicalUnit): void {
  read(task, unit, blockCountField(task.cdb) || DEFAULT_TRANSFER_LENGTH_6);
}

/** Answer with `blocks` blocks from the CDB's logical block address on; `task.fua` is set. */
export function read(task: Task, unit: LogicalUnit, blocks: number): void {
  const lba = logicalBlockAddress(task.cdb);
  if (!isAcceptable(task, unit, lba, blocks)) return;
  const blockSize = unit.blockSize;
  const length = blocks * blockSize;
  task.transferLength = length;
  // What the initiator cannot take need not be read.
  const wanted = Math.min(length, Math.ceil(task.dataInLimit / blockSize) * blockSize);
  if (wanted === 0) {
    unit.good(task);
    return;
  }
  const offset = lba * blockSize;
  task.offset = offset;
  if (task.mayLend && unit.device.lend(task.data, offset, wanted, false)) {
    task.dataInLength = wanted;
    unit.good(task);
    return;
  }
  if (!task.allocate(wanted)) {
    unit.busy(task);
  } else if (task.fua) {
    // What is read must be on the medium, so what is newer in the cache goes there first.
    task.op = BlockOp.FLUSH;
    task.length = 0;
    unit.startDevice(task);
  } else {
    readIntoBuffer(task, unit);
  }
}

function readIntoBuffer(task: Task, unit: LogicalUnit): void {
  task.op = BlockOp.READ;
  task.length = task.data.length;
  unit.startDevice(task);
}

export function readDone(task: Task, unit: LogicalUnit): void {
  if (task.status !== BlockStatus.GOOD) {
    unit.failMedium(task);
  } else if (task.op === BlockOp.FLUSH) {
    readIntoBuffer(task, unit);
  } else {
    task.dataInLength = task.length;
    unit.good(task);
  }
}

function startWrite(task: Task, unit: LogicalUnit): void {
  task.fua = (flagsOf(task.cdb) & FUA) !== 0;
  write(task, unit, blockCountField(task.cdb));
}

function startWrite6(task: Task, unit: LogicalUnit): void {
  write(task, unit, blockCountField(task.cdb) || DEFAULT_TRANSFER_LENGTH_6);
}

/** WRITE's common part, up to the request for Data-Out; `task.fua` is set. */
function write(task: Task, unit: LogicalUnit, blocks: number): void {
  const lba = logicalBlockAddress(task.cdb);
  if (!isAcceptable(task, unit, lba, blocks)) return;
  const blockSize = unit.blockSize;
  task.transferLength = blocks * blockSize;
  const length = Math.min(task.dataOutLimit, task.transferLength);
  if (length === 0) {
    unit.good(task);
    return;
  }
  task.op = BlockOp.WRITE;
  task.offset = lba * blockSize;
  task.length = length;
  if (length % blockSize !== 0) {
    task.step = PartStep.RECEIVE;
  } else if (task.mayLend && unit.device.lend(task.data, task.offset, length, true)) {
    task.step = RECEIVES_INTO_DEVICE;
    if (unit.copies.watches) unit.copies.changing(task);
  } else {
    task.step = RECEIVES_INTO_BUFFERS;
  }
  unit.requestData(task, length);
}

function writeReceived(task: Task, unit: LogicalUnit): void {
  // Memory that a device lends is all the storage there is: force unit access asks for nothing more.
  if (task.step === RECEIVES_INTO_DEVICE) unit.good(task);
  else if (task.step === PartStep.RECEIVE) writeWithPart(task, unit);
  else unit.startDevice(task);
}

/** `task.step` says which kind of WRITE it is; that of a part goes on. */
function writeStepDone(task: Task, unit: LogicalUnit): void {
  if (task.step < PartStep.RECEIVE) writeDone(task, unit);
  else partDone(task, unit);
}

/** What a command does that has nothing to do after its write. */
export function writeDone(task: Task, unit: LogicalUnit): void {
  if (task.status !== BlockStatus.GOOD) unit.failMedium(task);
  else unit.good(task);
}

/** The checks that come before any data moves. False when the task was ended. */
export function isAcceptable(task: Task, unit: LogicalUnit, lba: number, blocks: number): boolean {
  if (!isInRange(unit, lba, blocks)) {
    unit.fail(task, Sense.LBA_OUT_OF_RANGE);
    return false;
  }
  if (blocks * unit.blockSize > MAXIMUM_TRANSFER_BYTES) {
    unit.failField(task, blockCountOffset(task.cdb));
    return false;
  }
  return true;
}

/**
 * How many of the `task.transferLength` bytes of a command to ask for that takes blocks. When the initiator announces
 * fewer, but whole, blocks, these are used, and the overflow residual tells what is missing (RFC 7143 11.4.5.2);
 * one that announces part of a block is refused by requestData.
 */
function lengthToReceive(task: Task, blockSize: number): number {
  const limit = task.dataOutLimit;
  return limit < task.transferLength && limit % blockSize === 0 ? limit : task.transferLength;
}

/** The start of a command that takes the blocks of a WRITE into buffers, to use them before they are written. */
export function requestBlocks(task: Task, unit: LogicalUnit): void {
  const blocks = blockCountField(task.cdb);
  if (!isAcceptable(task, unit, logicalBlockAddress(task.cdb), blocks)) return;
  task.transferLength = blocks * unit.blockSize;
  const length = lengthToReceive(task, unit.blockSize);
  if (length === 0) unit.good(task);
  else unit.requestData(task, length);
}

/** Write all of `task.data` from the CDB's logical block address on; `task.fua` is set. */
export function writeBlocks(task: Task, unit: LogicalUnit): void {
  task.op = BlockOp.WRITE;
  task.offset = logicalBlockAddress(task.cdb) * unit.blockSize;
  task.length = task.data.length;
  unit.startDevice(task);
}

/** A READ needs nothing for FUA: no cache here ever holds other data than the medium's readers get. */
const FLAGS = DPO | FUA | FUA_NV;
const usage6 = (opcode: number): readonly number[] => [opcode, 0x1f, 0xff, 0xff, 0xff, 0x00];

const reading = { counted: Counted.READ, readsMedium: true, start: startRead, deviceDone: readDone };
const writing = {
  counted: Counted.WRITE,
  writesMedium: true,
  start: startWrite,
  received: writeReceived,
  deviceDone: writeStepDone,
};

export const readWriteOperations: readonly Operation[] = [
  { name: 'READ(6)', opcode: 0x08, usage: usage6(0x08), ...reading, start: startRead6 },
  { name: 'WRITE(6)', opcode: 0x0a, usage: usage6(0x0a), ...writing, start: startWrite6 },
  { name: 'READ(10)', opcode: 0x28, usage: usage10(0x28, FLAGS), ...reading },
  { name: 'WRITE(10)', opcode: 0x2a, usage: usage10(0x2a, FLAGS), ...writing },
  { name: 'READ(16)', opcode: 0x88, usage: usage16(0x88, FLAGS), ...reading },
  { name: 'WRITE(16)', opcode: 0x8a, usage: usage16(0x8a, FLAGS), ...writing },
  { name: 'READ(12)', opcode: 0xa8, usage: usage12(0xa8, FLAGS), ...reading },
  { name: 'WRITE(12)', opcode: 0xaa, usage: usage12(0xaa, FLAGS), ...writing },
  { name: 'READ(32)', ...layout32(0x09, FLAGS), ...reading },
  { name: 'WRITE(32)', ...layout32(0x0b, FLAGS), ...writing },
];
