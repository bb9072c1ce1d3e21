/**
 * The target's side of the Datamover over RDMA: Data-In goes into the initiator's memory by RDMA Writes, Data-Out is
 * fetched from there by RDMA Reads (RFC 7145 7.3.5, 7.3.6).
 */

import { BHS_LENGTH, ScsiResponse } from '../../iscsi/wire/headers.js';
import { FINAL, Opcode, ScsiResponse as Response } from '../../iscsi/wire/opcodes.js';
import { SendFlag, SendOpcode } from '../../rdma/work.js';
import { AccessFlag, type MemoryRegion, type RdmaConnection } from '../../rdma/verbs.js';
import { Memory, type ScatterList } from '../../util/memory.js';
import type {
  ConnectionParameters,
  ControlPdu,
  DataTransfer,
  Numbering,
  TargetDatamover,
  TargetDatamoverEvents,
  TargetTransfer,
} from '../datamover.js';
import { helloReplyMessage, ISER_HEADER_LENGTH, IserOpcode, readHello } from './header.js';
import { IserDatamover, Work, workId } from './iser-datamover.js';
import type { OutgoingMessage } from './message-buffers.js';
import type { RegisteredMemory } from './registered-memory.js';

/** A login is one PDU to and one fro; what is more than that comes from nobody who means well. */
const LOGIN_RECEIVES = 2;
/** RDMA Reads that are posted at most, on their way or waiting for the depth that was agreed on. */
const READS = 512;

/** A posted RDMA Read. */
interface Read {
  transfer: TargetTransfer | null;
  offset: number;
  length: number;
  /** Where it goes, registered for it alone; null where its buffer is registered for all. */
  sink: MemoryRegion | null;
}

export class TargetIserDatamover extends IserDatamover implements TargetDatamover {
  /** An RDMA Read that is posted cannot be taken back. */
  readonly abandonsAtOnce = false;
  readonly #events: TargetDatamoverEvents;
  readonly #memory: RegisteredMemory;
  /** The initiator lets its keys be invalidated by Sends. */
  readonly #mayInvalidate: boolean;
  /** RDMA Reads that the connection may have under way. */
  #depth: number;
  /** RDMA Reads that are posted at a time. */
  #mostReads: number;
  #numbering!: Numbering;
  #isHelloDue = false;
  #isRejected = false;
  readonly #reads: Read[] = [];
  readonly #freeReads: number[] = [];
  /** Transfers whose next read finds no place. */
  readonly #waiting: TargetTransfer[] = [];
  /** Those whose task is over, while data still comes into their buffers. */
  readonly #abandoned = new Set<TargetTransfer>();

  constructor(
    connection: RdmaConnection,
    registered: RegisteredMemory,
    events: TargetDatamoverEvents,
    mayInvalidate: boolean,
    depth: number,
  ) {
    super(connection, registered, events, LOGIN_RECEIVES);
    this.#events = events;
    this.#memory = registered;
    this.#mayInvalidate = mayInvalidate;
    this.#depth = depth;
    this.#mostReads = Math.min(READS, this.commandRoom);
  }

  get commandLimit(): number {
    return this.commandRoom;
  }

  readonly retransmission = null;

  get takesLoans(): boolean {
    return this.#memory.hasRoom;
  }

  prepare(buffer: ScatterList): boolean {
    return this.#memory.prepare(buffer);
  }

  enableDatamover(parameters: ConnectionParameters, numbering: Numbering): void {
    this.#numbering = numbering;
    this.#isHelloDue = parameters.helloRequired;
    this.enable(parameters);
  }

  // ---- input ----

  protected override readonly helloOpcode = IserOpcode.HELLO;

  protected override get awaitsHello(): boolean {
    return this.#isHelloDue;
  }

  /** RFC 7145 5.1.3 */
  protected override hello(message: Uint8Array): void {
    const served = readHello(message);
    this.#isRejected = served === null || (served > 0 && this.#depth === 0);
    this.#isHelloDue = false;
    this.#depth = Math.min(this.#depth, served ?? 0);
    this.#mostReads = Math.min(this.#mostReads, this.#depth);
    this.sendHello(helloReplyMessage(this.#depth, this.#isRejected));
    if (this.#isRejected) this.connectionTerminate();
  }

  protected override control(pdu: ControlPdu): void {
    // What comes behind a Hello that was rejected is of no interest.
    if (!this.#isRejected) this.notifyControl(pdu);
  }

  protected override messageLeft(transfer: DataTransfer): void {
    const { regions, count } = transfer.buffer;
    for (let i = 0; i < count; i++) this.registered.release(regions[i]!);
    this.#events.buffersReleased(transfer);
  }

  protected override terminated(): void {
    for (const read of this.#reads) if (read.transfer !== null) this.#releaseRead(read);
    for (const transfer of this.#abandoned) this.#events.buffersReleased(transfer);
    this.#abandoned.clear();
    this.#waiting.length = 0;
  }

  // ---- Data-In ----

  putData(
    transfer: TargetTransfer,
    length: number,
    status: number,
    residualFlags: number,
    residual: number,
  ): void {
    if (!this.isTerminated && transfer.remote.readKey === 0)
      this.violation('ISER_NO_READ_STAG', 'a command that reads without a Read STag');
    if (this.isTerminated) {
      this.#events.buffersReleased(transfer);
      return;
    }
    if (!this.#write(transfer, length)) return;
    const message = this.beginHeaders(null, 0, false);
    if (this.hasEnded()) {
      this.messageLeft(transfer);
      return;
    }
    this.#putResponse(message, transfer, status, residualFlags, residual);
    message.transfer = transfer;
    this.postMessage(message, this.#invalidates(transfer));
  }

  /** A SCSI Response (RFC 7143 11.4) that says that the data is there. */
  #putResponse(
    { memory: { view }, offset }: OutgoingMessage,
    { initiatorTaskTag }: TargetTransfer,
    status: number,
    residualFlags: number,
    residual: number,
  ): void {
    const at = offset + ISER_HEADER_LENGTH;
    const numbering = this.#numbering;
    view.setUint32(
      at,
      (Opcode.SCSI_RESPONSE << 24) | ((FINAL | residualFlags) << 16) | (Response.COMPLETED << 8) | status,
    );
    for (let i = 4; i < BHS_LENGTH; i += 4) view.setUint32(at + i, 0);
    view.setUint32(at + ScsiResponse.initiatorTaskTag.offset, initiatorTaskTag);
    view.setUint32(at + ScsiResponse.statSN.offset, numbering.takeStatSN());
    view.setUint32(at + ScsiResponse.expCmdSN.offset, numbering.expectedCmdSN());
    view.setUint32(at + ScsiResponse.maxCmdSN.offset, numbering.maxCmdSN());
    view.setUint32(at + ScsiResponse.residualCount.offset, residual);
  }

  /** All of the buffer is held until the status has left. False: it cannot be, so that the connection has ended. */
  #write(transfer: TargetTransfer, length: number): boolean {
    const { request, registered } = this;
    const { buffer, remote } = transfer;
    request.opcode = SendOpcode.RDMA_WRITE;
    request.flags = 0;
    request.id = workId(Work.OTHER, 0);
    request.remoteKey = remote.readKey;
    request.sges.clear();
    let offset = 0;
    for (let i = 0; i < buffer.count; i++) {
      const region = this.#hold(buffer.regions[i]!);
      if (region === null) {
        while (i-- > 0) registered.release(buffer.regions[i]!);
        this.#events.buffersReleased(transfer);
        return false;
      }
      const part = Math.min(buffer.lengths[i]!, length - offset - request.sges.length);
      if (part <= 0) continue;
      request.sges.add(region, buffer.offsets[i]!, part);
      if (request.sges.count < this.sges && offset + request.sges.length < length) continue;
      this.#aim(remote.readHigh, remote.readLow, offset);
      offset += request.sges.length;
      this.postRequest();
      request.sges.clear();
    }
    return true;
  }

  /** Null: there is no room for it, so that the connection has ended. {@link prepare} keeps most from that. */
  #hold(memory: Memory): MemoryRegion | null {
    try {
      return this.registered.hold(memory);
    } catch (error) {
      this.deallocateConnectionResources(error as Error);
      return null;
    }
  }

  /** The peer's address, `offset` bytes behind the one that it advertised. */
  #aim(high: number, low: number, offset: number): void {
    const sum = low + offset;
    this.request.remoteAddressHigh = (high + Math.floor(sum / 0x1_0000_0000)) >>> 0;
    this.request.remoteAddressLow = sum >>> 0;
  }

  sendResponse(transfer: TargetTransfer, header: Buffer, data: Uint8Array | null, length: number): void {
    if (!this.isTerminated) this.sendPdu(header, data, length, this.#invalidates(transfer));
  }

  /** RFC 7145 7.3.2: the Read STag if there is one, else the Write STag. */
  #invalidates({ remote }: TargetTransfer): number {
    if (!this.#mayInvalidate) return 0;
    return remote.readKey === 0 ? remote.writeKey : remote.readKey;
  }

  // ---- Data-Out ----

  getData(transfer: TargetTransfer): void {
    transfer.solicitedReceived = 0;
    if (this.isTerminated) return;
    if (transfer.remote.writeKey === 0)
      this.violation('ISER_NO_WRITE_STAG', 'a command that writes without a Write STag');
    else if (this.#depth === 0) this.violation('ISER_NO_READS', 'an IRD of 0, and a command that writes');
    else this.#solicit(transfer);
  }

  #solicit(transfer: TargetTransfer): void {
    const { maxBurstLength, maxOutstandingR2T } = this.parameters;
    while (
      transfer.solicitOffset < transfer.solicitEnd &&
      transfer.outstandingR2Ts < maxOutstandingR2T &&
      !this.isTerminated
    ) {
      // A place that is waited for counts, too.
      transfer.outstandingR2Ts++;
      const length = Math.min(transfer.solicitEnd - transfer.solicitOffset, maxBurstLength);
      if (this.#freeReads.length === 0 && this.#reads.length >= this.#mostReads) {
        this.#waiting.push(transfer);
        return;
      }
      this.#read(transfer, transfer.solicitOffset, length);
    }
  }

  #read(transfer: TargetTransfer, from: number, most: number): void {
    const { request, registered } = this;
    const { buffer, remote } = transfer;
    const { maxReadSges, readNeedsRemoteWrite } = this.connection.device.attributes;
    const maxSges = readNeedsRemoteWrite ? 1 : Math.min(this.sges, maxReadSges);
    const list = request.sges.clear();
    let sink: MemoryRegion | null = null;
    let at = 0;
    for (let i = 0; i < buffer.count && list.count < maxSges && list.length < most; i++) {
      const have = buffer.lengths[i]!;
      const skip = Math.max(0, from - at);
      at += have;
      if (skip >= have) continue;
      const part = Math.min(have - skip, most - list.length);
      const memory = buffer.regions[i]!;
      const offset = buffer.offsets[i]! + skip;
      const region = readNeedsRemoteWrite ? (sink = this.#sink(memory, offset, part)) : this.#hold(memory);
      if (region === null) {
        for (let k = 0; k < list.count; k++) registered.release(list.regions[k]!.memory);
        return;
      }
      list.add(region, sink === null ? offset : 0, part);
    }
    const index =
      this.#freeReads.pop() ?? this.#reads.push({ transfer: null, offset: 0, length: 0, sink: null }) - 1;
    const read = this.#reads[index]!;
    read.transfer = transfer;
    read.sink = sink;
    read.offset = from;
    read.length = list.length;
    transfer.solicitOffset = from + list.length;
    request.opcode = SendOpcode.RDMA_READ;
    request.flags = SendFlag.SIGNALED;
    request.id = workId(Work.READ, index);
    request.remoteKey = remote.writeKey;
    const unsolicited = this.parameters.taggedBufferForSolicitedDataOnly ? transfer.unsolicitedLength : 0;
    this.#aim(remote.writeHigh, remote.writeLow, from - unsolicited);
    this.postRequest();
  }

  protected override readCompleted(index: number): void {
    const read = this.#reads[index]!;
    const transfer = read.transfer!;
    this.#releaseRead(read);
    read.transfer = null;
    this.#freeReads.push(index);
    transfer.outstandingR2Ts--;
    transfer.solicitedReceived += read.length;
    if (this.#abandoned.has(transfer)) {
      if (transfer.outstandingR2Ts === 0) {
        this.#abandoned.delete(transfer);
        this.#events.buffersReleased(transfer);
      }
    } else if (transfer.solicitOffset < transfer.solicitEnd) this.#solicit(transfer);
    else if (transfer.outstandingR2Ts === 0) this.#events.dataCompletionNotify(transfer);
    const next = this.#waiting.shift();
    if (next === undefined) return;
    next.outstandingR2Ts--;
    this.#solicit(next);
  }

  /**
   * What the initiator may write to until the read is complete: this device tells it the key. The buffer's own registration,
   * which lasts and has others' data beside, must not have such a key.
   */
  #sink({ bytes }: Memory, offset: number, length: number): MemoryRegion | null {
    const part = new Memory(bytes.subarray(offset, offset + length));
    const access = AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_WRITE;
    try {
      return this.#memory.registerBriefly(part, access);
    } catch (error) {
      this.deallocateConnectionResources(error as Error);
      return null;
    }
  }

  /** Let go of the memory of a read. */
  #releaseRead(read: Read): void {
    const { sink, offset: from, length } = read;
    if (sink !== null) {
      sink.deregister();
      read.sink = null;
      return;
    }
    const { buffer } = read.transfer!;
    let at = 0;
    for (let i = 0; i < buffer.count && at < from + length; i++) {
      const have = buffer.lengths[i]!;
      if (at + have > from) this.registered.release(buffer.regions[i]!);
      at += have;
    }
  }

  abandon(transfer: TargetTransfer): boolean {
    transfer.solicitOffset = transfer.solicitEnd;
    for (let at = this.#waiting.indexOf(transfer); at >= 0; at = this.#waiting.indexOf(transfer)) {
      this.#waiting.splice(at, 1);
      transfer.outstandingR2Ts--;
    }
    if (this.isTerminated || transfer.outstandingR2Ts === 0) return true;
    this.#abandoned.add(transfer);
    return false;
  }
}
