/** iSCSI's task management functions as SCSI's (RFC 7143 11.5.1, RFC 7144 4.1; SAM-5 7). */

import type { TaskManagementCall } from '../iscsi/index.js';
import {
  TaskManagementFunction as Function,
  TaskManagementResponse as Response,
} from '../iscsi/wire/opcodes.js';
import {
  abortTask,
  abortTaskSet,
  clearTaskSet,
  decodeLun,
  type LogicalUnit,
  type LogicalUnitView,
  logicalUnitReset,
  type Nexus,
  nexusReset,
  queryTask,
  queryTaskSet,
  targetReset,
} from '../scsi/index.js';
import type { TargetCommand } from './target-task.js';

/** Carry out `call` for `nexus`; it is answered when every task that it is about has ended. */
export function manageTasks(view: LogicalUnitView, nexus: Nexus, call: TaskManagementCall): void {
  const complete = (): void => {
    call.respond(Response.FUNCTION_COMPLETE);
  };
  if (isForWholeTarget(call.function)) {
    const reset = call.function === Function.I_T_NEXUS_RESET ? nexusReset : targetReset;
    if (reset(view, nexus, complete)) complete();
    return;
  }
  const unit = view.get(decodeLun(call.lun, 0));
  if (unit === undefined) call.respond(Response.LUN_DOES_NOT_EXIST);
  else manageUnit(unit, nexus, call, complete);
}

/** TARGET COLD RESET also ends the sessions, which the caller of `respond` sees to (RFC 7143 11.5.1). */
function isForWholeTarget(code: Function): boolean {
  return (
    code === Function.TARGET_WARM_RESET ||
    code === Function.TARGET_COLD_RESET ||
    code === Function.I_T_NEXUS_RESET
  );
}

function manageUnit(unit: LogicalUnit, nexus: Nexus, call: TaskManagementCall, complete: () => void): void {
  const answerQuery = (isPresent: boolean): void => {
    call.respond(isPresent ? Response.FUNCTION_SUCCEEDED : Response.FUNCTION_COMPLETE);
  };
  switch (call.function) {
    case Function.ABORT_TASK: {
      const { task } = call.referenced as TargetCommand;
      if (task.logicalUnit !== unit) call.respond(Response.TASK_DOES_NOT_EXIST);
      else if (abortTask(unit, task, complete)) complete();
      break;
    }
    case Function.ABORT_TASK_SET:
      if (abortTaskSet(unit, nexus, complete)) complete();
      break;
    case Function.CLEAR_TASK_SET:
      if (clearTaskSet(unit, nexus, complete)) complete();
      break;
    case Function.LOGICAL_UNIT_RESET:
      if (logicalUnitReset(unit, nexus, complete)) complete();
      break;
    case Function.QUERY_TASK: {
      const { task } = call.referenced as TargetCommand;
      answerQuery(task.logicalUnit === unit && queryTask(unit, task));
      break;
    }
    case Function.QUERY_TASK_SET:
      answerQuery(queryTaskSet(unit, nexus));
      break;
    case Function.QUERY_ASYNCHRONOUS_EVENT:
      answerAsynchronousEvent(unit, nexus, call);
      break;
    default:
      call.respond(Response.NOT_SUPPORTED);
  }
}

/** QUERY ASYNCHRONOUS EVENT (SAM-5 7.10): of what is pending it tells whether it is one or more, and what comes next. */
function answerAsynchronousEvent(unit: LogicalUnit, nexus: Nexus, call: TaskManagementCall): void {
  const next = unit.unitAttentions.peek(nexus);
  if (next === null) {
    call.respond(Response.FUNCTION_COMPLETE);
    return;
  }
  const depth = unit.unitAttentions.count(nexus) > 1 ? 2 : 1;
  call.respond(Response.FUNCTION_SUCCEEDED, (depth << 20) | (next.key << 16) | (next.asc << 8) | next.ascq);
}
