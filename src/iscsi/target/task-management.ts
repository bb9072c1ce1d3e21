/** Task Management Function Requests (RFC 7143 11.5, RFC 7144 4.1): what iSCSI decides itself, and what SCSI does. */

import { serialLess } from '../../util/serial.js';
import { TaskManagementRequest } from '../wire/headers.js';
import { TaskManagementFunction, TaskManagementResponse } from '../wire/opcodes.js';
import type { Command } from './command.js';
import type { FullFeature } from './full-feature.js';
import { handleTaskReassign } from './task-reassignment.js';

/** A function for the SCSI side to carry out. */
export interface TaskManagementCall {
  readonly function: TaskManagementFunction;
  /** The 8-byte LUN field; valid during the call that hands this over. */
  readonly lun: Uint8Array;
  /** The task that ABORT TASK or QUERY TASK is about; null for all others. */
  readonly referenced: Command | null;
  /** Send the response; called once. `information`: Additional Response Information, 24 bits (RFC 7144 6.4.1). */
  respond(response: TaskManagementResponse, information?: number): void;
}

export interface TaskManager {
  manageTasks(call: TaskManagementCall): void;
}

export function handleTaskManagement(phase: FullFeature, manager: TaskManager, request: Buffer): void {
  const tag = TaskManagementRequest.initiatorTaskTag.get(request);
  const code = (TaskManagementRequest.flags.get(request) & 0x7f) as TaskManagementFunction;
  const referencedTag = TaskManagementRequest.referencedTaskTag.get(request);
  if (code === TaskManagementFunction.TASK_REASSIGN) {
    handleTaskReassign(phase, request);
    return;
  }
  phase.managing.add(tag);
  const respond = (response: TaskManagementResponse, information = 0): void => {
    phase.managing.delete(tag);
    phase.responses.sendTaskManagementResponse(tag, response, information);
  };
  if (code >= TaskManagementFunction.QUERY_TASK && phase.parameters.iSCSIProtocolLevel < 2) {
    // They must not be sent unless level 2 was negotiated (RFC 7144 6.3).
    respond(TaskManagementResponse.NOT_SUPPORTED);
    return;
  }
  const isAboutOne = code === TaskManagementFunction.ABORT_TASK || code === TaskManagementFunction.QUERY_TASK;
  if (isAboutOne && phase.managing.has(referencedTag)) {
    // Not about a task management request (RFC 7143 11.5.1, RFC 7144 6.3).
    respond(TaskManagementResponse.FUNCTION_REJECTED);
    return;
  }
  let referenced: Command | null = null;
  if (isAboutOne) {
    referenced = phase.commands.find(referencedTag);
    if (referenced === null) {
      respond(absentTask(phase, code, request));
      return;
    }
    const isAbort = code === TaskManagementFunction.ABORT_TASK;
    if (isAbort && (phase.commands.abortHeld(referenced) || referenced.endAnswered())) {
      respond(TaskManagementResponse.FUNCTION_COMPLETE);
      return;
    }
  }
  manager.manageTasks({
    function: code,
    lun: request.subarray(TaskManagementRequest.lunHigh.offset, TaskManagementRequest.lunHigh.offset + 8),
    referenced,
    respond,
  });
}

/** The referenced task is not here (RFC 7143 11.6.1): it has ended, or it never arrived. */
function absentTask(
  phase: FullFeature,
  code: TaskManagementFunction,
  request: Buffer,
): TaskManagementResponse {
  if (code === TaskManagementFunction.QUERY_TASK) return TaskManagementResponse.FUNCTION_COMPLETE;
  const refCmdSN = TaskManagementRequest.refCmdSN.get(request);
  // One that was never received counts as received and aborted, if it was inside of the window.
  const isAwaited =
    !serialLess(refCmdSN, phase.commands.expCmdSN) && !serialLess(phase.commands.maxCmdSN, refCmdSN);
  if (isAwaited && serialLess(refCmdSN, TaskManagementRequest.cmdSN.get(request)))
    phase.commands.consider(refCmdSN);
  return isAwaited ? TaskManagementResponse.FUNCTION_COMPLETE : TaskManagementResponse.TASK_DOES_NOT_EXIST;
}
