/**
 * The caches between the initiator and the medium: SYNCHRONIZE CACHE and PRE-FETCH of SBC-3.
 */

import { BlockOp, BlockStatus } from '../../block/device.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import type { Task } from '../task.js';
import { blockCountField, isInRange, logicalBlockAddress, usage10, usage16 } from './block-range.js';

/** IMMED, bit 1 of byte 1. */
const IMMED = 0x02;
/** SYNC_NV, bit 2 of byte 1: asks for less than a flush, obsolete since SBC-3. */
const SYNC_NV = 0x04;

/**
 * Everything is flushed, whatever the range: a device cannot tell blocks apart there. With IMMED the
 * status waits for the flush all the same: a task is the transport's again once it has its status, and a
 * status that comes late breaks no promise.
 */
function startSynchronize(task: Task, unit: LogicalUnit): void {
  if (!isRangeInside(task, unit)) return;
  task.op = BlockOp.FLUSH;
  task.offset = 0;
  task.length = 0;
  unit.startDevice(task);
}

function synchronized(task: Task, unit: LogicalUnit): void {
  if (task.status !== BlockStatus.GOOD) unit.failMedium(task);
  else unit.good(task);
}

/** Always GOOD, never CONDITION MET: nothing promises that blocks stay in a cache that the system manages. */
function startPreFetch(task: Task, unit: LogicalUnit): void {
  if (isRangeInside(task, unit)) unit.good(task);
}

/** A range without blocks reaches to the end of the medium. False when the task was ended. */
function isRangeInside(task: Task, unit: LogicalUnit): boolean {
  if (isInRange(unit, logicalBlockAddress(task.cdb), blockCountField(task.cdb))) return true;
  unit.fail(task, Sense.LBA_OUT_OF_RANGE);
  return false;
}

const synchronizing = { start: startSynchronize, deviceDone: synchronized };

export const cacheOperations: readonly Operation[] = [
  {
    name: 'PRE-FETCH(10)',
    opcode: 0x34,
    usage: usage10(0x34, IMMED),
    readsMedium: true,
    start: startPreFetch,
  },
  { name: 'SYNCHRONIZE CACHE(10)', opcode: 0x35, usage: usage10(0x35, SYNC_NV | IMMED), ...synchronizing },
  {
    name: 'PRE-FETCH(16)',
    opcode: 0x90,
    usage: usage16(0x90, IMMED),
    readsMedium: true,
    start: startPreFetch,
  },
  { name: 'SYNCHRONIZE CACHE(16)', opcode: 0x91, usage: usage16(0x91, SYNC_NV | IMMED), ...synchronizing },
];
