/**
 * What a connection sends in the full feature phase, initiator's side, but for SCSI commands and their data: requests for immediate
 * delivery with their numbers (RFC 7143 4.2.2.1), answers to pings, SNACKs.
 */

import type { InitiatorDatamover } from '../../datamover/datamover.js';
import { UnexpectedPdus } from '../unexpected-pdus.js';
import { Bhs, BHS_LENGTH, NopIn, NopOut, ScsiCommand, SnackRequest } from '../wire/headers.js';
import {
  FINAL,
  IMMEDIATE,
  LogoutReason,
  Opcode,
  OPCODE_MASK,
  RESERVED_TAG,
  SnackType,
} from '../wire/opcodes.js';
import type { CommandWindow } from './command-window.js';
import type { ResponseOrder } from './response-order.js';

export class RequestSender {
  readonly #datamover: InitiatorDatamover;
  readonly #window: CommandWindow;
  readonly #order: ResponseOrder;
  /** Immediate requests that the target has room for. */
  readonly #unexpected: UnexpectedPdus;
  /** Where the next PDU is written; the Datamover copies. */
  readonly #header = Buffer.alloc(BHS_LENGTH);
  /** Requests for which there is no room yet. */
  readonly #waiting: { header: Buffer; data: Buffer | null; expStatSN: number | null }[] = [];

  /** `maxUnexpected`: MaxOutstandingUnexpectedPDUs of the target. */
  constructor(
    datamover: InitiatorDatamover,
    window: CommandWindow,
    order: ResponseOrder,
    maxUnexpected: number,
  ) {
    this.#datamover = datamover;
    this.#window = window;
    this.#order = order;
    this.#unexpected = new UnexpectedPdus(maxUnexpected);
  }

  /** A header of a request for {@link sendRequest}, cleared; valid until the next call. */
  beginRequest(opcode: Opcode, initiatorTaskTag: number): Buffer {
    const header = this.#begin(opcode, initiatorTaskTag);
    Bhs.flags.set(header, FINAL);
    return header;
  }

  /**
   * Send it for immediate delivery, with the next CmdSN, which it does not take. When a target over RDMA has no room for that it
   * takes its turn with the commands, and waits if need be (RFC 7145 8.1.1.3).
   *
   * @param expStatSN instead of the connection's own
   */
  sendRequest(header: Buffer, data: Buffer | null, expStatSN: number | null = null): void {
    if (this.#waiting.length > 0 || !this.#trySend(header, data, expStatSN))
      this.#waiting.push({ header: Buffer.from(header), data, expStatSN });
    this.#datamover.flush();
  }

  #trySend(header: Buffer, data: Buffer | null, expStatSN: number | null): boolean {
    const isImmediate = this.#unexpected.room > 0;
    if (!isImmediate && !this.#window.isOpen) return false;
    this.#number(header);
    if (expStatSN !== null) ScsiCommand.expStatSN.set(header, expStatSN);
    if (isImmediate) {
      Bhs.opcode.set(header, Bhs.opcode.get(header) | IMMEDIATE);
      this.#unexpected.sent(this.#window.cmdSN);
    } else this.#window.take();
    this.#datamover.sendControl(header, data, data?.length ?? 0);
    if (endsSession(header)) this.#window.close();
    return true;
  }

  /** The target has taken all commands below `expCmdSN`, and the immediate requests that went with them. */
  taken(expCmdSN: number): void {
    this.#unexpected.retire(expCmdSN);
  }

  /** Send what waits, as far as there is room now. */
  sendWaiting(): void {
    const waiting = this.#waiting;
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      if (!this.#trySend(first.header, first.data, first.expStatSN)) break;
      waiting.shift();
    }
  }

  /** The connection is gone. */
  clear(): void {
    this.#waiting.length = 0;
  }

  /** RFC 7143 11.18.1 */
  answerPing(ping: Buffer): void {
    const tag = NopIn.targetTransferTag.get(ping);
    if (tag === RESERVED_TAG) return;
    const header = this.#begin(Opcode.NOP_OUT | IMMEDIATE, RESERVED_TAG);
    Bhs.flags.set(header, FINAL);
    Bhs.lunHigh.set(header, NopIn.lunHigh.get(ping));
    Bhs.lunLow.set(header, NopIn.lunLow.get(ping));
    NopOut.targetTransferTag.set(header, tag);
    this.#number(header);
    this.#datamover.sendControl(header, null, 0);
  }

  /** A SNACK for responses `begin` to `begin + length - 1` (RFC 7143 11.16). */
  requestStatus(begin: number, length: number): void {
    const header = this.#begin(Opcode.SNACK_REQUEST, RESERVED_TAG);
    SnackRequest.flags.set(header, FINAL | SnackType.STATUS);
    SnackRequest.targetTransferTag.set(header, RESERVED_TAG);
    SnackRequest.expStatSN.set(header, this.#order.expStatSN);
    SnackRequest.begRun.set(header, begin);
    SnackRequest.runLength.set(header, length);
    this.#datamover.sendControl(header, null, 0);
  }

  /** `opcode`: with the I bit where it is due. */
  #begin(opcode: number, initiatorTaskTag: number): Buffer {
    const header = this.#header.fill(0);
    header[0] = opcode;
    Bhs.initiatorTaskTag.set(header, initiatorTaskTag);
    return header;
  }

  #number(header: Buffer): void {
    ScsiCommand.cmdSN.set(header, this.#window.cmdSN);
    ScsiCommand.expStatSN.set(header, this.#order.expStatSN);
  }
}

/** Behind such a request nothing new may follow (RFC 7143 11.14). */
function endsSession(header: Buffer): boolean {
  const isLogout = (Bhs.opcode.get(header) & OPCODE_MASK) === Opcode.LOGOUT_REQUEST;
  return isLogout && Bhs.flags.get(header) === (FINAL | LogoutReason.CLOSE_SESSION);
}
