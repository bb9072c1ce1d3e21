/**
 * Logical block provisioning: UNMAP gives blocks back, GET LBA STATUS tells which ones are mapped
 * (SBC-3, logical block provisioning).
 */

import { BlockOp, BlockStatus } from '../../block/device.js';
import { getU16, getU32, getU64, putU32, putU64 } from '../../util/fields.js';
import { MAXIMUM_UNMAP_DESCRIPTORS, MAXIMUM_UNMAP_LBA_COUNT } from '../limits.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import { Counted } from '../statistics.js';
import type { Task } from '../task.js';
import { GROUP_NUMBER, isInRange, logicalBlockAddress } from './block-range.js';

// ---- UNMAP ----

/** PARAMETER LIST LENGTH of the CDB. */
const PARAMETER_LIST_LENGTH = 7;
/** The UNMAP parameter list: a header, then UNMAP block descriptors. */
const UNMAP_DATA_LENGTH = 0;
const BLOCK_DESCRIPTOR_DATA_LENGTH = 2;
const HEADER_LENGTH = 8;
const DESCRIPTOR_LENGTH = 16;
const DESCRIPTOR_LBA = 0;
const DESCRIPTOR_BLOCKS = 8;

/** The header or descriptor that is being looked at. */
const header = Buffer.alloc(HEADER_LENGTH);
const descriptor = Buffer.alloc(DESCRIPTOR_LENGTH);

function startUnmap(task: Task, unit: LogicalUnit): void {
  const length = getU16(task.cdb, PARAMETER_LIST_LENGTH);
  if (length === 0) unit.good(task);
  else if (length < HEADER_LENGTH) unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
  else unit.requestData(task, length);
}

/** Look at the whole list before anything is unmapped. */
function unmapReceived(task: Task, unit: LogicalUnit): void {
  const listLength = task.data.length;
  task.data.read(0, header, 0, HEADER_LENGTH);
  const dataLength = getU16(header, UNMAP_DATA_LENGTH) + 2; // It does not count itself.
  const descriptorsEnd = getU16(header, BLOCK_DESCRIPTOR_DATA_LENGTH) + HEADER_LENGTH;
  if (dataLength > listLength || descriptorsEnd > listLength) {
    unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
    return;
  }
  const count = descriptorCount(task);
  if (count > MAXIMUM_UNMAP_DESCRIPTORS) {
    unit.failParameter(task, BLOCK_DESCRIPTOR_DATA_LENGTH);
    return;
  }
  let total = 0;
  for (let i = 0; i < count; i++) {
    readDescriptor(task, i);
    const blocks = getU32(descriptor, DESCRIPTOR_BLOCKS);
    if (!isInRange(unit, getU64(descriptor, DESCRIPTOR_LBA), blocks)) {
      unit.fail(task, Sense.LBA_OUT_OF_RANGE);
      return;
    }
    total += blocks;
    if (total > MAXIMUM_UNMAP_LBA_COUNT) {
      unit.failParameter(task, HEADER_LENGTH + i * DESCRIPTOR_LENGTH + DESCRIPTOR_BLOCKS);
      return;
    }
  }
  task.step = 0;
  unmapNext(task, unit);
}

/** Unmap the blocks of descriptor `task.step`, or of the next one that has any. */
function unmapNext(task: Task, unit: LogicalUnit): void {
  const count = descriptorCount(task);
  while (task.step < count) {
    readDescriptor(task, task.step++);
    const blocks = getU32(descriptor, DESCRIPTOR_BLOCKS);
    if (blocks === 0) continue;
    task.op = BlockOp.UNMAP;
    task.offset = getU64(descriptor, DESCRIPTOR_LBA) * unit.blockSize;
    task.length = blocks * unit.blockSize;
    unit.startDevice(task);
    return;
  }
  unit.good(task);
}

function unmapDone(task: Task, unit: LogicalUnit): void {
  if (task.status !== BlockStatus.GOOD) unit.failMedium(task);
  else unmapNext(task, unit);
}

/** Block descriptors in the list; an incomplete one at its end does not count. */
function descriptorCount(task: Task): number {
  task.data.read(0, header, 0, HEADER_LENGTH);
  return Math.floor(getU16(header, BLOCK_DESCRIPTOR_DATA_LENGTH) / DESCRIPTOR_LENGTH);
}

function readDescriptor(task: Task, index: number): void {
  task.data.read(HEADER_LENGTH + index * DESCRIPTOR_LENGTH, descriptor, 0, DESCRIPTOR_LENGTH);
}

// ---- GET LBA STATUS ----

/** ALLOCATION LENGTH of the CDB. */
const ALLOCATION_LENGTH = 10;
/** GET LBA STATUS parameter data: a header, then LBA status descriptors. */
const STATUS_HEADER_LENGTH = 8;
const STATUS_DESCRIPTOR_LENGTH = 16;
const STATUS_LBA = 0;
const STATUS_BLOCKS = 8;
const STATUS_STATE = 12;
/** PROVISIONING STATUS of an LBA status descriptor. */
const ProvisioningStatus = { MAPPED: 0, DEALLOCATED: 1 } as const;

/** The most descriptors in one answer, and how often the device is asked for them. */
const MAXIMUM_STATUS_DESCRIPTORS = 256;
const MAXIMUM_LOOKS = 1024;
/** The most blocks that NUMBER OF LOGICAL BLOCKS can tell. */
const MAXIMUM_RUN = 0xffff_ffff;

/** The LBA status descriptor that is being written, or read again to make it longer. */
const status = Buffer.alloc(STATUS_DESCRIPTOR_LENGTH);

/**
 * The answer grows in `task.data` and `task.dataInLength`, with descriptors as many as the allocation length
 * has room for; `task.step` counts how often the device was asked.
 */
function startGetLbaStatus(task: Task, unit: LogicalUnit): void {
  const lba = logicalBlockAddress(task.cdb);
  if (!isInRange(unit, lba, 1)) {
    unit.fail(task, Sense.LBA_OUT_OF_RANGE);
    return;
  }
  const wanted = Math.ceil(
    (getU32(task.cdb, ALLOCATION_LENGTH) - STATUS_HEADER_LENGTH) / STATUS_DESCRIPTOR_LENGTH,
  );
  const room = Math.min(Math.max(wanted, 1), MAXIMUM_STATUS_DESCRIPTORS);
  if (!task.allocate(STATUS_HEADER_LENGTH + room * STATUS_DESCRIPTOR_LENGTH)) {
    unit.busy(task);
    return;
  }
  task.data.fill(0, 0, STATUS_HEADER_LENGTH);
  task.dataInLength = STATUS_HEADER_LENGTH;
  task.op = BlockOp.EXTENTS;
  task.offset = lba * unit.blockSize;
  task.step = 0;
  if (unit.configuration.provisioning === 'thin') {
    lookFurther(task, unit);
    return;
  }
  while (aimAtNextRun(task, unit) && addRun(task, unit, task.length, true)) task.offset += task.length;
  replyLbaStatus(task, unit);
}

/** Ask the device about what is behind the runs that are known. */
function lookFurther(task: Task, unit: LogicalUnit): void {
  if (task.step++ === MAXIMUM_LOOKS || !aimAtNextRun(task, unit)) replyLbaStatus(task, unit);
  else unit.startDevice(task);
}

function extentsTold(task: Task, unit: LogicalUnit): void {
  if (task.status !== BlockStatus.GOOD) {
    unit.failMedium(task);
    return;
  }
  for (const { length, mapped } of task.extents) {
    if (!addRun(task, unit, length, mapped)) {
      replyLbaStatus(task, unit);
      return;
    }
    task.offset += length;
  }
  lookFurther(task, unit);
}

/** Set `task.length` to the longest run that can follow at `task.offset`. False at the end of the medium. */
function aimAtNextRun(task: Task, unit: LogicalUnit): boolean {
  task.length =
    Math.min(unit.blockCount, task.offset / unit.blockSize + MAXIMUM_RUN) * unit.blockSize - task.offset;
  return task.length > 0;
}

/**
 * Append `length` bytes at `task.offset`, to the last descriptor if it is in the same state. False when there
 * is no room for them.
 */
function addRun(task: Task, unit: LogicalUnit, length: number, mapped: boolean): boolean {
  const { data, dataInLength } = task;
  const blocks = length / unit.blockSize;
  const state = mapped ? ProvisioningStatus.MAPPED : ProvisioningStatus.DEALLOCATED;
  if (dataInLength > STATUS_HEADER_LENGTH) {
    const last = dataInLength - STATUS_DESCRIPTOR_LENGTH;
    data.read(last, status, 0, STATUS_DESCRIPTOR_LENGTH);
    const total = getU32(status, STATUS_BLOCKS) + blocks;
    if (status[STATUS_STATE] === state && total <= MAXIMUM_RUN) {
      putU32(status, STATUS_BLOCKS, total);
      data.write(last, status, 0, STATUS_DESCRIPTOR_LENGTH);
      return true;
    }
  }
  if (dataInLength + STATUS_DESCRIPTOR_LENGTH > data.length) return false;
  status.fill(0);
  putU64(status, STATUS_LBA, task.offset / unit.blockSize);
  putU32(status, STATUS_BLOCKS, blocks);
  status[STATUS_STATE] = state;
  data.write(dataInLength, status, 0, STATUS_DESCRIPTOR_LENGTH);
  task.dataInLength += STATUS_DESCRIPTOR_LENGTH;
  return true;
}

function replyLbaStatus(task: Task, unit: LogicalUnit): void {
  putU32(status, 0, task.dataInLength - 4); // PARAMETER DATA LENGTH does not count itself.
  task.data.write(0, status, 0, 4);
  task.dataInLength = Math.min(task.dataInLength, getU32(task.cdb, ALLOCATION_LENGTH));
  task.transferLength = task.dataInLength;
  unit.good(task);
}

const fourBytes = [0xff, 0xff, 0xff, 0xff];

export const provisioningOperations: readonly Operation[] = [
  {
    name: 'UNMAP',
    opcode: 0x42,
    // ANCHOR is not evaluated: no block is ever anchored.
    usage: [0x42, 0x00, 0x00, 0x00, 0x00, 0x00, GROUP_NUMBER, 0xff, 0xff, 0x00],
    counted: Counted.WRITE_WITHOUT_BLOCKS,
    writesMedium: true,
    isSupported: (configuration) => configuration.provisioning === 'thin',
    start: startUnmap,
    received: unmapReceived,
    deviceDone: unmapDone,
  },
  {
    name: 'GET LBA STATUS',
    opcode: 0x9e,
    serviceAction: 0x12,
    usage: [0x9e, 0x1f, ...fourBytes, ...fourBytes, ...fourBytes, 0x00, 0x00],
    readsMedium: true,
    start: startGetLbaStatus,
    deviceDone: extentsTold,
  },
];
