/**
 * A WRITE whose initiator announces less Data-Out than the CDB asks for, and not whole blocks: what comes is written, the rest of the
 * last block stays as it is, and the overflow residual tells what is missing (RFC 7143 11.4.5.1).
 *
 * The last block is read, and written with what has come of it. Such a task is exclusive in the task set, so that nothing else changes
 * that block in between.
 */

import { BlockOp, BlockStatus } from '../../block/device.js';
import { copyMemory, type Memory } from '../../util/memory.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Task } from '../task.js';
import { walkBoth } from './walk-both.js';

/** `task.step` of such a WRITE: what is under way. Above the steps of others. */
export const PartStep = { RECEIVE: 2, WRITE_WHOLE: 3, READ_LAST: 4, WRITE_LAST: 5 } as const;

/** Write `task.data` from `task.offset` on; `task.fua` is set. */
export function writeWithPart(task: Task, unit: LogicalUnit): void {
  if (!task.allocateScratch(unit.blockSize)) {
    unit.busy(task);
    return;
  }
  task.op = BlockOp.WRITE;
  task.length = task.data.length - (task.data.length % unit.blockSize);
  task.step = PartStep.WRITE_WHOLE;
  if (task.length > 0) unit.startDevice(task);
  else readLast(task, unit);
}

/** What follows when a device operation of {@link writeWithPart} is done. */
export function partDone(task: Task, unit: LogicalUnit): void {
  if (task.status !== BlockStatus.GOOD) unit.failMedium(task);
  else if (task.step === PartStep.WRITE_WHOLE) readLast(task, unit);
  else if (task.step === PartStep.READ_LAST) writeLast(task, unit);
  else unit.good(task);
}

function readLast(task: Task, unit: LogicalUnit): void {
  task.offset += task.length;
  task.length = unit.blockSize;
  task.op = BlockOp.READ;
  task.step = PartStep.READ_LAST;
  task.swapBuffers();
  unit.startDevice(task);
}

/** Data-Out is in `task.scratch` now, and the block in `task.data`. */
function writeLast(task: Task, unit: LogicalUnit): void {
  const length = task.scratch.length % unit.blockSize;
  walkBoth(task.data, 0, task.scratch, task.scratch.length - length, length, copyPart);
  task.op = BlockOp.WRITE;
  task.step = PartStep.WRITE_LAST;
  unit.startDevice(task);
}

function copyPart(target: Memory, at: number, source: Memory, from: number, length: number): number {
  copyMemory(source, from, target, at, length);
  return -1;
}
