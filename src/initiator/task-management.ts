/** The task management functions of iSCSIProtocolLevel 2 (RFC 7144 6.3, SAM-5 7), asked by a session with `protocolLevel: 2`. */

import { TaskManagementFunction, TaskManagementResponse } from '../iscsi/wire/opcodes.js';
import { RiserError } from '../util/errors.js';
import { getU32 } from '../util/fields.js';
import type { Session } from './session.js';
import type { ClientTask } from './task.js';

/** What a logical unit will tell next: a unit attention, or a deferred error. */
export interface AsynchronousEvent {
  readonly senseKey: number;
  readonly asc: number;
  readonly ascq: number;
  /** Whether there are more; null if the target does not say. */
  readonly isMore: boolean | null;
}

/**
 * Whether the target still has a command.
 *
 * @throws RiserError as {@link queryTaskSet} does
 */
export function queryTask(session: Session, task: ClientTask): Promise<boolean> {
  const { lunHigh, lunLow } = task;
  const options = { function: TaskManagementFunction.QUERY_TASK, lunHigh, lunLow, referencedTask: task };
  return session.manageTasks(options).then(({ response }) => isThere('QUERY TASK', response));
}

/**
 * Whether a logical unit has any command of this session.
 *
 * @param lun its eight bytes, see `encodeLun` of riser/scsi
 * @throws RiserError `PROTOCOL_LEVEL`, `TASK_MANAGEMENT`
 */
export async function queryTaskSet(session: Session, lun: Uint8Array): Promise<boolean> {
  const answer = await session.manageTasks({ function: TaskManagementFunction.QUERY_TASK_SET, ...of(lun) });
  return isThere('QUERY TASK SET', answer.response);
}

/**
 * What a logical unit will tell this session next, which stays to be told; null if there is nothing.
 *
 * @throws RiserError as {@link queryTaskSet} does
 */
export async function queryAsynchronousEvent(
  session: Session,
  lun: Uint8Array,
): Promise<AsynchronousEvent | null> {
  const code = TaskManagementFunction.QUERY_ASYNCHRONOUS_EVENT;
  const { response, information } = await session.manageTasks({ function: code, ...of(lun) });
  if (!isThere('QUERY ASYNCHRONOUS EVENT', response)) return null;
  // UADE DEPTH and SENSE KEY, ADDITIONAL SENSE CODE and its qualifier (SAM-5 7.10).
  const depth = (information >> 20) & 3;
  return {
    senseKey: (information >> 16) & 15,
    asc: (information >> 8) & 0xff,
    ascq: information & 0xff,
    isMore: depth === 0 ? null : depth > 1,
  };
}

/**
 * End all commands of this session, and the session at the target with them; it is made anew at once. The connection may be gone
 * before the answer is here (RFC 7144 6.4.2), which rejects with `CONNECTION_LOST`.
 *
 * @throws RiserError as {@link queryTaskSet} does
 */
export async function resetNexus(session: Session): Promise<void> {
  const { response } = await session.manageTasks({ function: TaskManagementFunction.I_T_NEXUS_RESET });
  if (response !== TaskManagementResponse.FUNCTION_COMPLETE) throw refused('I_T NEXUS RESET', response);
}

const of = (lun: Uint8Array): { lunHigh: number; lunLow: number } => ({
  lunHigh: getU32(lun, 0),
  lunLow: getU32(lun, 4),
});

function isThere(what: string, response: number): boolean {
  if (response === TaskManagementResponse.FUNCTION_SUCCEEDED) return true;
  if (response === TaskManagementResponse.FUNCTION_COMPLETE) return false;
  throw refused(what, response);
}

function refused(what: string, response: number): RiserError {
  const named = Object.entries(TaskManagementResponse).find(([, code]) => code === response)?.[0];
  const why = named?.toLowerCase().replaceAll('_', ' ') ?? `response ${response}`;
  return new RiserError('TASK_MANAGEMENT', `the target refused ${what}: ${why}`, {
    by: 'peer',
    costs: 'task',
  });
}
