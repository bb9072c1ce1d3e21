/**
 * The full feature phase of a connection, target's side (RFC 7143 4.2, 11): one request PDU in, its
 * response queued. Sans-I/O: PDUs, completions and the time come in, PDUs go out by the Datamover.
 */

import type {
  ConnectionParameters,
  ControlPdu,
  DataError,
  TargetDatamover,
  TargetDatamoverEvents,
  TargetTransfer,
  Numbering,
} from '../../datamover/datamover.js';
import { RiserError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import type { BufferPool } from '../../util/memory.js';
import { serialAdd } from '../../util/serial.js';
import { UnexpectedPdus } from '../unexpected-pdus.js';
import type { OperationalParameters } from '../login/keys.js';
import { LOGIN_DATA_SEGMENT_LIMIT } from '../login/target-login.js';
import {
  AsyncMessage,
  Bhs,
  BHS_LENGTH,
  DataOut,
  dumpHeader,
  LogoutResponse as LogoutResponseHeader,
  NopIn,
  NopOut,
  Reject,
  ScsiCommand,
  ScsiResponse as ScsiResponseHeader,
  TaskManagementResponse as TaskManagementResponseHeader,
} from '../wire/headers.js';
import {
  AsyncEvent,
  CommandAttribute,
  CommandFlag,
  FINAL,
  IMMEDIATE,
  LogoutReason,
  LogoutResponse,
  Opcode,
  OPCODE_MASK,
  RejectReason,
  RESERVED_TAG,
  ScsiResponse,
  TaskManagementFunction,
  type TaskManagementResponse,
} from '../wire/opcodes.js';
import { areAdditionalSegmentsSound } from './additional-segments.js';
import type { Command } from './command.js';
import { CommandTable, IMMEDIATE_RESERVE, Turn } from './command-table.js';
import { type ConnectionEnder, handleLogout, isLogoutOfOther, logoutReason } from './logout.js';
import { isOfScsiCommand, Retention } from './retention.js';
import { handleTaskManagement, type TaskManagementCall } from './task-management.js';
import { TextExchange, type TargetDirectory } from './text-exchange.js';

/** What a full-feature connection needs from the layer above. */
export interface FullFeatureHost extends ConnectionEnder {
  /** A new command for the pool of `phase`; only normal sessions ask. */
  createCommand(phase: FullFeature): Command;
  /** Carry out a task management function and call `call.respond` once, at once or later. */
  manageTasks(call: TaskManagementCall): void;
  /** The session's commands; null until its first connection has made the table. */
  sharedCommands: CommandTable | null;
  /** Whether the session goes on without this connection, and may continue its tasks (RFC 7143 7.1.4.3). */
  keepsTasks(phase: FullFeature): boolean;
  /** Seconds, besides DefaultTime2Wait, that it keeps them. */
  readonly time2Retain: number;
  /** What SendTargets tells this initiator. */
  readonly directory: TargetDirectory;
  readonly buffers: BufferPool;
  readonly log: Logger;
}

/** How a session came to its end, for people and for the layer above. */
export type EndReason = 'logout' | 'reinstated' | 'stopped' | 'reset' | 'closed by the initiator';

export interface FullFeatureOptions {
  datamover: TargetDatamover;
  host: FullFeatureHost;
  parameters: OperationalParameters;
  isDiscovery: boolean;
  connectionId: number;
  expCmdSN: number;
  statSN: number;
  /** Commands that may be active at a time. */
  commandWindow: number;
}

export class FullFeature implements Numbering, TargetDatamoverEvents {
  readonly datamover: TargetDatamover;
  readonly parameters: OperationalParameters;
  readonly commands: CommandTable;
  /** Initiator Task Tags of task management requests that are not answered yet. */
  readonly managing = new Set<number>();
  /** Set by a logout: the connection ends by agreement. */
  hasLoggedOut = false;
  /** Its tasks are prepared for a new allegiance, and it does nothing any more. */
  isRemoved = false;
  /** Whether anything was received since this was last cleared; the keepalive looks. */
  hasHeard = false;
  readonly #host: FullFeatureHost;
  readonly #isDiscovery: boolean;
  readonly #maxReceivePDUs: number;
  readonly connectionId: number;
  readonly #text: TextExchange;
  #statSN: number;
  /** What the initiator has room for, although it answers nothing. */
  readonly #unexpected: UnexpectedPdus;
  /** All PDUs but Data-In and R2T are made here; the Datamover copies. */
  readonly #header = Buffer.alloc(BHS_LENGTH);
  readonly #senseData = Buffer.alloc(2 + 255);
  /** Aborted commands whose data is still on its way. */
  #abortedWhileRead = 0;
  /** What may have to be sent again; null at ErrorRecoveryLevel 0. */
  readonly retention: Retention | null;
  /** Responses to task management that wait for that. */
  readonly #heldResponses: {
    initiatorTaskTag: number;
    response: TaskManagementResponse;
    information: number;
  }[] = [];

  constructor(options: FullFeatureOptions) {
    const { host, parameters } = options;
    this.datamover = options.datamover;
    this.parameters = parameters;
    this.#host = host;
    this.#isDiscovery = options.isDiscovery;
    this.connectionId = options.connectionId;
    this.#statSN = options.statSN;
    this.#unexpected = new UnexpectedPdus(parameters.initiatorMaxOutstandingUnexpectedPDUs);
    this.commands = host.sharedCommands ??= new CommandTable(options.expCmdSN, options.commandWindow, () =>
      host.createCommand(this),
    );
    this.#text = new TextExchange(this, host.directory, parameters, options.isDiscovery);
    if (this.#isRdma) limitResponses(parameters, options.isDiscovery);
    this.#maxReceivePDUs =
      options.commandWindow + IMMEDIATE_RESERVE + parameters.targetMaxOutstandingUnexpectedPDUs;
    const { retransmission } = this.datamover;
    this.retention =
      parameters.errorRecoveryLevel > 0 && retransmission !== null
        ? new Retention(this, retransmission)
        : null;
    this.datamover.enableDatamover(this.#connectionParameters(), this);
  }

  // ---- Numbering ----

  takeStatSN(): number {
    const statSN = this.#statSN;
    this.#statSN = serialAdd(statSN, 1);
    return statSN;
  }

  peekStatSN(): number {
    return this.#statSN;
  }

  expectedCmdSN(): number {
    return this.commands.expCmdSN;
  }

  maxCmdSN(): number {
    return this.commands.maxCmdSN;
  }

  // ---- TargetDatamoverEvents ----

  controlNotify(pdu: ControlPdu): void {
    this.hasHeard = true;
    if (this.isRemoved) return;
    const header = pdu.header;
    const opcode = header[0]! & OPCODE_MASK;
    this.#unexpected.retire(ScsiCommand.expStatSN.get(header));
    if (this.retention !== null && (opcode !== Opcode.LOGOUT_REQUEST || !isLogoutOfOther(this, header)))
      this.retention.acknowledge(ScsiCommand.expStatSN.get(header));
    if (opcode === Opcode.DATA_OUT) {
      this.#unsolicitedData(pdu);
      return;
    }
    if (opcode === Opcode.SNACK_REQUEST) {
      // There is no recovery within a connection at ErrorRecoveryLevel 0 (RFC 7143 11.16), and over RDMA no SNACK (RFC 7145 7.3.11).
      if (this.retention !== null) this.retention.snack(header);
      else this.reject(header, this.#isRdma ? RejectReason.PROTOCOL_ERROR : RejectReason.SNACK_REJECT);
      return;
    }
    if (pdu.dataDigestFailed) {
      // The PDU is discarded, and with it its CmdSN: the initiator sends it again (RFC 7143 7.8).
      this.reject(header, RejectReason.DATA_DIGEST_ERROR);
      return;
    }
    const isImmediate = (header[0]! & IMMEDIATE) !== 0;
    switch (this.commands.arrive(ScsiCommand.cmdSN.get(header), isImmediate)) {
      case Turn.NOW:
        break;
      case Turn.NEVER:
        return;
      case Turn.GAP:
        this.#early(pdu, opcode);
        return;
    }
    if (isImmediate && this.#hasOvertaken(header, opcode)) {
      if (!this.commands.held.addOvertaking(this, pdu))
        this.reject(header, RejectReason.IMMEDIATE_COMMAND_REJECT);
      return;
    }
    this.#execute(pdu, opcode, isImmediate);
    if (!this.commands.held.isEmpty) this.#executeHeld();
  }

  get #isRdma(): boolean {
    return this.datamover.kind === 'iser';
  }

  /** Whether this is for several tasks, some of which may still be on their way (RFC 7143 4.2.3.3). */
  #hasOvertaken(header: Buffer, opcode: number): boolean {
    return (
      this.#mayComeEarly &&
      isForSeveralTasks(opcode, header) &&
      this.commands.isOvertaking(ScsiCommand.cmdSN.get(header))
    );
  }

  /**
   * Whether a request before another may be missing: with recovery within a connection it will be sent again (RFC 7143 7.2.1), and of
   * several connections each has its own pace.
   */
  get #mayComeEarly(): boolean {
    return this.retention !== null || this.parameters.maxConnections > 1;
  }

  /** Carry a request out whose turn it is. */
  #execute(pdu: ControlPdu, opcode: number, isImmediate: boolean): void {
    const header = pdu.header;
    if (this.#isDiscovery && isForNormalSessions(opcode, header)) {
      this.reject(header, RejectReason.PROTOCOL_ERROR);
      return;
    }
    switch (opcode) {
      case Opcode.SCSI_COMMAND:
        this.#scsiCommand(pdu, isImmediate);
        break;
      case Opcode.NOP_OUT:
        this.#nopOut(pdu);
        break;
      case Opcode.TASK_MANAGEMENT_REQUEST:
        handleTaskManagement(this, this.#host, header);
        break;
      case Opcode.TEXT_REQUEST:
        this.#text.handleRequest(header, pdu.data());
        break;
      case Opcode.LOGOUT_REQUEST:
        this.#logout(header);
        break;
      case Opcode.LOGIN_REQUEST:
        // RFC 7145 7.3.9
        if (this.#isRdma) this.reject(header, RejectReason.PROTOCOL_ERROR);
        else this.drop(violation('LOGIN_IN_FULL_FEATURE', 'the initiator sent a Login Request after login'));
        break;
      default:
        this.reject(header, RejectReason.COMMAND_NOT_SUPPORTED);
    }
  }

  /** A request before `pdu` is missing. */
  #early(pdu: ControlPdu, opcode: number): void {
    const header = pdu.header;
    const { held } = this.commands;
    if (!this.#mayComeEarly) {
      const missing = this.commands.expCmdSN;
      this.drop(violation('CMDSN_GAP', `the initiator skipped CmdSN ${missing}: ${dumpHeader(header)}`));
      return;
    }
    const isCommand = opcode === Opcode.SCSI_COMMAND && !this.#isDiscovery;
    if (held.has(ScsiCommand.cmdSN.get(header)) || !held.hasRoom(pdu, isCommand ? 0 : pdu.dataLength)) return;
    const command = isCommand ? this.#beginCommand(pdu, false) : null;
    if (isCommand && command === null) return;
    held.add(this, pdu, command);
    command?.hold(pdu);
  }

  #executeHeld(): void {
    for (let next = this.commands.takeHeld(); next !== null; next = this.commands.takeHeld()) {
      const { phase, pdu, command } = next;
      if (command === null) phase.#execute(pdu, pdu.header[0]! & OPCODE_MASK, false);
      else command.resume(pdu);
      phase.datamover.flush();
    }
  }

  dataCompletionNotify(transfer: TargetTransfer): void {
    this.hasHeard = true;
    (transfer as Command).dataCompleted();
  }

  dataErrorNotify(transfer: TargetTransfer, error: DataError, header: Buffer): void {
    if (this.retention === null || error !== 'digest') (transfer as Command).loseData(error);
    this.reject(header, rejectReasonOf(error));
  }

  buffersReleased(transfer: TargetTransfer): void {
    (transfer as Command).buffersReleased();
  }

  /** The connection is gone. */
  connectionTerminateNotify(): void {
    if (this.isRemoved) return;
    if (!this.hasLoggedOut && this.#host.keepsTasks(this)) {
      this.#suspend(false);
      return;
    }
    for (const command of this.commands.held.drop(this)) command.end();
    // Those of the session's last connection are gone with the session.
    for (const command of this.commands.of(this)) command.terminate();
    this.retention?.clear();
  }

  /** The connection was logged out for recovery, explicitly or by one that takes its place (RFC 7143 11.14). */
  removeForRecovery(): void {
    if (!this.isRemoved) this.#suspend(true);
  }

  /** Requests whose turn has not come are discarded, the others wait for a new allegiance. */
  #suspend(isLoggedOut: boolean): void {
    this.isRemoved = true;
    for (const command of this.commands.held.drop(this)) command.end();
    for (const command of this.commands.of(this)) command.suspend();
    const kept = this.retention!.take();
    const others = kept.filter((each) => !isOfScsiCommand(each));
    const otherTags = new Set(others.map(({ initiatorTaskTag }) => initiatorTaskTag));
    this.commands.lost.add(this, isLoggedOut, kept.filter(isOfScsiCommand), otherTags);
  }

  /** Whether this is the tag of a request under way that is no SCSI command. */
  isOtherTask(initiatorTaskTag: number): boolean {
    return this.managing.has(initiatorTaskTag) || this.#text.isUnderWay(initiatorTaskTag);
  }

  /** Let time pass. */
  tick(): void {
    this.retention?.tick();
  }

  /** The active command with this tag, if it came by this connection. */
  findCommand(initiatorTaskTag: number): Command | null {
    const command = this.commands.find(initiatorTaskTag);
    return command?.phase === this ? command : null;
  }

  // ---- SCSI commands ----

  #scsiCommand(pdu: ControlPdu, isImmediate: boolean): void {
    this.#beginCommand(pdu, isImmediate)?.start(pdu);
  }

  /** A new active command; null when there can be none, and that is told. */
  #beginCommand(pdu: ControlPdu, isImmediate: boolean): Command | null {
    const { header } = pdu;
    const tag = Bhs.initiatorTaskTag.get(header);
    const attribute = Bhs.flags.get(header) & CommandFlag.ATTRIBUTE_MASK;
    if (
      tag === RESERVED_TAG ||
      attribute > CommandAttribute.HEAD_OF_QUEUE ||
      (pdu.ahsLength > 0 && !areAdditionalSegmentsSound(pdu))
    ) {
      this.reject(header, RejectReason.INVALID_PDU_FIELD);
    } else if (this.commands.find(tag) !== null) {
      this.reject(header, RejectReason.TASK_IN_PROGRESS);
    } else if (isImmediate && !this.commands.hasRoomForImmediate) {
      this.reject(header, RejectReason.IMMEDIATE_COMMAND_REJECT);
    } else {
      if (!this.commands.lost.isEmpty) this.commands.lost.forget(tag);
      return this.commands.begin(tag, isImmediate, this);
    }
    return null;
  }

  #unsolicitedData(pdu: ControlPdu): void {
    const header = pdu.header;
    const command = this.findCommand(Bhs.initiatorTaskTag.get(header));
    // The task may have been aborted while its data was under way, in good faith (RFC 7143 4.2.3.3).
    if (command === null) return;
    if (DataOut.targetTransferTag.get(header) !== RESERVED_TAG) {
      this.reject(header, RejectReason.INVALID_PDU_FIELD);
      return;
    }
    if (!pdu.dataDigestFailed && command.unsolicitedData(pdu)) return;
    const error = pdu.dataDigestFailed ? 'digest' : 'sequence';
    if (this.retention !== null && command.recoverUnsolicited(pdu)) {
      if (pdu.dataDigestFailed) this.reject(header, RejectReason.DATA_DIGEST_ERROR);
      return;
    }
    command.loseData(error);
    this.reject(header, rejectReasonOf(error));
    command.endLostUnsolicited((DataOut.flags.get(header) & FINAL) !== 0);
  }

  /** A SCSI Response (RFC 7143 11.4), with sense data if there is any. */
  sendScsiResponse(
    command: Command,
    status: number,
    residualFlags: number,
    residual: number,
    sense: Uint8Array,
    senseLength: number,
  ): void {
    const header = this.#begin(Opcode.SCSI_RESPONSE, command.initiatorTaskTag);
    Bhs.flags.set(header, FINAL | residualFlags);
    ScsiResponseHeader.response.set(header, ScsiResponse.COMPLETED);
    ScsiResponseHeader.status.set(header, status);
    // Data-In only; of a command that writes R2Ts were counted (RFC 7143 11.4.8).
    ScsiResponseHeader.expDataSN.set(header, command.readLength > 0 ? command.dataSN : 0);
    ScsiResponseHeader.residualCount.set(header, residual);
    this.#number(header, this.takeStatSN());
    if (senseLength === 0) {
      this.retention?.keep(header, null, 0);
      this.datamover.sendResponse(command, header, null, 0);
      return;
    }
    // RFC 7143 11.4.7: SenseLength, then the sense data.
    const data = this.#senseData;
    const length = Math.min(senseLength, this.parameters.initiatorMaxRecvDataSegmentLength - 2);
    data.writeUInt16BE(length, 0);
    for (let i = 0; i < length; i++) data[2 + i] = sense[i]!;
    this.retention?.keep(header, data, 2 + length);
    this.datamover.sendResponse(command, header, data, 2 + length);
  }

  // ---- NOP ----

  /** RFC 7143 11.18 */
  #nopOut(pdu: ControlPdu): void {
    const tag = Bhs.initiatorTaskTag.get(pdu.header);
    // Without a task tag it answers our own ping, or only acknowledges: no answer.
    if (tag === RESERVED_TAG) return;
    const lunHigh = NopOut.lunHigh.get(pdu.header);
    const lunLow = NopOut.lunLow.get(pdu.header);
    const header = this.#begin(Opcode.NOP_IN, tag);
    Bhs.flags.set(header, FINAL);
    NopIn.lunHigh.set(header, lunHigh);
    NopIn.lunLow.set(header, lunLow);
    NopIn.targetTransferTag.set(header, RESERVED_TAG);
    const length = Math.min(pdu.dataLength, this.parameters.initiatorMaxRecvDataSegmentLength);
    this.sendNumbered(header, length > 0 ? pdu.data() : null, length);
  }

  /** Ask the initiator for a sign of life (RFC 7143 11.19). */
  ping(): void {
    const header = this.#begin(Opcode.NOP_IN, RESERVED_TAG);
    Bhs.flags.set(header, FINAL);
    NopIn.targetTransferTag.set(header, PING_TAG);
    // A ping carries the next StatSN without taking it.
    this.#number(header, this.#statSN);
    this.datamover.sendControl(header, null, 0);
    this.datamover.flush();
  }

  // ---- the end ----

  /** RFC 7143 11.15 */
  #logout(request: Buffer): void {
    const isOther = isLogoutOfOther(this, request);
    const response = handleLogout(this, this.#host, request);
    const header = this.#begin(Opcode.LOGOUT_RESPONSE, Bhs.initiatorTaskTag.get(request));
    Bhs.flags.set(header, FINAL);
    LogoutResponseHeader.response.set(header, response);
    LogoutResponseHeader.time2Wait.set(header, this.parameters.defaultTime2Wait);
    LogoutResponseHeader.time2Retain.set(header, this.#host.time2Retain);
    this.#number(header, this.takeStatSN());
    if (!this.isRemoved) this.retention?.keep(header, null, 0);
    this.datamover.sendControl(header, null, 0);
    if (response !== LogoutResponse.SUCCESS || isOther) return;
    this.hasLoggedOut = !this.isRemoved;
    this.datamover.connectionTerminate();
  }

  /** Tell the initiator that the session's connection `connectionId` is gone (RFC 7143 11.9.1, event 2). */
  announceLoss(connectionId: number): void {
    this.#announce(AsyncEvent.CONNECTION_WILL_DROP, connectionId);
  }

  /** Tell the initiator that all connections of the session are about to end (RFC 7143 11.9.1, event 3), if it has room for that. */
  announceEnd(): void {
    this.#announce(AsyncEvent.SESSION_WILL_DROP, 0);
  }

  #announce(event: number, parameter1: number): void {
    if (!this.#maySurprise()) return;
    const header = this.#begin(Opcode.ASYNC_MESSAGE, RESERVED_TAG);
    Bhs.flags.set(header, FINAL);
    AsyncMessage.asyncEvent.set(header, event);
    AsyncMessage.parameter1.set(header, parameter1);
    AsyncMessage.parameter2.set(header, this.parameters.defaultTime2Wait);
    AsyncMessage.parameter3.set(header, this.#host.time2Retain);
    this.sendNumbered(header, null, 0);
    this.datamover.flush();
  }

  /** End the connection because of `error`. */
  drop(error: RiserError): void {
    this.datamover.deallocateConnectionResources(error);
  }

  // ---- PDUs ----

  /**
   * Whether a PDU may be sent now that answers nothing. The last for which an initiator over RDMA has room is kept for a ping,
   * whose answer tells what it has taken (RFC 7145 8.1.2). If so, it is counted as sent.
   */
  #maySurprise(): boolean {
    const hasRoom = this.#unexpected.room > 1;
    if (hasRoom) this.#unexpected.sent(this.#statSN);
    return hasRoom;
  }

  /** Refuse a PDU (RFC 7143 11.17): its header goes back as data. Of data for an active task the initiator expects no answer. */
  reject(request: Buffer, reason: RejectReason, dataSN = 0): void {
    this.#host.log.warn(`rejected a PDU, reason 0x${reason.toString(16)}: ${dumpHeader(request)}`);
    const opcode = request[0]! & OPCODE_MASK;
    const isExpected = opcode !== Opcode.DATA_OUT && opcode !== Opcode.SNACK_REQUEST;
    if (!isExpected && !this.#maySurprise()) return;
    const header = this.#begin(Opcode.REJECT, RESERVED_TAG);
    Bhs.flags.set(header, FINAL);
    Reject.reason.set(header, reason);
    Reject.dataSN.set(header, dataSN);
    this.sendNumbered(header, request, BHS_LENGTH);
  }

  /** Negotiation in the full feature phase has changed `parameters`. */
  parametersChanged(): void {
    this.datamover.noticeKeyValues(this.#connectionParameters());
  }

  /** A command was aborted while its data is on its way. */
  abortedWhileRead(): void {
    this.#abortedWhileRead++;
  }

  /** The data of such a command has come. */
  abortedIsRead(): void {
    if (--this.#abortedWhileRead > 0) return;
    for (const { initiatorTaskTag, response, information } of this.#heldResponses.splice(0))
      this.sendTaskManagementResponse(initiatorTaskTag, response, information);
  }

  /**
   * A Task Management Function Response (RFC 7143 11.6). It waits for the data that was asked for on behalf of aborted tasks
   * (4.2.3.3): the initiator may have its memory back then, and an RDMA Read of that would end the connection.
   */
  sendTaskManagementResponse(
    initiatorTaskTag: number,
    response: TaskManagementResponse,
    information: number,
  ): void {
    if (this.#abortedWhileRead > 0) {
      this.#heldResponses.push({ initiatorTaskTag, response, information });
      return;
    }
    const header = this.#begin(Opcode.TASK_MANAGEMENT_RESPONSE, initiatorTaskTag);
    Bhs.flags.set(header, FINAL);
    TaskManagementResponseHeader.response.set(header, response);
    TaskManagementResponseHeader.information.set(header, information);
    this.sendNumbered(header, null, 0);
    this.datamover.flush();
  }

  /** The header for the next response PDU, cleared; valid until the next call. */
  beginTextResponse(initiatorTaskTag: number): Buffer {
    return this.#begin(Opcode.TEXT_RESPONSE, initiatorTaskTag);
  }

  /** Give a response its StatSN and queue it. */
  sendNumbered(header: Buffer, data: Uint8Array | null, length: number): void {
    this.#number(header, this.takeStatSN());
    this.retention?.keep(header, data, length);
    this.datamover.sendControl(header, data, length);
  }

  #connectionParameters(): ConnectionParameters {
    const { parameters } = this;
    return {
      headerDigest: parameters.headerDigest,
      dataDigest: parameters.dataDigest,
      maxSendDataSegmentLength: parameters.initiatorMaxRecvDataSegmentLength,
      maxRecvDataSegmentLength: parameters.targetMaxRecvDataSegmentLength,
      maxBurstLength: parameters.maxBurstLength,
      maxOutstandingR2T: parameters.maxOutstandingR2T,
      errorRecoveryLevel: parameters.errorRecoveryLevel,
      helloRequired: parameters.iSERHelloRequired,
      taggedBufferForSolicitedDataOnly: parameters.taggedBufferForSolicitedDataOnly,
      maxReceivePDUs: this.#maxReceivePDUs,
    };
  }

  #begin(opcode: Opcode, initiatorTaskTag: number): Buffer {
    const header = this.#header.fill(0);
    header[0] = opcode;
    Bhs.initiatorTaskTag.set(header, initiatorTaskTag);
    return header;
  }

  #number(header: Buffer, statSN: number): void {
    ScsiResponseHeader.statSN.set(header, statSN);
    ScsiResponseHeader.expCmdSN.set(header, this.commands.expCmdSN);
    ScsiResponseHeader.maxCmdSN.set(header, this.commands.maxCmdSN);
  }
}

/** Bytes of data that every initiator over RDMA has room for in a response. */
const SMALLEST_RECEIVE = 128;

/** Target Transfer Tag of the pings; the answer repeats it and needs no telling apart. */
const PING_TAG = 1;

/**
 * RFC 7143 4.3: a discovery session takes text requests and the logout of the session only. A NOP-Out without a task tag is no request,
 * but the answer to a ping (RFC 7143 11.18.1).
 */
function isForNormalSessions(opcode: number, header: Buffer): boolean {
  return (
    opcode === Opcode.SCSI_COMMAND ||
    opcode === Opcode.TASK_MANAGEMENT_REQUEST ||
    (opcode === Opcode.LOGOUT_REQUEST && logoutReason(header) !== LogoutReason.CLOSE_SESSION) ||
    (opcode === Opcode.NOP_OUT && Bhs.initiatorTaskTag.get(header) !== RESERVED_TAG)
  );
}

function isForSeveralTasks(opcode: number, header: Buffer): boolean {
  if (opcode !== Opcode.TASK_MANAGEMENT_REQUEST) return false;
  switch (Bhs.flags.get(header) & 0x7f) {
    case TaskManagementFunction.ABORT_TASK_SET:
    case TaskManagementFunction.CLEAR_TASK_SET:
    case TaskManagementFunction.LOGICAL_UNIT_RESET:
    case TaskManagementFunction.TARGET_WARM_RESET:
    case TaskManagementFunction.TARGET_COLD_RESET:
      return true;
    default:
      return false;
  }
}

function rejectReasonOf(error: DataError): RejectReason {
  return error === 'digest' ? RejectReason.DATA_DIGEST_ERROR : RejectReason.INVALID_PDU_FIELD;
}

function violation(code: string, message: string): RiserError {
  return new RiserError(code, message, { by: 'peer', costs: 'connection' });
}

/**
 * Over RDMA a response must fit the receives that the initiator has posted, and what it declares is not always what it
 * posts: Linux' has room for 128 bytes of data, and in a discovery session for as much as in a login.
 */
function limitResponses(parameters: OperationalParameters, isDiscovery: boolean): void {
  parameters.initiatorMaxRecvDataSegmentLength = Math.min(
    parameters.initiatorMaxRecvDataSegmentLength,
    isDiscovery ? LOGIN_DATA_SEGMENT_LIMIT : SMALLEST_RECEIVE,
  );
}
