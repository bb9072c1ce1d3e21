/** TASK REASSIGN: a command of a connection that is gone goes on by another one (RFC 7143 7.2.2, 11.5.1). */

import { TaskManagementRequest } from '../wire/headers.js';
import { IMMEDIATE, RejectReason, TaskManagementResponse } from '../wire/opcodes.js';
import type { FullFeature } from './full-feature.js';

export function handleTaskReassign(phase: FullFeature, request: Buffer): void {
  const tag = TaskManagementRequest.initiatorTaskTag.get(request);
  const referencedTag = TaskManagementRequest.referencedTaskTag.get(request);
  const expDataSN = TaskManagementRequest.expDataSN.get(request);
  const answer = (response: TaskManagementResponse): void => {
    phase.responses.sendTaskManagementResponse(tag, response, 0);
  };
  if (phase.parameters.errorRecoveryLevel < 2) {
    answer(TaskManagementResponse.REASSIGNMENT_NOT_SUPPORTED);
    return;
  }
  if ((request[0]! & IMMEDIATE) === 0) {
    phase.responses.reject(request, RejectReason.PROTOCOL_ERROR);
    return;
  }
  const { lost } = phase.commands;
  const command = phase.commands.find(referencedTag);
  const kept = command === null ? lost.takeResponse(referencedTag) : null;
  // The response is sent before the reassignment is in effect (RFC 7143 7.2.2).
  if (command !== null && lost.isLoggedOut(command.phase)) {
    answer(TaskManagementResponse.FUNCTION_COMPLETE);
    command.reassign(phase, expDataSN);
  } else if (command !== null || kept === 'allegiant') answer(TaskManagementResponse.TASK_STILL_ALLEGIANT);
  else if (kept !== null) {
    answer(TaskManagementResponse.FUNCTION_COMPLETE);
    phase.responses.retention!.adopt(kept, expDataSN);
    phase.datamover.flush();
  } else if (phase.isOtherTask(referencedTag) || lost.isOther(referencedTag))
    answer(TaskManagementResponse.FUNCTION_REJECTED);
  else answer(TaskManagementResponse.TASK_DOES_NOT_EXIST);
}
