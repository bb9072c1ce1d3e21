/** How the commands that copy wait for their copies, or let them go on in the background. */

import type { LogicalUnit } from '../logical-unit.js';
import { Sense } from '../sense.js';
import { type Task, TaskState } from '../task.js';
import { CopyOperation, type CopyPlan } from '../third-party-copy/copy-operation.js';
import { type CopyRecord, CopyState } from '../third-party-copy/copy-record.js';

/** The operation codes THIRD-PARTY COPY OUT and IN, which service actions share (SPC-4). */
export const THIRD_PARTY_COPY_OUT = 0x83;
export const THIRD_PARTY_COPY_IN = 0x84;

/** Remember `record` as a copy that begins. False when the task was ended, as its identifier is in use. */
export function remember(task: Task, unit: LogicalUnit, record: CopyRecord): boolean {
  if (unit.copies.add(record)) return true;
  unit.fail(task, Sense.OPERATION_IN_PROGRESS);
  return false;
}

/**
 * Copy what `plan` says. The task ends with the copy, by way of {@link copyEnded}, or at once when it goes on in the
 * background. `ended` is called once when the copy is over, or has not begun.
 */
export function runCopy(
  task: Task,
  unit: LogicalUnit,
  record: CopyRecord,
  plan: CopyPlan,
  ended: () => void = nothing,
): void {
  if (!remember(task, unit, record)) {
    ended();
    return;
  }
  const manager = unit.configuration.copyManager!;
  const { isInBackground } = record;
  const isWanted = (): boolean => isInBackground || !task.isAborted;
  const copy = new CopyOperation(manager, record, plan, isWanted, () => {
    ended();
    if (!isInBackground) unit.deviceDone(task);
  });
  task.copy = record;
  task.state = TaskState.AWAITING_DEVICE;
  if (!copy.start()) {
    unit.copies.forget(record);
    ended();
    unit.busy(task);
  } else if (isInBackground) {
    unit.good(task);
  }
}

/** The copy that the task has waited for is over. */
export function copyEnded(task: Task, unit: LogicalUnit): void {
  const { state, sense } = task.copy!;
  if (state === CopyState.COMPLETED) unit.good(task);
  else if (state === CopyState.FAILED) unit.failWith(task, sense);
  else unit.fail(task, Sense.COPY_ABORTED);
}

function nothing(): void {}
