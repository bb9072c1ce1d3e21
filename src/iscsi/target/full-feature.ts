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
} from '../../datamover/datamover.js';
import { RiserError } from '../../util/errors.js';
import type { BufferPool } from '../../util/memory.js';
import type { OperationalParameters } from '../login/keys.js';
import { LOGIN_DATA_SEGMENT_LIMIT } from '../login/target-login.js';
import { Bhs, DataOut, dumpHeader, ScsiCommand } from '../wire/headers.js';
import {
  CommandAttribute,
  CommandFlag,
  FINAL,
  IMMEDIATE,
  isAboutSeveralTasks,
  LogoutReason,
  LogoutResponse,
  Opcode,
  OPCODE_MASK,
  RejectReason,
  RESERVED_TAG,
} from '../wire/opcodes.js';
import { areAdditionalSegmentsSound } from './additional-segments.js';
import type { Command } from './command.js';
import { CommandTable, IMMEDIATE_RESERVE, Turn } from './command-table.js';
import { type ConnectionEnder, handleLogout, isLogoutOfOther, logoutReason } from './logout.js';
import { Responses, type ResponsesHost } from './responses.js';
import { isOfScsiCommand, type Retention } from './retention.js';
import { handleTaskManagement, type TaskManagementCall } from './task-management.js';
import { TextExchange, type TargetDirectory } from './text-exchange.js';

/** What a full-feature connection needs from the layer above. */
export interface FullFeatureHost extends ConnectionEnder, ResponsesHost {
  /** A new command for the pool of `phase`; only normal sessions ask. */
  createCommand(phase: FullFeature): Command;
  /** Carry out a task management function and call `call.respond` once, at once or later. */
  manageTasks(call: TaskManagementCall): void;
  /** The session's commands; null until its first connection has made the table. */
  sharedCommands: CommandTable | null;
  /** Whether the session goes on without this connection, and may continue its tasks (RFC 7143 7.1.4.3). */
  keepsTasks(phase: FullFeature): boolean;
  /** What SendTargets tells this initiator. */
  readonly directory: TargetDirectory;
  readonly buffers: BufferPool;
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

export class FullFeature implements TargetDatamoverEvents {
  readonly datamover: TargetDatamover;
  readonly parameters: OperationalParameters;
  readonly commands: CommandTable;
  readonly responses: Responses;
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
  readonly #retention: Retention | null;

  constructor(options: FullFeatureOptions) {
    const { host, parameters } = options;
    this.datamover = options.datamover;
    this.parameters = parameters;
    this.#host = host;
    this.#isDiscovery = options.isDiscovery;
    this.connectionId = options.connectionId;
    this.commands = host.sharedCommands ??= new CommandTable(options.expCmdSN, options.commandWindow, () =>
      host.createCommand(this),
    );
    this.responses = new Responses({
      datamover: this.datamover,
      host,
      parameters,
      statSN: options.statSN,
      commands: this.commands,
      findCommand: (tag) => this.findCommand(tag),
    });
    this.#retention = this.responses.retention;
    this.#text = new TextExchange(this, host.directory, parameters, options.isDiscovery);
    if (this.#isRdma) limitResponses(parameters, options.isDiscovery);
    this.#maxReceivePDUs =
      options.commandWindow + IMMEDIATE_RESERVE + parameters.targetMaxOutstandingUnexpectedPDUs;
    this.datamover.enableDatamover(this.#connectionParameters(), this.responses);
  }

  // ---- TargetDatamoverEvents ----

  controlNotify(pdu: ControlPdu): void {
    this.hasHeard = true;
    if (this.isRemoved || this.hasLoggedOut) return;
    const header = pdu.header;
    const opcode = header[0]! & OPCODE_MASK;
    this.responses.received(ScsiCommand.expStatSN.get(header));
    if (this.#retention !== null && (opcode !== Opcode.LOGOUT_REQUEST || !isLogoutOfOther(this, header)))
      this.#retention.acknowledge(ScsiCommand.expStatSN.get(header));
    if (opcode === Opcode.DATA_OUT) {
      this.#unsolicitedData(pdu);
      return;
    }
    if (opcode === Opcode.SNACK_REQUEST) {
      // There is no recovery within a connection at ErrorRecoveryLevel 0 (RFC 7143 11.16), and over RDMA no SNACK (RFC 7145 7.3.11).
      if (this.#retention !== null) this.#retention.snack(header);
      else
        this.responses.reject(header, this.#isRdma ? RejectReason.PROTOCOL_ERROR : RejectReason.SNACK_REJECT);
      return;
    }
    if (pdu.dataDigestFailed) {
      // The PDU is discarded, and with it its CmdSN: the initiator sends it again (RFC 7143 7.8).
      this.responses.reject(header, RejectReason.DATA_DIGEST_ERROR);
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
        this.responses.reject(header, RejectReason.IMMEDIATE_COMMAND_REJECT);
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
      opcode === Opcode.TASK_MANAGEMENT_REQUEST &&
      isAboutSeveralTasks(Bhs.flags.get(header) & 0x7f) &&
      this.commands.isOvertaking(ScsiCommand.cmdSN.get(header))
    );
  }

  /**
   * Whether a request before another may be missing: with recovery within a connection it will be sent again (RFC 7143 7.2.1), and of
   * several connections each has its own pace.
   */
  get #mayComeEarly(): boolean {
    return this.#retention !== null || this.parameters.maxConnections > 1;
  }

  /** Carry a request out whose turn it is. */
  #execute(pdu: ControlPdu, opcode: number, isImmediate: boolean): void {
    const header = pdu.header;
    if (this.#isDiscovery && isForNormalSessions(opcode, header)) {
      this.responses.reject(header, RejectReason.PROTOCOL_ERROR);
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
        if (this.#isRdma) this.responses.reject(header, RejectReason.PROTOCOL_ERROR);
        else this.drop(violation('LOGIN_IN_FULL_FEATURE', 'the initiator sent a Login Request after login'));
        break;
      default:
        this.responses.reject(header, RejectReason.COMMAND_NOT_SUPPORTED);
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
    if (this.#retention === null || error !== 'digest') (transfer as Command).loseData(error);
    this.responses.reject(header, rejectReasonOf(error));
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
    this.#endTasks();
  }

  /** Those of the session's last connection are gone with the session. */
  #endTasks(): void {
    for (const command of this.commands.held.drop(this)) command.end();
    for (const command of this.commands.of(this)) command.terminate();
    this.#retention?.clear();
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
    const kept = this.#retention!.take();
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
    this.#retention?.tick();
    // RFC 7143 11.4.11
    if (this.commands.isOpenUnknown && !this.isRemoved) this.responses.ping();
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
      this.responses.reject(header, RejectReason.INVALID_PDU_FIELD);
    } else if (this.commands.find(tag) !== null) {
      this.responses.reject(header, RejectReason.TASK_IN_PROGRESS);
    } else if (isImmediate && !this.commands.hasRoomForImmediate) {
      this.responses.reject(header, RejectReason.IMMEDIATE_COMMAND_REJECT);
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
      this.responses.reject(header, RejectReason.INVALID_PDU_FIELD);
      return;
    }
    if (!pdu.dataDigestFailed && command.unsolicitedData(pdu)) return;
    const error = pdu.dataDigestFailed ? 'digest' : 'sequence';
    if (this.#retention !== null && command.recoverUnsolicited(pdu)) {
      if (pdu.dataDigestFailed) this.responses.reject(header, RejectReason.DATA_DIGEST_ERROR);
      return;
    }
    command.loseData(error);
    this.responses.reject(header, rejectReasonOf(error));
    command.endLostUnsolicited((DataOut.flags.get(header) & FINAL) !== 0);
  }

  /** RFC 7143 11.18 */
  #nopOut(pdu: ControlPdu): void {
    // Without a task tag it answers our own ping, or only acknowledges: no answer.
    if (Bhs.initiatorTaskTag.get(pdu.header) === RESERVED_TAG) return;
    this.responses.sendNopIn(pdu.header, pdu.data(), pdu.dataLength);
  }

  // ---- the end ----

  /** RFC 7143 11.14, 11.15: what the connection has is gone before the initiator hears so, and tells others. */
  #logout(request: Buffer): void {
    const isOther = isLogoutOfOther(this, request);
    const response = handleLogout(this, this.#host, request);
    const isEnd = response === LogoutResponse.SUCCESS && !isOther;
    if (isEnd && !this.isRemoved) {
      this.hasLoggedOut = true;
      this.#host.loggedOut();
      this.#endTasks();
    }
    this.responses.sendLogoutResponse(Bhs.initiatorTaskTag.get(request), response, !isEnd);
    if (isEnd) this.datamover.connectionTerminate();
  }

  /** End the connection because of `error`. */
  drop(error: RiserError): void {
    this.datamover.deallocateConnectionResources(error);
  }

  /** Negotiation in the full feature phase has changed `parameters`. */
  parametersChanged(): void {
    this.datamover.noticeKeyValues(this.#connectionParameters());
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
}

/** Bytes of data that every initiator over RDMA has room for in a response. */
const SMALLEST_RECEIVE = 128;

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
