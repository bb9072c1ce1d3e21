/**
 * What both roles of the Datamover over TCP have in common (RFC 7143 over a byte stream): framing PDUs,
 * checking digests, and putting the data of Data-Out or Data-In where it belongs; `pdu-writer.ts` makes what
 * leaves. Everything that one read brought is handled before one gathered write answers it.
 */

import { BHS_LENGTH, DataOut, DIGEST_LENGTH } from '../../iscsi/wire/headers.js';
import { type Opcode, OPCODE_MASK } from '../../iscsi/wire/opcodes.js';
import { DIRECT_FROM } from '../../stream/index.js';
import { RiserError } from '../../util/errors.js';
import { copyBytes, copyMemory, Memory, ScatterList } from '../../util/memory.js';
import {
  type ConnectionParameters,
  ControlPdu,
  type Datamover,
  type DatamoverEvents,
  type DataTransfer,
  LOGIN_DATA_SEGMENT,
  LOGIN_PARAMETERS,
} from '../datamover.js';
import type { ByteStream, ByteStreamEvents } from './byte-stream.js';
import { digestMatches } from './digest.js';
import { PduWriter } from './pdu-writer.js';

/** Header, the longest additional header segments, padding and both digests. */
const PDU_OVERHEAD = BHS_LENGTH + 255 * 4 + 3 + 2 * DIGEST_LENGTH;
/** A full-feature receive buffer has room for one whole PDU and a batch of commands behind it. */
const BATCH = 64 * 1024;
/** Reads of one input event before others get their turn. */
const READS_PER_EVENT = 16;

/** Why a data PDU is welcome: its data goes to the transfer's buffer, at the offset that the PDU names. */
export interface Placement {
  readonly transfer: DataTransfer | null;
}

export abstract class TcpDatamover<P extends Placement> implements Datamover, ByteStreamEvents {
  readonly kind = 'tcp';
  readonly device = null;
  protected readonly stream: ByteStream;
  protected readonly writer: PduWriter;
  protected parameters: Readonly<ConnectionParameters> = LOGIN_PARAMETERS;
  protected isTerminated = false;
  readonly #events: DatamoverEvents;
  /** Data PDUs that this role receives; Data-In and Data-Out have the buffer offset in the same place. */
  readonly #dataOpcode: Opcode;

  /** Received bytes `#start` .. `#end` of the buffer are not handled yet. PDUs stay aligned to 4 bytes. */
  #receive = Memory.allocate(LOGIN_DATA_SEGMENT + PDU_OVERHEAD);
  #start = 0;
  #end = 0;
  readonly #pdu = new ControlPdu();

  /** A data PDU that is being received straight into its task's buffer: bytes left, and where they go. */
  #isDirect = false;
  /** Null: its data is dropped. */
  #direct: P | null = null;
  #directLength = 0;
  #directLeft = 0;
  #directOffset = 0;
  #directPadding = 0;
  readonly #directList = new ScatterList();

  #isHandling = false;
  /** PDUs of a batch of input after which what they cause leaves before its end. */
  readonly #flushAt: number;
  #unanswered = 0;

  constructor(stream: ByteStream, events: DatamoverEvents, dataOpcode: Opcode, flushAt = Infinity) {
    this.stream = stream;
    this.#events = events;
    this.#dataOpcode = dataOpcode;
    this.#flushAt = flushAt;
    this.writer = new PduWriter(stream.queue, this.parameters);
    stream.events = this;
  }

  // ---- what the roles differ in ----

  /** Whether the data of this data PDU goes to a task's buffer; otherwise it is a control-type PDU. */
  protected abstract isPlaced(header: Buffer): boolean;
  /** Why the data segment of `pdu` is welcome; null when it is to be dropped, reported where it has to be. */
  protected abstract accept(pdu: ControlPdu): P | null;
  /** The data segment of an accepted PDU, `length` bytes, is in the task's buffer. */
  protected abstract dataArrived(placement: P, pdu: ControlPdu, length: number): void;
  /** A control-type PDU arrived. */
  protected control(pdu: ControlPdu): void {
    this.#events.controlNotify(pdu);
  }
  /** The connection is gone. */
  protected abstract terminated(): void;
  abstract released(owner: DataTransfer): void;

  protected enable(parameters: ConnectionParameters): void {
    this.noticeKeyValues(parameters);
    const larger = Memory.allocate(parameters.maxRecvDataSegmentLength + PDU_OVERHEAD + BATCH);
    // Behind the login PDU that is being handled there may already be more.
    copyBytes(this.#receive.bytes, this.#start, larger.bytes, this.#start, this.#end - this.#start);
    this.#receive = larger;
  }

  noticeKeyValues(parameters: ConnectionParameters): void {
    this.parameters = parameters;
    this.writer.parameters = parameters;
  }

  // ---- input ----

  readable(): void {
    this.#isHandling = true;
    try {
      this.#receiveBatches();
    } catch (error) {
      // A defect of ours that a peer's bytes brought to light costs its connection, not the process.
      this.stream.destroy(error instanceof Error ? error : new Error(String(error)));
    }
    this.#isHandling = false;
    this.#answer();
  }

  #receiveBatches(): void {
    for (let reads = 0; reads < READS_PER_EVENT && !this.isTerminated; reads++) {
      if (!(this.#isDirect ? this.#receiveDirect() : this.#receiveBatch())) break;
    }
  }

  /** False: the socket is empty for now. */
  #receiveDirect(): boolean {
    if (!this.#readDirect()) return false;
    this.#parse();
    return true;
  }

  /** False: the socket is empty for now. */
  #receiveBatch(): boolean {
    const room = this.#receive.length - this.#end;
    const n = this.stream.read(this.#receive, this.#end, room);
    if (n === 0) return false;
    this.#end += n;
    this.#parse();
    if (n === room || this.#isDirect) return true;
    // The socket has been emptied: answer before asking it again.
    this.#answer();
    return false;
  }

  #answer(): void {
    this.#unanswered = 0;
    if (this.stream.queue.count > 0 && !this.isTerminated) this.stream.flush();
  }

  closed(error: Error | null): void {
    if (this.isTerminated) return;
    this.isTerminated = true;
    this.#isDirect = false;
    this.#direct = null;
    this.terminated();
    this.#events.connectionTerminateNotify(error);
  }

  /** Handle all whole PDUs in the receive buffer, then move what is left to its front. */
  #parse(): void {
    while (!this.isTerminated && this.#end - this.#start >= BHS_LENGTH) {
      if (!this.#parseOne()) break;
      if (++this.#unanswered >= this.#flushAt) this.#answer();
    }
    const left = this.#end - this.#start;
    if (left === 0) {
      this.#start = 0;
      this.#end = 0;
    } else if (this.#start > 0) {
      this.#receive.bytes.copyWithin(0, this.#start, this.#end);
      this.#start = 0;
      this.#end = left;
    }
  }

  /** Handle the PDU at `#start`; false when more bytes are needed. */
  #parseOne(): boolean {
    const bytes = this.#receive.bytes;
    const start = this.#start;
    const parameters = this.parameters;
    const ahsLength = bytes[start + 4]! * 4;
    const dataLength = (bytes[start + 5]! << 16) | (bytes[start + 6]! << 8) | bytes[start + 7]!;
    if (dataLength > parameters.maxRecvDataSegmentLength) {
      this.violation(
        'DATA_SEGMENT_TOO_LONG',
        `a data segment of ${dataLength} bytes, more than the declared MaxRecvDataSegmentLength of ${parameters.maxRecvDataSegmentLength}`,
      );
      return false;
    }
    const headerDigest = parameters.headerDigest ? DIGEST_LENGTH : 0;
    const dataDigest = parameters.dataDigest && dataLength > 0 ? DIGEST_LENGTH : 0;
    const ahsOffset = start + BHS_LENGTH;
    const dataOffset = ahsOffset + ahsLength + headerDigest;
    const padded = (dataLength + 3) & ~3;
    const total = dataOffset - start + padded + dataDigest;
    const have = this.#end - start;
    if (have < dataOffset - start) return false;
    const isData = (bytes[start]! & OPCODE_MASK) === this.#dataOpcode;
    const mayGoDirect = isData && dataDigest === 0 && total - have >= DIRECT_FROM;
    // Before data is waited for: the length may be what is damaged.
    if (headerDigest > 0 && !digestMatches(bytes, start, BHS_LENGTH + ahsLength)) {
      // The lengths cannot be trusted, so the next PDU cannot be found (RFC 7143 7.8).
      this.violation('HEADER_DIGEST', 'a header digest that does not match');
      return false;
    }
    if (have < total && !mayGoDirect) return false;
    const pdu = this.#pdu;
    copyMemory(this.#receive, start, pdu.headerMemory, 0, BHS_LENGTH);
    pdu.region = this.#receive;
    pdu.ahsOffset = ahsOffset;
    pdu.ahsLength = ahsLength;
    pdu.dataOffset = dataOffset;
    pdu.dataLength = dataLength;
    pdu.dataDigestFailed = dataDigest > 0 && !digestMatches(bytes, dataOffset, padded);
    if (isData && this.isPlaced(pdu.header)) {
      if (have < total) return this.#beginDirect(pdu, have - (dataOffset - start), padded - dataLength);
      this.#start += total;
      this.#place(pdu);
      return true;
    }
    if (have < total) return false;
    this.#start += total;
    this.control(pdu);
    return true;
  }

  // ---- data for tasks ----

  #place(pdu: ControlPdu): void {
    const placement = this.accept(pdu);
    if (placement === null) return;
    const offset = DataOut.bufferOffset.get(pdu.header);
    placement.transfer!.buffer.writeFrom(offset, pdu.region, pdu.dataOffset, pdu.dataLength);
    this.dataArrived(placement, pdu, pdu.dataLength);
  }

  /** Take what is here of a long data PDU and receive the rest into its task's buffer. */
  #beginDirect(pdu: ControlPdu, available: number, padding: number): boolean {
    const placement = this.accept(pdu);
    // A violation may have ended everything.
    if (this.isTerminated) return false;
    const part = Math.min(available, pdu.dataLength);
    const offset = DataOut.bufferOffset.get(pdu.header);
    placement?.transfer?.buffer.writeFrom(offset, pdu.region, pdu.dataOffset, part);
    this.#isDirect = true;
    this.#direct = placement;
    this.#directLength = pdu.dataLength;
    this.#directOffset = offset + part;
    this.#directLeft = pdu.dataLength - part;
    this.#directPadding = padding - (available - part);
    this.#start = this.#end;
    return false;
  }

  /** Receive into the task's buffer; true when the PDU is complete, padding and all. */
  #readDirect(): boolean {
    while (this.#directLeft > 0) {
      const n = this.#readSegment();
      if (n === 0) return false;
      this.#directOffset += n;
      this.#directLeft -= n;
    }
    while (this.#end < this.#directPadding) {
      const n = this.stream.read(this.#receive, this.#end, this.#directPadding - this.#end);
      if (n === 0) return false;
      this.#end += n;
    }
    this.#start = this.#directPadding;
    const placement = this.#direct;
    this.#isDirect = false;
    this.#direct = null;
    if (placement !== null) this.dataArrived(placement, this.#pdu, this.#directLength);
    return true;
  }

  #readSegment(): number {
    const transfer = this.#direct?.transfer ?? null;
    if (transfer === null)
      return this.stream.read(this.#receive, 0, Math.min(this.#directLeft, this.#receive.length));
    const list = this.#directList;
    list.clear();
    list.addFrom(transfer.buffer, this.#directOffset, this.#directLeft);
    // The next header comes along: what it announces can then be received straight into its place, too.
    list.add(this.#receive, 0, this.#directPadding + BHS_LENGTH);
    const n = this.stream.readList(list);
    this.#end = Math.max(0, n - this.#directLeft);
    return n - this.#end;
  }

  /** The task of a data PDU may be aborted in the middle of it: its buffer is no longer ours. */
  protected dropDirect(transfer: DataTransfer): void {
    if (this.#direct?.transfer === transfer) this.#direct = null;
  }

  // ---- output ----

  sendControl(header: Buffer, data: Uint8Array | null, length: number): void {
    if (!this.isTerminated) this.writer.sendControl(header, data, length);
  }

  flush(): void {
    // Inside a batch of input the answers leave together at its end.
    if (!this.#isHandling && !this.isTerminated) this.stream.flushSoon();
  }

  connectionTerminate(): void {
    this.stream.end();
  }

  deallocateConnectionResources(reason: Error | null): void {
    this.stream.destroy(reason);
  }

  /**
   * The login is over, and RDMA takes the byte stream over (RFC 7145 5.1); what is queued is sent. Null when the peer has not
   * waited for that: the connection has ended.
   */
  handOver(): ByteStream | null {
    if (this.#end > this.#start) {
      this.violation('STREAMING_MODE', 'more behind its login before the other side went over to RDMA');
      return null;
    }
    this.isTerminated = true;
    this.stream.flush();
    return this.stream;
  }

  /** The peer broke a rule after which nothing that follows can be understood, or trusted. */
  protected violation(code: string, what: string): void {
    this.stream.destroy(new RiserError(code, `the peer sent ${what}`, { by: 'peer', costs: 'connection' }));
  }
}
