/**
 * The Task: one SCSI command on its way through a logical unit, and the contract between the device
 * server (this folder) and whatever transport carries the command (SAM-5 5, 8).
 *
 * A transport extends Task with what it needs to answer, keeps its tasks in a pool, and:
 * 1. aims it ({@link Task.aim}) at a command and submits it to {@link LogicalUnit.submit};
 * 2. is asked for buffers (`allocate`) and for Data-Out (`receiveData`), and calls
 *    `logicalUnit.dataReceived(task)` when the data is in `task.data`, or
 *    `logicalUnit.dataFailed(task)` when it will never come;
 * 3. is told the outcome by `finished()`, or, for an aborted task that owes no response, by `aborted()`.
 * Between submit and one of these two the task belongs to the logical unit.
 */

import { BlockIo } from '../block/device.js';
import { ScatterList } from '../util/memory.js';
import type { CopyRecord } from './third-party-copy/copy-record.js';
import type { LogicalUnit } from './logical-unit.js';
import type { Nexus } from './nexus.js';
import type { Operation } from './operation.js';
import { SenseData } from './sense.js';
import { NOT_WAITED } from './statistics.js';
import { Status } from './status.js';

/** Task attributes (SAM-5 8.9). ACA is not supported: NormACA is refused, so no ACA condition ever exists. */
export const TaskAttribute = {
  SIMPLE: 0,
  ORDERED: 1,
  HEAD_OF_QUEUE: 2,
} as const;
export type TaskAttribute = (typeof TaskAttribute)[keyof typeof TaskAttribute];

/** What a task waits for. */
export const TaskState = {
  /** In the transport's pool. */
  IDLE: 0,
  /** For its turn in the task set. */
  AWAITING_TURN: 1,
  /** For Data-Out from the initiator. */
  AWAITING_DATA: 2,
  /** For the block device. */
  AWAITING_DEVICE: 3,
  /** For nothing: the transport has the outcome. */
  ENDED: 4,
} as const;
export type TaskState = (typeof TaskState)[keyof typeof TaskState];

/** The longest CDB that is kept, in bytes (SPC-4 4.3.3: a variable length CDB is at most 260). */
export const MAX_CDB_LENGTH = 260;

export abstract class Task extends BlockIo {
  // ---- the command, set by aim() ----

  /** The CDB, zero-padded to at least 16 bytes. */
  readonly cdb: Buffer = Buffer.alloc(MAX_CDB_LENGTH);
  cdbLength = 0;
  attribute: TaskAttribute = TaskAttribute.SIMPLE;
  /** Of a SIMPLE task: 1 comes first, 15 last; 0 is none, and counts as the middle, 8 (SAM-5 8.7). */
  priority = 0;
  /** Whose command it is. */
  nexus!: Nexus;
  /** Bytes of Data-In that the initiator expects at most; the transport truncates to it. */
  dataInLimit = 0;
  /** Bytes of Data-Out that the initiator has to give. */
  dataOutLimit = 0;

  /** Whether data may move straight from and to the device's own memory: the transport decides. */
  mayLend = true;

  // ---- the outcome, set by the device server ----

  scsiStatus: Status = Status.GOOD;
  /** Present in the response when `sense.length > 0`. */
  readonly sense = new SenseData();
  /** Data-In of the command, whole; `dataInLength <= data.length`. Only sent with GOOD status or CONDITION MET. */
  dataInLength = 0;
  /**
   * Bytes that the command as such transfers, whatever the initiator expected: what residuals are
   * counted from (RFC 7143 11.4.5). Data-In commands: before truncation to `dataInLimit`.
   */
  transferLength = 0;

  // ---- the device server's own ----

  /** The command's data buffer: Data-In, or Data-Out. */
  override data = new ScatterList();
  /** A second buffer for commands that compare; filled through {@link Task.allocateScratch}. */
  scratch = new ScatterList();
  state: TaskState = TaskState.IDLE;
  /** When it began to wait, by the clock of the configuration; see {@link Statistics}. */
  waitsSince = NOT_WAITED;
  /** Which step of a command with several device operations is under way; the command defines it. */
  step = 0;
  /** Whether a task management function or nexus loss ended it while it was waiting. */
  isAborted = false;
  /** Whether a TASK ABORTED status is owed instead of silence (SAM-5 5.3.1, TAS). */
  owesTaskAborted = false;
  operation: Operation | null = null;
  logicalUnit: LogicalUnit | null = null;
  /** The copy that it waits for; null for every other command. */
  copy: CopyRecord | null = null;
  /** Whether nothing else may run while it does; see {@link Operation.exclusive}. */
  isExclusive = false;
  /** Neighbours in the task set. */
  previous: Task | null = null;
  next: Task | null = null;

  /** Make the task ready for a command that the transport then copies into `cdb`. */
  aim(nexus: Nexus, attribute: TaskAttribute, dataInLimit: number, dataOutLimit: number): void {
    this.nexus = nexus;
    this.attribute = attribute;
    this.priority = 0;
    this.dataInLimit = dataInLimit;
    this.dataOutLimit = dataOutLimit;
    this.scsiStatus = Status.GOOD;
    this.sense.clear();
    this.dataInLength = 0;
    this.transferLength = 0;
    this.state = TaskState.IDLE;
    this.step = 0;
    this.isAborted = false;
    this.owesTaskAborted = false;
    this.operation = null;
    this.logicalUnit = null;
    this.copy = null;
  }

  /** Fill `data` with `length` bytes of transport memory; false when there is none left (answer BUSY). */
  abstract allocate(length: number): boolean;

  /** The same for `scratch`. */
  abstract allocateScratch(length: number): boolean;

  /** Exchange `data` and `scratch`: a device operation always uses `data`. */
  swapBuffers(): void {
    const data = this.data;
    this.data = this.scratch;
    this.scratch = data;
  }

  /**
   * Have the initiator's Data-Out put into `data` (`data.length` bytes, at most `dataOutLimit`).
   * True when it is there already; false when `logicalUnit.dataReceived(task)` will be called later,
   * never from within this call.
   */
  abstract receiveData(): boolean;

  /** The command is over: status, sense and Data-In stand. The task and its buffers are the transport's again. */
  abstract finished(): void;

  /** The task was aborted and gets no response. The task and its buffers are the transport's again. */
  abstract aborted(): void;

  /** A block operation that did not complete at once is done. */
  override done(): void {
    this.logicalUnit!.deviceDone(this);
  }
}
