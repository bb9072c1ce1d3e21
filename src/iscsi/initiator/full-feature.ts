/**
 * The full feature phase of a connection, initiator's side (RFC 7143 4.2, 11): tasks in, their Command PDUs
 * queued, and what the target answers back to them. Sans-I/O: PDUs, tasks and the time come in, PDUs go out by
 * the Datamover.
 */

import type {
  ConnectionParameters,
  ControlPdu,
  DataTransfer,
  InitiatorDatamover,
  InitiatorTasks,
  InitiatorTransfer,
} from '../../datamover/datamover.js';
import { RiserError } from '../../util/errors.js';
import { Memory } from '../../util/memory.js';
import type { OperationalParameters } from '../login/keys.js';
import type { InitiatorLoginResult } from '../login/initiator-login.js';
import {
  AsyncMessage,
  Bhs,
  BHS_LENGTH,
  dumpHeader,
  Reject,
  ScsiCommand,
  ScsiResponse as ScsiResponseHeader,
} from '../wire/headers.js';
import {
  Opcode,
  OPCODE_MASK,
  RejectReason,
  RESERVED_TAG,
  ScsiResponse,
  TaskManagementFunction,
} from '../wire/opcodes.js';
import { CommandWindow } from './command-window.js';
import { ControlRequests, type TaskManagementOptions } from './control-requests.js';
import { RequestSender } from './request-sender.js';
import { ResponseOrder } from './response-order.js';
import { extendedCdb, planData, takeCollapsedStatus, takeResponse, writeCommand } from './scsi-command.js';
import { type InitiatorTask, InitiatorTaskState } from './task.js';
import { TaskQueue } from './task-queue.js';
import { TaskTable } from './task-table.js';

/** An Asynchronous Message (RFC 7143 11.9). */
export interface AsyncNotice {
  /** One of {@link AsyncEvent}, or a vendor's. */
  readonly event: number;
  readonly parameter1: number;
  readonly parameter2: number;
  readonly parameter3: number;
}

/** What a full-feature connection tells the layer above. */
export interface InitiatorHost {
  asyncNotice(notice: AsyncNotice): void;
  /** Something that deserves a line in the log. */
  remark(message: string): void;
}

export class InitiatorFullFeature implements InitiatorTasks {
  readonly datamover: InitiatorDatamover;
  readonly parameters: OperationalParameters;
  readonly control: ControlRequests;
  readonly requests: RequestSender;
  /** Whether anything was received since this was last cleared; the keepalive looks. */
  hasHeard = false;
  readonly #host: InitiatorHost;
  /** The session's: its connections share one space of tags. */
  readonly #tasks: TaskTable;
  /** All connections of the session, this one among them. */
  readonly #siblings: InitiatorFullFeature[];
  readonly #queue = new TaskQueue();
  readonly #window: CommandWindow;
  readonly #order: ResponseOrder;
  /** The connection is gone. */
  isOver = false;
  /** Its tasks wait for recovery when it goes. */
  #keepsTasks = false;
  /** Where a Command PDU is written. */
  readonly #header = Memory.allocate(BHS_LENGTH);

  /** `leading`: another connection of the session, with which it shares the numbers of commands; null for the first. */
  constructor(
    datamover: InitiatorDatamover,
    login: InitiatorLoginResult,
    host: InitiatorHost,
    leading: InitiatorFullFeature | null = null,
  ) {
    this.datamover = datamover;
    this.parameters = login.parameters;
    this.#host = host;
    this.#siblings = leading === null ? [] : leading.#siblings;
    const index = this.#takePlace();
    this.#tasks = leading === null ? new TaskTable() : leading.#tasks;
    this.#window = leading === null ? new CommandWindow(login.cmdSN, login.maxCmdSN) : leading.#window;
    this.#order = new ResponseOrder(login.expStatSN, login.parameters.errorRecoveryLevel, {
      violation: (code, what) => {
        this.violation(code, what);
      },
      lacksData: (header) => this.#lacksData(header),
      requestStatus: (begin, length) => {
        this.requests.requestStatus(begin, length);
      },
      flush: () => {
        this.flush();
      },
    });
    this.requests = new RequestSender(
      datamover,
      this.#window,
      this.#order,
      login.parameters.targetMaxOutstandingUnexpectedPDUs,
    );
    this.control = new ControlRequests(this, index);
    datamover.enableDatamover(connectionParameters(login.parameters, datamover.taskLimit), this);
  }

  /** Of the session's connections, the place of one that is gone, or a new one. */
  #takePlace(): number {
    const free = this.#siblings.findIndex(({ isOver }) => isOver);
    const index = free < 0 ? this.#siblings.length : free;
    this.#siblings[index] = this;
    return index;
  }

  // ---- InitiatorTasks ----

  findTask(initiatorTaskTag: number): InitiatorTransfer | null {
    return this.#findActive(initiatorTaskTag);
  }

  /** What is ending has its outcome: whatever else comes for it is for nobody. */
  #findActive(tag: number): InitiatorTask | null {
    const task = this.#tasks.find(tag);
    return task?.state === InitiatorTaskState.ACTIVE && task.connection === this ? task : null;
  }

  expectedStatSN(): number {
    return this.#order.expStatSN;
  }

  commandNumbersNotify(expCmdSN: number, maxCmdSN: number): void {
    this.hasHeard = true;
    this.requests.taken(expCmdSN);
    const hasGrown = this.#window.update(expCmdSN, maxCmdSN);
    this.requests.sendWaiting();
    if (!hasGrown) return;
    this.#sendQueued();
    if (this.#siblings.length > 1) this.#wakeSiblings();
  }

  /** The window of all has grown. */
  #wakeSiblings(): void {
    for (const sibling of this.#siblings) {
      if (sibling === this || sibling.isOver) continue;
      sibling.requests.sendWaiting();
      sibling.#sendQueued();
      sibling.flush();
    }
  }

  /** All commands below are acknowledged. */
  get expCmdSN(): number {
    return this.#window.expCmdSN;
  }

  /** CmdSN of the session's next command. */
  get cmdSN(): number {
    return this.#window.cmdSN;
  }

  // ---- tasks ----

  /** Send a task, or queue it while the target's window is closed. Nothing leaves before {@link flush}. */
  submit(task: InitiatorTask): void {
    task.error = null;
    task.status = 0;
    task.senseLength = 0;
    task.residual = 0;
    task.wasSent = false;
    task.connection = this;
    task.abortError = null;
    task.isAborting = false;
    if (this.isOver) {
      task.error = gone(null);
      task.done();
    } else if (this.#queue.first === null && this.#maySend) this.#send(task);
    else {
      task.state = InitiatorTaskState.QUEUED;
      this.#queue.push(task);
    }
  }

  flush(): void {
    this.datamover.flush();
  }

  /** The active tasks of this connection; for control paths. */
  #own(): InitiatorTask[] {
    return this.#tasks.all().filter((task) => task.connection === this);
  }

  /** Tasks of the session that the target has. */
  get tasks(): number {
    return this.#tasks.count;
  }

  get #maySend(): boolean {
    return this.#window.isOpen && this.#tasks.count < this.datamover.taskLimit;
  }

  /** Whether there are tasks of the session that the target has, or that wait here. */
  get hasTasks(): boolean {
    return this.#tasks.count > 0 || this.#queue.first !== null;
  }

  #sendQueued(): void {
    while (this.#queue.first !== null && this.#maySend) this.#send(this.#queue.shift());
  }

  #send(task: InitiatorTask): void {
    this.#tasks.add(task);
    task.state = InitiatorTaskState.ACTIVE;
    task.wasSent = true;
    planData(task, this.parameters);
    task.cmdSN = this.#window.take();
    this.#sendCommand(task);
  }

  #sendCommand(task: InitiatorTask): void {
    writeCommand(this.#header, task, this.parameters, this.#order.expStatSN);
    this.datamover.sendCommand(this.#header, task.cdbTail === null ? null : extendedCdb(task.cdbTail), task);
  }

  /** The task has its outcome: it is over as soon as nothing of its buffer is waiting to be sent. */
  #end(task: InitiatorTask): void {
    if (task.queuedParts > 0) task.state = InitiatorTaskState.ENDING;
    else this.#finish(task);
  }

  #finish(task: InitiatorTask): void {
    this.datamover.deallocateTaskResources(task);
    this.#tasks.remove(task);
    task.state = InitiatorTaskState.IDLE;
    task.done();
  }

  buffersReleased(transfer: DataTransfer): void {
    const task = transfer as InitiatorTask;
    if (task.state === InitiatorTaskState.ENDING) this.#finish(task);
  }

  // ---- giving up ----

  /**
   * Give a task up: one that waits is over at once, an active one when the target has agreed, has answered it
   * first, or is gone. Its error is then `error`, unless there is an answer.
   */
  abort(task: InitiatorTask, error: RiserError): void {
    if (task.state === InitiatorTaskState.QUEUED) {
      this.#queue.remove(task);
      task.error = error;
      task.state = InitiatorTaskState.IDLE;
      task.done();
    } else if (task.state === InitiatorTaskState.ACTIVE && task.abortError === null) {
      task.abortError = error;
      // One that waits for recovery hears of it then.
      if (this.isOver) return;
      task.isAborting = true;
      const tag = task.initiatorTaskTag;
      this.control.abortTask(task, (isAborted) => {
        // By its tag: when the target was faster, the same object may be the next task already.
        if (this.#findActive(tag) !== task) return;
        task.isAborting = false;
        if (!isAborted) return;
        task.error = error;
        this.#end(task);
      });
    }
  }

  /**
   * What a function about several tasks aborts when the target has carried it out: the active ones of this connection, for its logical
   * unit or for all, as they are now. Call what is returned then: they end, as there will be no answer (RFC 7143 4.2.3.3).
   */
  concluding({ function: code, lunHigh = 0, lunLow = 0 }: TaskManagementOptions): () => void {
    const isOfTarget =
      code === TaskManagementFunction.TARGET_WARM_RESET || code === TaskManagementFunction.TARGET_COLD_RESET;
    const affected = this.#own()
      .filter((task) => isOfTarget || (task.lunHigh === lunHigh && task.lunLow === lunLow))
      .map((task) => ({ task, cmdSN: task.cmdSN }));
    return () => {
      for (const { task, cmdSN } of affected) {
        // The same object may be the next task already.
        if (this.#findActive(task.initiatorTaskTag) !== task || task.cmdSN !== cmdSN) continue;
        task.error = task.abortError ?? aborted();
        this.#end(task);
      }
    };
  }

  /** End tasks whose time is over; if the target does not even let go of them, with the connection. */
  tick(now: number): void {
    if (!this.hasTasks) return;
    for (const task of this.#own()) {
      if (now < task.deadline) continue;
      if (task.state === InitiatorTaskState.ACTIVE && task.abortError === null) this.abort(task, timedOut());
      else if (!task.isAborting) {
        this.drop(timedOut());
        return;
      }
    }
    for (let task = this.#queue.first; task !== null;) {
      const next: InitiatorTask | null = task.nextQueued;
      if (now >= task.deadline) this.abort(task, timedOut());
      task = next;
    }
  }

  /** The connection is gone, and the Datamover has let go of all buffers: every task ends. */
  terminated(reason: Error | null): void {
    this.isOver = true;
    const error = gone(reason);
    const active = this.#own();
    const queued = this.#queue.takeAll();
    for (const task of active) {
      task.queuedParts = 0;
      task.isAborting = false;
      if (task.state !== InitiatorTaskState.ACTIVE) this.#finish(task);
      else if (!this.#keepsTasks) this.fail(task, error);
    }
    for (const task of queued) {
      task.error = error;
      task.state = InitiatorTaskState.IDLE;
      task.done();
    }
    this.requests.clear();
    this.control.terminated(error);
  }

  // ---- recovery of connections ----

  /** The connection is about to end, and its active tasks wait for what becomes of them. */
  keepTasks(): void {
    this.#keepsTasks = true;
  }

  /** Those that wait. */
  suspendedTasks(): InitiatorTask[] {
    return this.#own();
  }

  /** The command never arrived: send it again under its number (RFC 7143 7.2.1). */
  resend(task: InitiatorTask): void {
    task.connection = this;
    planData(task, this.parameters);
    this.#sendCommand(task);
  }

  /** End an active task without an answer. */
  fail(task: InitiatorTask, error: RiserError): void {
    task.error = task.abortError ?? error;
    this.#finish(task);
  }

  // ---- input ----

  controlNotify(pdu: ControlPdu): void {
    this.hasHeard = true;
    const header = pdu.header;
    const opcode = header[0]! & OPCODE_MASK;
    const isPing = opcode === Opcode.NOP_IN && Bhs.initiatorTaskTag.get(header) === RESERVED_TAG;
    if (!this.#order.take(pdu, isPing)) return;
    this.commandNumbersNotify(
      ScsiResponseHeader.expCmdSN.get(header),
      ScsiResponseHeader.maxCmdSN.get(header),
    );
    switch (opcode) {
      case Opcode.SCSI_RESPONSE:
        this.#scsiResponse(pdu);
        break;
      case Opcode.DATA_IN:
        this.#collapsedStatus(header);
        break;
      case Opcode.NOP_IN:
        if (isPing) this.requests.answerPing(header);
        else this.control.answered(pdu);
        break;
      case Opcode.TASK_MANAGEMENT_RESPONSE:
      case Opcode.TEXT_RESPONSE:
      case Opcode.LOGOUT_RESPONSE:
        this.control.answered(pdu);
        break;
      case Opcode.ASYNC_MESSAGE:
        this.#host.asyncNotice({
          event: AsyncMessage.asyncEvent.get(header),
          parameter1: AsyncMessage.parameter1.get(header),
          parameter2: AsyncMessage.parameter2.get(header),
          parameter3: AsyncMessage.parameter3.get(header),
        });
        break;
      case Opcode.REJECT:
        this.#rejected(pdu);
        break;
      default:
        this.violation('OPCODE', `a PDU that no target sends: ${dumpHeader(header)}`);
        return;
    }
    // Those for which there was no tag.
    if (this.#queue.first !== null) this.#sendQueued();
  }

  // ---- recovery within the connection ----

  /** Whether a SCSI Response came before all of the data; what is missing was asked for then, and comes before the response. */
  #lacksData(header: Buffer): boolean {
    if ((header[0]! & OPCODE_MASK) !== Opcode.SCSI_RESPONSE) return false;
    const task = this.#findActive(Bhs.initiatorTaskTag.get(header));
    if (!task?.isRead || ScsiResponseHeader.expDataSN.get(header) <= task.dataSN) return false;
    if (!task.isMissingData) this.datamover.requestMissingData(task);
    return true;
  }

  statusDeferred(statSN: number): void {
    this.#order.deferred(statSN);
  }

  /** What was damaged on the way has not taken its CmdSN: the target waits for it (RFC 7143 7.2.1, 7.8). */
  #sendAgain(rejected: Buffer, error: RiserError): void {
    const opcode = rejected[0]! & OPCODE_MASK;
    const tag = Bhs.initiatorTaskTag.get(rejected);
    const task = this.#findActive(tag);
    if (opcode === Opcode.SCSI_COMMAND) {
      if (task?.cmdSN === ScsiCommand.cmdSN.get(rejected)) this.#sendCommand(task);
    } else if (opcode !== Opcode.DATA_OUT && !this.control.sendAgain(tag)) this.control.rejected(tag, error);
  }

  /** RFC 7143 11.4 */
  #scsiResponse(pdu: ControlPdu): void {
    const header = pdu.header;
    const task = this.#findActive(Bhs.initiatorTaskTag.get(header));
    if (task === null) {
      this.violation('RESPONSE_UNASKED', `a response for no task: ${dumpHeader(header)}`);
      return;
    }
    if (ScsiResponseHeader.response.get(header) !== ScsiResponse.COMPLETED) {
      task.error = new RiserError('TARGET_FAILURE', 'the target could not carry the command out', {
        by: 'peer',
        costs: 'task',
      });
    }
    takeResponse(task, pdu);
    this.#end(task);
  }

  #collapsedStatus(header: Buffer): void {
    const task = this.#findActive(Bhs.initiatorTaskTag.get(header))!;
    takeCollapsedStatus(task, header);
    this.#end(task);
  }

  /** RFC 7143 11.17: the header of what was rejected comes back as data. */
  #rejected(pdu: ControlPdu): void {
    const reason = Reject.reason.get(pdu.header);
    const what = pdu.dataLength >= BHS_LENGTH ? dumpHeader(pdu.data()) : 'a PDU';
    const message = `the target rejected, reason 0x${reason.toString(16)}, ${what}`;
    this.#host.remark(message);
    const tag = pdu.dataLength >= BHS_LENGTH ? Bhs.initiatorTaskTag.get(pdu.data()) : RESERVED_TAG;
    const task = this.#findActive(tag);
    const error = new RiserError('REJECTED', message, { by: 'peer', costs: 'task' });
    const isSnack = pdu.dataLength > 0 && (pdu.data()[0]! & OPCODE_MASK) === Opcode.SNACK_REQUEST;
    // What is missing will not come any more; or the target waits for what was damaged on the way.
    if (isSnack || (reason === RejectReason.DATA_DIGEST_ERROR && !this.#order.isRecoverable))
      this.drop(error);
    else if (reason === RejectReason.DATA_DIGEST_ERROR && tag !== RESERVED_TAG)
      this.#sendAgain(pdu.data(), error);
    else if (task !== null && (pdu.data()[0]! & OPCODE_MASK) === Opcode.SCSI_COMMAND) {
      task.error = error;
      this.#end(task);
    } else if (task === null) this.control.rejected(tag, error);
  }

  // ---- the end ----

  /** The target broke a rule after which the connection cannot go on. */
  violation(code: string, what: string): void {
    this.drop(new RiserError(code, `the target sent ${what}`, { by: 'peer', costs: 'connection' }));
  }

  drop(error: RiserError): void {
    this.datamover.deallocateConnectionResources(error);
  }
}

function gone(reason: Error | null): RiserError {
  return new RiserError(
    'CONNECTION_LOST',
    reason === null ? 'the target closed the connection' : `the connection is lost: ${reason.message}`,
    { by: 'peer', costs: 'connection', cause: reason },
  );
}

function aborted(): RiserError {
  return new RiserError('TASK_ABORTED', 'the command was aborted by task management about several tasks', {
    by: 'local',
    costs: 'task',
  });
}

function timedOut(): RiserError {
  return new RiserError('TASK_TIMEOUT', 'the target did not answer the command in time', {
    by: 'peer',
    costs: 'task',
  });
}

/** Answers to anything but commands that may be outstanding: to pings, task management, texts. */
const CONTROL_REQUESTS = 32;

function connectionParameters(parameters: OperationalParameters, taskLimit: number): ConnectionParameters {
  return {
    headerDigest: parameters.headerDigest,
    dataDigest: parameters.dataDigest,
    maxSendDataSegmentLength: parameters.targetMaxRecvDataSegmentLength,
    maxRecvDataSegmentLength: parameters.initiatorMaxRecvDataSegmentLength,
    maxBurstLength: parameters.maxBurstLength,
    maxOutstandingR2T: parameters.maxOutstandingR2T,
    errorRecoveryLevel: parameters.errorRecoveryLevel,
    helloRequired: parameters.iSERHelloRequired,
    taggedBufferForSolicitedDataOnly: parameters.taggedBufferForSolicitedDataOnly,
    maxReceivePDUs: taskLimit + CONTROL_REQUESTS + parameters.initiatorMaxOutstandingUnexpectedPDUs,
  };
}
