/**
 * Logical block provisioning: UNMAP gives blocks back, GET LBA STATUS tells which ones are mapped
 * (SBC-3, logical block provisioning).
 */

import { BlockOp, BlockStatus, type Extent } from '../../block/device.js';
import { getU16, getU32, getU64, putU32, putU64 } from '../../util/fields.js';
import { MAXIMUM_UNMAP_DESCRIPTORS, MAXIMUM_UNMAP_LBA_COUNT } from '../limits.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
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
/** PROVISIONING STATUS of an LBA status descriptor. */
const ProvisioningStatus = { MAPPED: 0, DEALLOCATED: 1 } as const;

/** The most descriptors in one answer, and how often the device is asked for them. */
const MAXIMUM_STATUS_DESCRIPTORS = 256;
const MAXIMUM_LOOKS = 1024;
/** The most blocks that NUMBER OF LOGICAL BLOCKS can tell. */
const MAXIMUM_RUN = 0xffff_ffff;

function startGetLbaStatus(task: Task, unit: LogicalUnit): void {
  const lba = logicalBlockAddress(task.cdb);
  if (!isInRange(unit, lba, 1)) {
    unit.fail(task, Sense.LBA_OUT_OF_RANGE);
    return;
  }
  const allocationLength = getU32(task.cdb, ALLOCATION_LENGTH);
  const room = Math.ceil((allocationLength - STATUS_HEADER_LENGTH) / STATUS_DESCRIPTOR_LENGTH);
  const runs = provisioningRuns(unit, lba, Math.min(Math.max(room, 1), MAXIMUM_STATUS_DESCRIPTORS));
  const bytes = Buffer.alloc(STATUS_HEADER_LENGTH + runs.length * STATUS_DESCRIPTOR_LENGTH);
  putU32(bytes, 0, bytes.length - 4); // PARAMETER DATA LENGTH does not count itself.
  let at = STATUS_HEADER_LENGTH;
  for (const run of runs) {
    putU64(bytes, at, run.offset / unit.blockSize);
    putU32(bytes, at + 8, run.length / unit.blockSize);
    bytes[at + 12] = run.mapped ? ProvisioningStatus.MAPPED : ProvisioningStatus.DEALLOCATED;
    at += STATUS_DESCRIPTOR_LENGTH;
  }
  unit.reply(task, bytes, allocationLength);
}

/**
 * At most `limit` runs of blocks in one state from `lba` on. Neighbouring extents of the device in the
 * same state are one run; the last run may end before its state does.
 */
function provisioningRuns(unit: LogicalUnit, lba: number, limit: number): Extent[] {
  const { blockSize, device } = unit;
  const longest = MAXIMUM_RUN * blockSize;
  const end = unit.blockCount * blockSize;
  const runs: Extent[] = [];
  let at = lba * blockSize;
  for (let looks = 0; at < end && looks < MAXIMUM_LOOKS; looks++) {
    const left = Math.min(end - at, longest);
    const extent =
      unit.configuration.provisioning === 'thin'
        ? device.extent(at, left)
        : { offset: at, length: left, mapped: true };
    const last = runs.at(-1);
    if (last?.mapped === extent.mapped && last.length + extent.length <= longest) {
      last.length += extent.length;
    } else if (runs.length < limit) {
      runs.push({ offset: at, length: extent.length, mapped: extent.mapped });
    } else {
      break;
    }
    at += extent.length;
  }
  return runs;
}

const fourBytes = [0xff, 0xff, 0xff, 0xff];

export const provisioningOperations: readonly Operation[] = [
  {
    name: 'UNMAP',
    opcode: 0x42,
    // ANCHOR is not evaluated: no block is ever anchored.
    usage: [0x42, 0x00, 0x00, 0x00, 0x00, 0x00, GROUP_NUMBER, 0xff, 0xff, 0x00],
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
    start: startGetLbaStatus,
  },
];
