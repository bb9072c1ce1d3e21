/**
 * A SCSI task of the initiator, from submission to its status (RFC 7143 11.3, 11.4). The owner extends it, fills
 * it in, submits it, and is told by {@link InitiatorTask.done}; tasks are used again and again.
 */

import { InitiatorTransfer } from '../../datamover/datamover.js';
import type { RiserError } from '../../util/errors.js';
import { Memory, ScatterList } from '../../util/memory.js';
import { CDB_LENGTH } from '../wire/headers.js';
import { CommandAttribute } from '../wire/opcodes.js';
import type { InitiatorFullFeature } from './full-feature.js';

/** The longest sense data that is kept, bytes (SPC-4 4.5). */
export const SENSE_LIMIT = 252;

export const InitiatorTaskState = {
  IDLE: 0,
  /** Waits for the target's command window to open. */
  QUEUED: 1,
  /** Sent: the target may be executing it. */
  ACTIVE: 2,
  /** The outcome is here, but the buffer is still being sent. */
  ENDING: 3,
} as const;
export type InitiatorTaskState = (typeof InitiatorTaskState)[keyof typeof InitiatorTaskState];

export abstract class InitiatorTask extends InitiatorTransfer {
  // ---- set by the owner; unchanged until done ----

  /** Where data goes or comes from; its length is the Expected Data Transfer Length. */
  readonly buffer = new ScatterList();
  /** The CDB, or its first 16 bytes. */
  readonly cdbMemory = Memory.allocate(CDB_LENGTH);
  readonly cdb = this.cdbMemory.bytes;
  /** What a CDB of more than 16 bytes has behind those, at most 244 bytes; else null. */
  cdbTail: Uint8Array | null = null;
  attribute: number = CommandAttribute.SIMPLE;
  /** Among SIMPLE tasks, 1 to 15, 1 first; 0 for none. Not sent below iSCSIProtocolLevel 2 (RFC 7144 5.1.1). */
  priority = 0;
  /** When the task is given up, milliseconds on the clock of `tick`; Infinity for never. */
  deadline = Infinity;

  // ---- the outcome ----

  /** Why there is no SCSI status; null when there is one. */
  error: RiserError | null = null;
  /** SCSI status (SAM-5 5.3.1), meaningless with an error. */
  status = 0;
  readonly sense = Buffer.alloc(SENSE_LIMIT);
  senseLength = 0;
  /** Bytes of the buffer that were not transferred (underflow), or as a negative number those that did not fit. */
  residual = 0;
  /** Whether the command was sent: if it was, and there is an error, the target may have executed it. */
  wasSent = false;

  // ---- the connection's ----

  state: InitiatorTaskState = InitiatorTaskState.IDLE;
  cmdSN = 0;
  /** Where it was submitted last. */
  connection: InitiatorFullFeature | null = null;
  /** The task behind this one in the queue for the window. */
  nextQueued: InitiatorTask | null = null;
  /** Why it was given up while it was active; its error unless the target is faster. Null when it was not. */
  abortError: RiserError | null = null;
  /** An ABORT TASK for it is under way. */
  isAborting = false;

  /** The task is over, and its buffer is the owner's again. */
  abstract done(): void;
}
