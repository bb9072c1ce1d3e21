/**
 * Task management functions (SAM-5 7): abort, clear, reset, query.
 *
 * Those that abort tasks return true when all of them are gone already; otherwise they call `completed`
 * once, later, when the device lets go of the last one. Only then may the function be answered. Tasks of
 * the nexus that asks end without a response; those of other nexuses end with TASK ABORTED where TAS of
 * the control page is set, and else these nexuses learn it by unit attention (SAM-5 5.6).
 */

import type { LogicalUnitView } from './inventory.js';
import type { LogicalUnit } from './logical-unit.js';
import type { Nexus } from './nexus.js';
import { Sense, type SenseCode } from './sense.js';
import type { Task } from './task.js';

/** ABORT TASK (SAM-5 7.2): the transport has found `task` by its tag. Null: its connection is gone, and nobody waits for that. */
export function abortTask(unit: LogicalUnit, task: Task, completed: (() => void) | null): boolean {
  return unit.abortTasks((t) => t === task, null, completed);
}

/** ABORT TASK SET (SAM-5 7.3): all tasks of `nexus`. */
export function abortTaskSet(unit: LogicalUnit, nexus: Nexus, completed: () => void): boolean {
  return unit.abortTasks((task) => task.nexus === nexus, null, completed);
}

/** CLEAR TASK SET (SAM-5 7.5): all tasks of all nexuses, as there is one task set for all (TST 000b). */
export function clearTaskSet(unit: LogicalUnit, nexus: Nexus, completed: () => void): boolean {
  return abortAll(unit, nexus, Sense.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR, completed);
}

/** LOGICAL UNIT RESET (SAM-5 7.7, 6.3.3). Every nexus hears of it by unit attention, the one that asks as well. */
export function logicalUnitReset(unit: LogicalUnit, nexus: Nexus, completed: () => void): boolean {
  return resetUnit(unit, nexus, Sense.BUS_DEVICE_RESET_OCCURRED, completed);
}

/**
 * TARGET WARM RESET, and the device server's share of TARGET COLD RESET (RFC 7143 11.5.1): a hard reset of
 * every unit that `nexus` sees (SAM-5 6.3.2). The news is the general 29/00: more initiators know it than know a bus reset.
 */
export function targetReset(view: LogicalUnitView, nexus: Nexus, completed: () => void): boolean {
  return everyUnit(view, completed, (unit, unitCompleted) =>
    resetUnit(unit, nexus, Sense.POWER_ON_OR_RESET_OCCURRED, unitCompleted),
  );
}

/**
 * I_T NEXUS RESET (SAM-5 7.6): everything of `nexus` ends as in a loss of the nexus, which itself stays.
 */
export function nexusReset(view: LogicalUnitView, nexus: Nexus, completed: () => void): boolean {
  return everyUnit(view, completed, (unit, unitCompleted) => {
    const isComplete = abortTaskSet(unit, nexus, unitCompleted);
    unit.reservations.lost(nexus);
    unit.medium.allow(nexus);
    unit.copies.lost(nexus);
    unit.unitAttentions.establish(nexus, Sense.I_T_NEXUS_LOSS_OCCURRED);
    return isComplete;
  });
}

/** QUERY TASK (SAM-5 7.8): whether `task` is in the task set. */
export function queryTask(unit: LogicalUnit, task: Task): boolean {
  return isPresent(unit, (t) => t === task);
}

/** QUERY TASK SET (SAM-5 7.9): whether `nexus` has any task in the task set. */
export function queryTaskSet(unit: LogicalUnit, nexus: Nexus): boolean {
  return isPresent(unit, (task) => task.nexus === nexus);
}

/** PREEMPT AND ABORT (SPC-4 5.13.11.2.5) as `own` asks for it: all tasks, but itself, of nexuses that `isPreempted` names. */
export function abortPreempted(
  unit: LogicalUnit,
  own: Task,
  isPreempted: (nexus: Nexus) => boolean,
  completed: () => void,
): boolean {
  const owesStatus = unit.modePages.taskAbortedStatus ? (task: Task) => task.nexus !== own.nexus : null;
  for (const nexus of unit.nexuses) {
    if (owesStatus !== null || nexus === own.nexus) continue;
    if (isPreempted(nexus) && queryTaskSet(unit, nexus))
      unit.unitAttentions.establish(nexus, Sense.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR);
  }
  return unit.abortTasks((task) => task !== own && isPreempted(task.nexus), owesStatus, completed);
}

/** Apply a function that may complete later to every unit that the nexus sees; it is complete when it is for all of them. */
function everyUnit(
  view: LogicalUnitView,
  completed: () => void,
  apply: (unit: LogicalUnit, unitCompleted: () => void) => boolean,
): boolean {
  let pending = 0;
  const unitCompleted = () => {
    if (--pending === 0) completed();
  };
  for (const unit of view.units) {
    if (!apply(unit, unitCompleted)) pending++;
  }
  return pending === 0;
}

function resetUnit(unit: LogicalUnit, nexus: Nexus, news: SenseCode, completed: () => void): boolean {
  const isComplete = abortAll(unit, nexus, news, completed);
  unit.reset();
  unit.unitAttentions.establish(nexus, news);
  return isComplete;
}

/** Abort all tasks of `unit` because `nexus` asks; the others get `news`. */
function abortAll(unit: LogicalUnit, nexus: Nexus, news: SenseCode, completed: () => void): boolean {
  const { modePages, unitAttentions } = unit;
  const isReset = news !== Sense.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR;
  const owesStatus = modePages.taskAbortedStatus ? (task: Task) => task.nexus !== nexus : null;
  for (const other of unit.nexuses) {
    if (other === nexus) continue;
    // A reset is news for everyone; a cleared task only for those whose tasks vanish unannounced.
    const isAffected = owesStatus === null && queryTaskSet(unit, other);
    if (isReset || isAffected) unitAttentions.establish(other, news);
  }
  return unit.abortTasks(() => true, owesStatus, completed);
}

function isPresent(unit: LogicalUnit, matches: (task: Task) => boolean): boolean {
  for (let task = unit.taskSet.first; task !== null; task = task.next) {
    if (matches(task)) return true;
  }
  return false;
}
