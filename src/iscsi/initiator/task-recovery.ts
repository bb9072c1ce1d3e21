/**
 * Tasks of a connection that is lost go on by another one of the session, once the lost one is logged out (RFC 7143 7.1.4.3, 7.2): commands
 * that never arrived are sent again under their numbers, or the target would wait for them; the others are reassigned at
 * ErrorRecoveryLevel 2, and else are over.
 */

import { RiserError } from '../../util/errors.js';
import { serialLess } from '../../util/serial.js';
import { TaskManagementResponse } from '../wire/opcodes.js';
import type { InitiatorFullFeature } from './full-feature.js';
import { type InitiatorTask, InitiatorTaskState } from './task.js';

/** `error`: what ends tasks that cannot go on. The target has told `heir` its ExpCmdSN after the logout. */
export function recoverTasks(
  lost: InitiatorFullFeature,
  heir: InitiatorFullFeature,
  error: RiserError,
): void {
  const { expCmdSN } = heir;
  const tasks = lost.suspendedTasks().sort((a, b) => (serialLess(a.cmdSN, b.cmdSN) ? -1 : 1));
  for (const task of tasks) {
    if (!serialLess(task.cmdSN, expCmdSN)) {
      heir.resend(task);
      giveUpAgain(heir, task);
    } else if (heir.parameters.errorRecoveryLevel === 2) reassign(heir, task, error);
    else lost.fail(task, error);
  }
  heir.flush();
}

function reassign(heir: InitiatorFullFeature, task: InitiatorTask, error: RiserError): void {
  const tag = task.initiatorTaskTag;
  // What follows the answer may come in the same breath.
  task.connection = heir;
  task.isMissingData = false;
  heir.control.reassign(task, (answer) => {
    // When the heir is lost as well, the task's fate is decided with it.
    if (answer instanceof RiserError || heir.findTask(tag) !== task) return;
    if (answer.response === TaskManagementResponse.FUNCTION_COMPLETE) giveUpAgain(heir, task);
    else heir.fail(task, error);
  });
}

/** The task was given up when its connection could not tell the target any more. */
function giveUpAgain(heir: InitiatorFullFeature, task: InitiatorTask): void {
  const { abortError } = task;
  if (abortError === null || task.state !== InitiatorTaskState.ACTIVE) return;
  task.abortError = null;
  heir.abort(task, abortError);
}
