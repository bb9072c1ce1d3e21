/** A single SCSI command as a promise: the way of everything that is not read or written in bulk. */

import { Status } from '../scsi/index.js';
import type { ParsedSense } from '../scsi/client/index.js';
import { RiserError } from '../util/errors.js';
import { Memory } from '../util/memory.js';
import { getU32 } from '../util/fields.js';
import { CDB_LENGTH } from '../iscsi/wire/headers.js';
import { ClientTask, type TaskPath } from './task.js';

/** The longest CDB that a SCSI Command PDU can carry with an additional header segment, bytes. */
const CDB_LIMIT = 260;

export interface CommandOptions {
  /** Bytes that the command may return; 0 by default. */
  readLength?: number;
  /** What goes to the target with the command. A command cannot do both. */
  data?: Uint8Array;
  /** Gives the command up: it is aborted at the target. */
  signal?: AbortSignal;
  /** Milliseconds that the target has for an attempt; a minute by default. */
  timeoutMs?: number;
  /**
   * Among the SIMPLE tasks of the unit, 1 to 15, 1 first; none by default. It is left out where the session has not agreed on
   * iSCSIProtocolLevel 2 (`protocolLevel: 2`), and a unit may disregard it (SAM-5 8.7).
   */
  priority?: number;
  /** Whether the command may be sent again when a connection is lost while it is under way; no by default. */
  isIdempotent?: boolean;
}

/** How a command ended that the target has answered. */
export interface CommandResult {
  /** SCSI status (SAM-5 5.3.1). */
  readonly status: number;
  /** What it returned: as much as was transferred. */
  readonly data: Buffer;
  /** Bytes that were not transferred, or as a negative number those for which there was no room. */
  readonly residual: number;
  /** Null unless the status is CHECK CONDITION. */
  readonly sense: ParsedSense | null;
}

/** A command that ended with another status than it should have. */
export class CommandFailed extends RiserError {
  readonly status: number;
  readonly sense: ParsedSense | null;

  constructor(what: string, { status, sense }: Pick<CommandResult, 'status' | 'sense'>) {
    const why = sense === null ? statusText(status) : sense.text;
    super('COMMAND_FAILED', `${what} failed: ${why}`, { by: 'device', costs: 'task' });
    this.name = 'CommandFailed';
    this.status = status;
    this.sense = sense;
  }
}

class SingleCommand extends ClientTask {
  readonly #settle: (task: SingleCommand) => void;
  constructor(path: TaskPath, settle: (task: SingleCommand) => void) {
    super(path);
    this.#settle = settle;
  }
  protected override completed(): void {
    this.#settle(this);
  }
}

/**
 * Send one command to a logical unit.
 *
 * @param lun its eight bytes, see `encodeLun` of riser/scsi
 * @param cdb 6 to 260 bytes
 * @throws RiserError when there is no SCSI status: `TASK_TIMEOUT`, `OUTCOME_UNKNOWN`, `UNREACHABLE`,
 * `CONNECTION_LOST` (again and again), `SESSION_CLOSED`, `REJECTED`, `TARGET_FAILURE`; the signal's reason when it is aborted
 */
export function sendCommand(
  path: TaskPath,
  lun: Uint8Array,
  cdb: Uint8Array,
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const { data, readLength = 0, signal, timeoutMs, priority = 0, isIdempotent = false } = options;
    if (cdb.length < 6 || cdb.length > CDB_LIMIT) throw new RangeError(`a CDB of ${cdb.length} bytes`);
    if (data !== undefined && readLength > 0) throw new RangeError('a command that both reads and writes');
    if (!(Number.isInteger(priority) && priority >= 0 && priority <= 15))
      throw new RangeError(`priority ${priority}: it is 1 to 15, or 0 for none`);
    signal?.throwIfAborted();
    const memory = data === undefined ? Memory.allocate(readLength) : new Memory(Buffer.from(data));
    const onAbort = (): void => {
      path.cancel(task, aborted(signal!.reason));
    };
    const task = new SingleCommand(path, () => {
      signal?.removeEventListener('abort', onAbort);
      if (task.error !== null) {
        reject((task.error.code === 'ABORTED' ? signal?.reason : task.error) as Error);
        return;
      }
      resolve({
        status: task.status,
        data: task.isRead ? memory.bytes.subarray(0, task.transferred) : EMPTY,
        residual: task.residual,
        sense: task.status === Status.CHECK_CONDITION ? task.parsedSense : null,
      });
    });
    task.buffer.add(memory, 0, memory.length);
    task.isRead = readLength > 0;
    task.isWrite = data !== undefined && data.length > 0;
    task.isIdempotent = isIdempotent;
    task.priority = priority;
    if (timeoutMs !== undefined) task.timeoutMs = timeoutMs;
    task.lunHigh = getU32(lun, 0);
    task.lunLow = getU32(lun, 4);
    task.cdb.set(cdb.subarray(0, CDB_LENGTH));
    task.cdbTail = cdb.length > CDB_LENGTH ? cdb.subarray(CDB_LENGTH) : null;
    signal?.addEventListener('abort', onAbort, { once: true });
    path.submit(task);
  });
}

const EMPTY = Buffer.alloc(0);

/** An abort by the caller; what the promise rejects with is the signal's reason. */
export function aborted(cause: unknown): RiserError {
  return new RiserError('ABORTED', 'the command was given up', { by: 'local', costs: 'task', cause });
}

function statusText(status: number): string {
  const name = Object.entries(Status).find(([, value]) => value === status)?.[0];
  return name === undefined ? `status 0x${status.toString(16)}` : name.toLowerCase().replaceAll('_', ' ');
}
