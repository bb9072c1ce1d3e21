/**
 * What a connection sends in the full feature phase, target's side, but for Data-In and R2T: responses with their numbers
 * (RFC 7143 4.2.2), and what the target says unasked.
 */

import type { Numbering, TargetDatamover } from '../../datamover/datamover.js';
import type { Logger } from '../../util/logger.js';
import { serialAdd } from '../../util/serial.js';
import type { OperationalParameters } from '../login/keys.js';
import { UnexpectedPdus } from '../unexpected-pdus.js';
import {
  AsyncMessage,
  Bhs,
  BHS_LENGTH,
  dumpHeader,
  LogoutResponse as LogoutResponseHeader,
  NopIn,
  NopOut,
  Reject,
  ScsiResponse as ScsiResponseHeader,
  TaskManagementResponse as TaskManagementResponseHeader,
} from '../wire/headers.js';
import {
  AsyncEvent,
  FINAL,
  Opcode,
  OPCODE_MASK,
  type RejectReason,
  RESERVED_TAG,
  ScsiResponse,
  type TaskManagementResponse,
} from '../wire/opcodes.js';
import type { Command } from './command.js';
import type { CommandTable } from './command-table.js';
import { Retention } from './retention.js';

/** What the session says of itself. */
export interface ResponsesHost {
  /** Seconds, besides DefaultTime2Wait, that the session keeps the tasks of a lost connection. */
  readonly time2Retain: number;
  readonly log: Logger;
}

export interface ResponsesOptions {
  datamover: TargetDatamover;
  host: ResponsesHost;
  parameters: OperationalParameters;
  /** StatSN of the first response. */
  statSN: number;
  commands: CommandTable;
  /** The active command with this tag, if it came by this connection. */
  findCommand: (initiatorTaskTag: number) => Command | null;
}

/** Target Transfer Tag of the pings; the answer repeats it and needs no telling apart. */
const PING_TAG = 1;

export class Responses implements Numbering {
  readonly datamover: TargetDatamover;
  readonly parameters: OperationalParameters;
  /** What may have to be sent again; null at ErrorRecoveryLevel 0. */
  readonly retention: Retention | null;
  readonly #host: ResponsesHost;
  readonly #commands: CommandTable;
  #statSN: number;
  /** What the initiator has room for, although it answers nothing. */
  readonly #unexpected: UnexpectedPdus;
  /** The Datamover copies what is made here. */
  readonly #header = Buffer.alloc(BHS_LENGTH);
  readonly #senseData = Buffer.alloc(2 + 255);
  /** Aborted commands whose data is still on its way. */
  #abortedWhileRead = 0;
  /** Responses to task management that wait for that. */
  readonly #heldResponses: {
    initiatorTaskTag: number;
    response: TaskManagementResponse;
    information: number;
  }[] = [];

  constructor({ datamover, host, parameters, statSN, commands, findCommand }: ResponsesOptions) {
    this.datamover = datamover;
    this.parameters = parameters;
    this.#host = host;
    this.#commands = commands;
    this.#statSN = statSN;
    this.#unexpected = new UnexpectedPdus(parameters.initiatorMaxOutstandingUnexpectedPDUs);
    const { retransmission } = datamover;
    this.retention =
      parameters.errorRecoveryLevel > 0 && retransmission !== null
        ? new Retention(this, findCommand, retransmission)
        : null;
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
    return this.#commands.expCmdSN;
  }

  maxCmdSN(): number {
    const { maxCmdSN } = this.#commands;
    this.#commands.toldMaxCmdSN = maxCmdSN;
    return maxCmdSN;
  }

  // ---- answers ----

  /** A SCSI Response (RFC 7143 11.4), with sense data if there is any. */
  sendScsiResponse(
    command: Command,
    status: number,
    residualFlags: number,
    residual: number,
    sense: Uint8Array,
    senseLength: number,
  ): void {
    const header = this.begin(Opcode.SCSI_RESPONSE, command.initiatorTaskTag);
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

  /** The NOP-In that answers a NOP-Out: its `length` bytes of `data` come back (RFC 7143 11.18, 11.19). */
  sendNopIn(request: Buffer, data: Buffer, length: number): void {
    const header = this.begin(Opcode.NOP_IN, Bhs.initiatorTaskTag.get(request));
    Bhs.flags.set(header, FINAL);
    NopIn.lunHigh.set(header, NopOut.lunHigh.get(request));
    NopIn.lunLow.set(header, NopOut.lunLow.get(request));
    NopIn.targetTransferTag.set(header, RESERVED_TAG);
    this.send(header, data, Math.min(length, this.parameters.initiatorMaxRecvDataSegmentLength));
  }

  /** RFC 7143 11.15. `isKept`: for a SNACK, which cannot come where the connection ends with it. */
  sendLogoutResponse(initiatorTaskTag: number, response: number, isKept: boolean): void {
    const header = this.begin(Opcode.LOGOUT_RESPONSE, initiatorTaskTag);
    Bhs.flags.set(header, FINAL);
    LogoutResponseHeader.response.set(header, response);
    LogoutResponseHeader.time2Wait.set(header, this.parameters.defaultTime2Wait);
    LogoutResponseHeader.time2Retain.set(header, this.#host.time2Retain);
    this.#number(header, this.takeStatSN());
    if (isKept) this.retention?.keep(header, null, 0);
    this.datamover.sendControl(header, null, 0);
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
    const header = this.begin(Opcode.TASK_MANAGEMENT_RESPONSE, initiatorTaskTag);
    Bhs.flags.set(header, FINAL);
    TaskManagementResponseHeader.response.set(header, response);
    TaskManagementResponseHeader.information.set(header, information);
    this.send(header, null, 0);
    this.datamover.flush();
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

  /** Refuse a PDU (RFC 7143 11.17): its header goes back as data. Of data for an active task the initiator expects no answer. */
  reject(request: Buffer, reason: RejectReason, dataSN = 0): void {
    this.#host.log.warn(`rejected a PDU, reason 0x${reason.toString(16)}: ${dumpHeader(request)}`);
    const opcode = request[0]! & OPCODE_MASK;
    const isExpected = opcode !== Opcode.DATA_OUT && opcode !== Opcode.SNACK_REQUEST;
    if (!isExpected && !this.#maySurprise()) return;
    const header = this.begin(Opcode.REJECT, RESERVED_TAG);
    Bhs.flags.set(header, FINAL);
    Reject.reason.set(header, reason);
    Reject.dataSN.set(header, dataSN);
    this.send(header, request, BHS_LENGTH);
  }

  // ---- what nobody asked for ----

  /** The initiator has all responses below `expStatSN`. */
  received(expStatSN: number): void {
    this.#unexpected.retire(expStatSN);
  }

  /** Ask the initiator for a sign of life (RFC 7143 11.19). */
  ping(): void {
    const header = this.begin(Opcode.NOP_IN, RESERVED_TAG);
    Bhs.flags.set(header, FINAL);
    NopIn.targetTransferTag.set(header, PING_TAG);
    // A ping carries the next StatSN without taking it.
    this.#number(header, this.#statSN);
    this.datamover.sendControl(header, null, 0);
    this.datamover.flush();
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
    const header = this.begin(Opcode.ASYNC_MESSAGE, RESERVED_TAG);
    Bhs.flags.set(header, FINAL);
    AsyncMessage.asyncEvent.set(header, event);
    AsyncMessage.parameter1.set(header, parameter1);
    AsyncMessage.parameter2.set(header, this.parameters.defaultTime2Wait);
    AsyncMessage.parameter3.set(header, this.#host.time2Retain);
    this.send(header, null, 0);
    this.datamover.flush();
  }

  /**
   * Whether a PDU may be sent now that answers nothing. The last for which an initiator over RDMA has room is kept for a ping,
   * whose answer tells what it has taken (RFC 7145 8.1.2). If so, it is counted as sent.
   */
  #maySurprise(): boolean {
    const hasRoom = this.#unexpected.room > 1;
    if (hasRoom) this.#unexpected.sent(this.#statSN);
    return hasRoom;
  }

  // ---- PDUs ----

  /** The header of the next PDU for {@link send}, cleared; valid until the next call. */
  begin(opcode: Opcode, initiatorTaskTag: number): Buffer {
    const header = this.#header.fill(0);
    header[0] = opcode;
    Bhs.initiatorTaskTag.set(header, initiatorTaskTag);
    return header;
  }

  /** Give a response its StatSN and queue it. */
  send(header: Buffer, data: Uint8Array | null, length: number): void {
    this.#number(header, this.takeStatSN());
    this.retention?.keep(header, data, length);
    this.datamover.sendControl(header, data, length);
  }

  #number(header: Buffer, statSN: number): void {
    ScsiResponseHeader.statSN.set(header, statSN);
    ScsiResponseHeader.expCmdSN.set(header, this.#commands.expCmdSN);
    ScsiResponseHeader.maxCmdSN.set(header, this.maxCmdSN());
  }
}
