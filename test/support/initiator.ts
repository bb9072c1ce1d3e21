/**
 * A small initiator for tests and benchmarks: promise based, one connection, nothing clever. It does
 * what is right unless told to do what is wrong: every header can be built and sent by hand.
 */

import { randomBytes } from 'node:crypto';

import {
  Bhs,
  BHS_LENGTH,
  CDB_OFFSET,
  DataIn,
  DataOut,
  LogoutRequest,
  LoginResponse,
  NopIn,
  NopOut,
  R2T,
  ScsiCommand,
  ScsiResponse,
  TaskManagementRequest,
  TaskManagementResponse,
  TextRequest,
  TextResponse,
} from '../../src/iscsi/wire/headers.js';
import {
  CommandAttribute,
  CommandFlag,
  DATA_IN_STATUS,
  FINAL,
  IMMEDIATE,
  LogoutReason,
  Opcode,
  RESERVED_TAG,
  ResponseFlag,
  TextFlag,
} from '../../src/iscsi/wire/opcodes.js';
import { serialLess, serialLessOrEqual } from '../../src/util/serial.js';
import { readWriteCdb, SYNCHRONIZE_CACHE } from './cdb.js';
import { decodePairs, encodeKeys, type Keys, type LoginOptions, performLogin } from './login.js';
import { Inbox, type Pdu, PduSocket } from './pdu-socket.js';

const EMPTY: Buffer = Buffer.alloc(0);

export interface CommandOptions {
  /** Bytes of Data-In to expect. */
  dataIn?: number;
  /** Data-Out to give. */
  dataOut?: Buffer;
  /** Expected Data Transfer Length, when it is to differ from the data's length. */
  expectedLength?: number;
  attribute?: number;
  /** Send as an immediate command. */
  immediate?: boolean;
}

export interface CommandResult {
  /** iSCSI response code; 0 when the command completed at the target. */
  response: number;
  /** SCSI status. */
  status: number;
  /** Sense data, or nothing. */
  sense: Buffer;
  /** Data-In as far as it came. */
  data: Buffer;
  /** Negative: underflow; positive: overflow. */
  residual: number;
  /** Every PDU that answered the command, in order. */
  pdus: Pdu[];
}

/** A logged-in session of one connection. */
export class Initiator {
  readonly pdus: PduSocket;
  readonly isid: Buffer;
  readonly tsih: number;
  /** What the target declared or chose at login. */
  readonly answers: Keys;
  /** PDUs that answer no request: NOP-In, Async Message, Reject of something sent by hand. */
  readonly unsolicited = new Inbox();
  /** Whether the target's NOP-In pings are answered. */
  answersPings = true;
  cmdSN: number;
  expStatSN: number;
  expCmdSN: number;
  maxCmdSN: number;
  #nextTag = 1;
  readonly #inboxes = new Map<number, Inbox>();
  #windowOpened: (() => void)[] = [];

  private constructor(pdus: PduSocket, isid: Buffer, tsih: number, answers: Keys, lastResponse: Pdu) {
    this.pdus = pdus;
    this.isid = isid;
    this.tsih = tsih;
    this.answers = answers;
    this.cmdSN = LoginResponse.expCmdSN.get(lastResponse.header);
    this.expStatSN = (LoginResponse.statSN.get(lastResponse.header) + 1) >>> 0;
    this.expCmdSN = this.cmdSN;
    this.maxCmdSN = LoginResponse.maxCmdSN.get(lastResponse.header);
    pdus.deliver(
      (pdu) => this.#dispatch(pdu),
      (error) => this.#fail(error),
    );
  }

  /**
   * @example
   * const initiator = await Initiator.login({ port, targetName });
   * const { data } = await initiator.read(0, 0, 8);
   * await initiator.logout();
   */
  static async login(options: LoginOptions): Promise<Initiator> {
    const pdus = await PduSocket.connect(
      options.port,
      options.address,
      options.holdsOpen,
      options.localAddress,
    );
    // ISID format "random" (RFC 7143 11.12.5): two high bits 10.
    const isid = options.isid ?? Buffer.concat([Buffer.of(0x80), randomBytes(5)]);
    try {
      const { answers, tsih, lastResponse } = await performLogin(pdus, isid, options);
      return new Initiator(pdus, isid, tsih, answers, lastResponse);
    } catch (error) {
      pdus.destroy();
      throw error;
    }
  }

  /** Resolves when the connection is closed by either side. */
  get closed(): Promise<void> {
    return this.pdus.closed;
  }

  destroy(): void {
    this.pdus.destroy();
  }

  // ---- requests ----

  /** A header with opcode, a fresh Initiator Task Tag and the LUN; sequence numbers come with {@link Initiator.open}. */
  header(opcode: number, flags: number, lun = 0): Buffer {
    const header = Buffer.alloc(BHS_LENGTH);
    Bhs.opcode.set(header, opcode);
    Bhs.flags.set(header, flags);
    // Flat addressing below 256 (SAM-5 4.7.7.3: peripheral device addressing, bus 0).
    Bhs.lunHigh.set(header, lun << 16);
    Bhs.initiatorTaskTag.set(header, this.#nextTag++);
    return header;
  }

  /** Where the answers to a request with this header's tag arrive from now on. */
  await(header: Buffer): Inbox {
    const inbox = new Inbox();
    this.#inboxes.set(Bhs.initiatorTaskTag.get(header), inbox);
    return inbox;
  }

  /** Send a request with its sequence numbers filled in; its answers arrive in the inbox. */
  open(header: Buffer, data: Buffer = EMPTY): Inbox {
    const inbox = this.await(header);
    ScsiCommand.cmdSN.set(header, this.cmdSN);
    ScsiCommand.expStatSN.set(header, this.expStatSN);
    if ((Bhs.opcode.get(header) & IMMEDIATE) === 0) this.cmdSN = (this.cmdSN + 1) >>> 0;
    this.pdus.send(header, data);
    return inbox;
  }

  /** Forget a request's tag, so that it can be used again. */
  close(header: Buffer): void {
    this.#inboxes.delete(Bhs.initiatorTaskTag.get(header));
  }

  /** Send a request that has one answer. */
  async request(header: Buffer, data: Buffer = EMPTY): Promise<Pdu> {
    try {
      return await this.open(header, data).next();
    } finally {
      this.close(header);
    }
  }

  /** Resolves once the command window lets one more command through (RFC 7143 4.2.2.1). */
  async windowOpen(): Promise<void> {
    while (serialLess(this.maxCmdSN, this.cmdSN)) {
      await new Promise<void>((resolve) => this.#windowOpened.push(resolve));
    }
  }

  /** The header of a SCSI Command for `cdb`. */
  commandHeader(lun: number, cdb: Uint8Array, options: CommandOptions = {}): Buffer {
    const { dataIn = 0, dataOut = EMPTY, attribute = CommandAttribute.SIMPLE } = options;
    const direction = dataIn > 0 ? CommandFlag.READ : dataOut.length > 0 ? CommandFlag.WRITE : 0;
    const header = this.header(Opcode.SCSI_COMMAND, FINAL | direction | attribute, lun);
    if (options.immediate === true) header[0]! |= IMMEDIATE;
    const length = options.expectedLength ?? Math.max(dataIn, dataOut.length);
    ScsiCommand.expectedDataTransferLength.set(header, length);
    header.set(cdb, CDB_OFFSET);
    return header;
  }

  /** Carry out a SCSI command, its data by whatever way the login agreed on. */
  async command(lun: number, cdb: Uint8Array, options: CommandOptions = {}): Promise<CommandResult> {
    const dataOut = options.dataOut ?? EMPTY;
    const header = this.commandHeader(lun, cdb, options);
    const immediate =
      this.answers['ImmediateData'] === 'Yes' ? Math.min(dataOut.length, this.#firstBurst) : 0;
    const immediateLength = Math.min(immediate, this.#maxSegment);
    const unsolicitedEnd =
      this.answers['InitialR2T'] === 'No' ? Math.min(dataOut.length, this.#firstBurst) : 0;
    const hasUnsolicited = unsolicitedEnd > immediateLength;
    // F says that no unsolicited Data-Out follows (RFC 7143 11.3.1).
    if (hasUnsolicited) header[1]! &= ~FINAL;
    if (options.immediate !== true) await this.windowOpen();
    const inbox = this.open(header, dataOut.subarray(0, immediateLength));
    if (hasUnsolicited) {
      this.sendDataOut(header, RESERVED_TAG, dataOut, immediateLength, unsolicitedEnd - immediateLength);
    }
    try {
      return await this.#outcome(header, inbox, dataOut, options.dataIn ?? 0);
    } finally {
      this.close(header);
    }
  }

  /** One sequence of Data-Out PDUs: `length` bytes of `dataOut` from `offset` on (RFC 7143 11.7). */
  sendDataOut(
    command: Buffer,
    targetTransferTag: number,
    dataOut: Buffer,
    offset: number,
    length: number,
  ): void {
    const end = offset + length;
    for (let dataSN = 0; offset < end; dataSN++) {
      const part = dataOut.subarray(offset, Math.min(end, offset + this.#maxSegment));
      const isLast = offset + part.length === end;
      const header = this.dataOutHeader(command, targetTransferTag, dataSN, offset, isLast);
      this.pdus.send(header, part);
      offset += part.length;
    }
  }

  dataOutHeader(
    command: Buffer,
    transferTag: number,
    dataSN: number,
    offset: number,
    isLast: boolean,
  ): Buffer {
    const header = Buffer.alloc(BHS_LENGTH);
    Bhs.opcode.set(header, Opcode.DATA_OUT);
    Bhs.flags.set(header, isLast ? FINAL : 0);
    command.copy(header, 8, 8, 20); // LUN and Initiator Task Tag
    DataOut.targetTransferTag.set(header, transferTag);
    DataOut.expStatSN.set(header, this.expStatSN);
    DataOut.dataSN.set(header, dataSN);
    DataOut.bufferOffset.set(header, offset);
    return header;
  }

  async #outcome(
    header: Buffer,
    inbox: Inbox,
    dataOut: Buffer,
    dataInLength: number,
  ): Promise<CommandResult> {
    const dataIn = Buffer.alloc(dataInLength);
    const pdus: Pdu[] = [];
    let received = 0;
    for (;;) {
      const pdu = await inbox.next();
      pdus.push(pdu);
      switch (pdu.opcode) {
        case Opcode.R2T: {
          const offset = R2T.bufferOffset.get(pdu.header);
          const length = R2T.desiredDataTransferLength.get(pdu.header);
          this.sendDataOut(header, R2T.targetTransferTag.get(pdu.header), dataOut, offset, length);
          break;
        }
        case Opcode.DATA_IN: {
          const offset = DataIn.bufferOffset.get(pdu.header);
          pdu.data.copy(dataIn, offset);
          received = Math.max(received, offset + pdu.data.length);
          if ((Bhs.flags.get(pdu.header) & DATA_IN_STATUS) === 0) break;
          const data = dataIn.subarray(0, received);
          const status = DataIn.status.get(pdu.header);
          return { response: 0, status, sense: EMPTY, data, residual: residualOf(pdu.header), pdus };
        }
        case Opcode.SCSI_RESPONSE: {
          const senseLength = pdu.data.length >= 2 ? pdu.data.readUInt16BE(0) : 0;
          return {
            response: ScsiResponse.response.get(pdu.header),
            status: ScsiResponse.status.get(pdu.header),
            sense: pdu.data.subarray(2, 2 + senseLength),
            data: dataIn.subarray(0, received),
            residual: residualOf(pdu.header),
            pdus,
          };
        }
        default:
          throw new Error(`opcode 0x${pdu.opcode.toString(16)} answers a SCSI command`);
      }
    }
  }

  /** READ(16) of `blocks` blocks of 512 bytes, or of `blockSize`. */
  read(lun: number, lba: number, blocks: number, blockSize = 512): Promise<CommandResult> {
    return this.command(lun, readWriteCdb(0x88, lba, blocks, false), { dataIn: blocks * blockSize });
  }

  /** WRITE(16); `data` is whole blocks. */
  write(lun: number, lba: number, data: Buffer, fua = false, blockSize = 512): Promise<CommandResult> {
    return this.command(lun, readWriteCdb(0x8a, lba, data.length / blockSize, fua), { dataOut: data });
  }

  /** SYNCHRONIZE CACHE(10) of everything. */
  synchronizeCache(lun: number): Promise<CommandResult> {
    return this.command(lun, SYNCHRONIZE_CACHE);
  }

  /** A ping; the answer's data is the echo. */
  nop(data: Buffer = EMPTY, immediate = false): Promise<Pdu> {
    const header = this.header(Opcode.NOP_OUT | (immediate ? IMMEDIATE : 0), FINAL);
    NopOut.targetTransferTag.set(header, RESERVED_TAG);
    return this.request(header, data);
  }

  /** A text negotiation of one request; collects an answer that comes in several parts (RFC 7143 11.11.1). */
  async text(keys: Keys): Promise<[key: string, value: string][]> {
    const parts: Buffer[] = [];
    const header = this.header(Opcode.TEXT_REQUEST, FINAL);
    TextRequest.targetTransferTag.set(header, RESERVED_TAG);
    let data = encodeKeys(keys);
    for (;;) {
      const pdu = await this.request(header, data);
      if (pdu.opcode !== Opcode.TEXT_RESPONSE) throw new Error(`opcode ${pdu.opcode} answers a Text Request`);
      parts.push(pdu.data);
      if ((Bhs.flags.get(pdu.header) & TextFlag.FINAL) !== 0) return decodePairs(Buffer.concat(parts));
      TextRequest.targetTransferTag.set(header, TextResponse.targetTransferTag.get(pdu.header));
      data = EMPTY;
    }
  }

  /** A task management function, immediate; gives its response code. */
  async manageTask(fn: number, lun = 0, referencedTaskTag = RESERVED_TAG, refCmdSN = 0): Promise<number> {
    const header = this.header(Opcode.TASK_MANAGEMENT_REQUEST | IMMEDIATE, FINAL | fn, lun);
    TaskManagementRequest.referencedTaskTag.set(header, referencedTaskTag);
    TaskManagementRequest.refCmdSN.set(header, refCmdSN);
    const pdu = await this.request(header);
    return TaskManagementResponse.response.get(pdu.header);
  }

  /** Log out; gives the response. The target closes the connection after it. */
  logout(reason: number = LogoutReason.CLOSE_SESSION, cid = 0): Promise<Pdu> {
    const header = this.header(Opcode.LOGOUT_REQUEST | IMMEDIATE, FINAL | reason);
    LogoutRequest.cid.set(header, cid);
    return this.request(header);
  }

  // ---- what arrives ----

  #dispatch(pdu: Pdu): void {
    const { header } = pdu;
    this.#track(pdu);
    const tag = Bhs.initiatorTaskTag.get(header);
    if (pdu.opcode === Opcode.NOP_IN && tag === RESERVED_TAG) this.#pinged(header);
    const inbox = tag === RESERVED_TAG ? undefined : this.#inboxes.get(tag);
    (inbox ?? this.unsolicited).put(pdu);
  }

  /** Sequence numbers of RFC 7143 4.2.2. */
  #track({ opcode, header }: Pdu): void {
    const carriesStatus = opcode !== Opcode.DATA_IN || (Bhs.flags.get(header) & DATA_IN_STATUS) !== 0;
    // R2T and a NOP-In that no NOP-Out asked for show the next StatSN without using it up.
    const usesStatSN =
      carriesStatus &&
      opcode !== Opcode.R2T &&
      !(opcode === Opcode.NOP_IN && Bhs.initiatorTaskTag.get(header) === RESERVED_TAG);
    if (usesStatSN) this.expStatSN = (ScsiResponse.statSN.get(header) + 1) >>> 0;
    const expCmdSN = ScsiResponse.expCmdSN.get(header);
    const maxCmdSN = ScsiResponse.maxCmdSN.get(header);
    if (serialLess(this.expCmdSN, expCmdSN)) this.expCmdSN = expCmdSN;
    if (serialLessOrEqual(maxCmdSN, this.maxCmdSN)) return;
    this.maxCmdSN = maxCmdSN;
    const waiting = this.#windowOpened;
    this.#windowOpened = [];
    for (const wake of waiting) wake();
  }

  #pinged(ping: Buffer): void {
    const transferTag = NopIn.targetTransferTag.get(ping);
    if (transferTag === RESERVED_TAG || !this.answersPings) return;
    const pong = this.header(Opcode.NOP_OUT | IMMEDIATE, FINAL);
    ping.copy(pong, 8, 8, 16);
    NopOut.initiatorTaskTag.set(pong, RESERVED_TAG);
    NopOut.targetTransferTag.set(pong, transferTag);
    NopOut.cmdSN.set(pong, this.cmdSN);
    NopOut.expStatSN.set(pong, this.expStatSN);
    this.pdus.send(pong);
  }

  #fail(error: Error): void {
    for (const inbox of this.#inboxes.values()) inbox.fail(error);
    this.unsolicited.fail(error);
  }

  // ---- what was negotiated ----

  get #maxSegment(): number {
    return Number(this.answers['MaxRecvDataSegmentLength'] ?? 8192);
  }

  get #firstBurst(): number {
    return Number(this.answers['FirstBurstLength'] ?? 65536);
  }
}

function residualOf(header: Buffer): number {
  const flags = Bhs.flags.get(header);
  const count = ScsiResponse.residualCount.get(header);
  if ((flags & ResponseFlag.UNDERFLOW) !== 0) return -count;
  return (flags & ResponseFlag.OVERFLOW) !== 0 ? count : 0;
}
