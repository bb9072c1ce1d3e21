/**
 * The Datamover over TCP (RFC 7143 over a byte stream): frames PDUs, checks digests, and puts solicited
 * Data-Out where it belongs; `pdu-writer.ts` makes what leaves. Everything that one read brought is
 * handled before one gathered write answers it.
 */

import { Bhs, BHS_LENGTH, DataOut, DIGEST_LENGTH } from '../../iscsi/wire/headers.js';
import { FINAL, Opcode, OPCODE_MASK, RESERVED_TAG } from '../../iscsi/wire/opcodes.js';
import { copyBytes, Memory } from '../../util/memory.js';
import { RiserError } from '../../util/errors.js';
import {
  type ConnectionParameters,
  ControlPdu,
  DataError,
  type Datamover,
  type DatamoverEvents,
  type DataTransfer,
  type Numbering,
} from '../datamover.js';
import type { ByteStream, ByteStreamEvents } from './byte-stream.js';
import { digestMatches } from './digest.js';
import { PduWriter } from './pdu-writer.js';
import { type R2T, R2TTable } from './r2t-table.js';

/** Before login is over a peer may send this much in a data segment (RFC 7143 13.12). */
const LOGIN_DATA_SEGMENT = 8192;
/** Header, the longest additional header segments, padding and both digests. */
const PDU_OVERHEAD = BHS_LENGTH + 255 * 4 + 3 + 2 * DIGEST_LENGTH;
/** A full-feature receive buffer has room for one whole PDU and a batch of commands behind it. */
const BATCH = 64 * 1024;
/** Reads of one input event before others get their turn. */
const READS_PER_EVENT = 16;

const LOGIN_PARAMETERS: ConnectionParameters = {
  headerDigest: false,
  dataDigest: false,
  maxSendDataSegmentLength: LOGIN_DATA_SEGMENT,
  maxRecvDataSegmentLength: LOGIN_DATA_SEGMENT,
  maxBurstLength: 262144,
  maxOutstandingR2T: 1,
};

export class TcpDatamover implements Datamover, ByteStreamEvents {
  readonly kind = 'tcp';
  readonly #events: DatamoverEvents;
  readonly #stream: ByteStream;
  #parameters = LOGIN_PARAMETERS;
  readonly #writer: PduWriter;

  /** Received bytes `#start` .. `#end` of the buffer are not handled yet. PDUs stay aligned to 4 bytes. */
  #receive = Memory.allocate(LOGIN_DATA_SEGMENT + PDU_OVERHEAD);
  #start = 0;
  #end = 0;
  readonly #pdu = new ControlPdu();
  readonly #r2ts = new R2TTable();

  /** Data-Out that is being received straight into its task's buffer: bytes left, and where they go. */
  #direct: R2T | null = null;
  #directLeft = 0;
  #directOffset = 0;
  #directPadding = 0;

  #isHandling = false;
  #isTerminated = false;

  constructor(stream: ByteStream, events: DatamoverEvents) {
    this.#stream = stream;
    this.#events = events;
    this.#writer = new PduWriter(stream.queue, this.#parameters);
    stream.events = this;
  }

  enableDatamover(parameters: ConnectionParameters, numbering: Numbering): void {
    this.noticeKeyValues(parameters);
    this.#writer.numbering = numbering;
    const larger = Memory.allocate(parameters.maxRecvDataSegmentLength + PDU_OVERHEAD + BATCH);
    // Behind the login request that is being handled there may already be more.
    copyBytes(this.#receive.bytes, this.#start, larger.bytes, this.#start, this.#end - this.#start);
    this.#receive = larger;
  }

  noticeKeyValues(parameters: ConnectionParameters): void {
    this.#parameters = parameters;
    this.#writer.parameters = parameters;
  }

  // ---- input ----

  readable(): void {
    this.#isHandling = true;
    try {
      this.#receiveBatches();
    } catch (error) {
      // A defect of ours that a peer's bytes brought to light costs its connection, not the process.
      this.#stream.destroy(error instanceof Error ? error : new Error(String(error)));
    }
    this.#isHandling = false;
    if (this.#stream.queue.count > 0 && !this.#isTerminated) this.#stream.flush();
  }

  #receiveBatches(): void {
    for (let reads = 0; reads < READS_PER_EVENT && !this.#isTerminated; reads++) {
      if (this.#direct !== null && !this.#readDirect()) break;
      const room = this.#receive.length - this.#end;
      const n = this.#stream.read(this.#receive, this.#end, room);
      if (n === 0) break;
      this.#end += n;
      this.#parse();
      if (n < room && this.#direct === null) {
        // The socket has been emptied: answer before asking it again.
        if (this.#stream.queue.count > 0) this.#stream.flush();
        break;
      }
    }
  }

  released(owner: DataTransfer): void {
    this.#events.buffersReleased(owner);
  }

  closed(error: Error | null): void {
    if (this.#isTerminated) return;
    this.#isTerminated = true;
    this.#r2ts.clear();
    this.#direct = null;
    this.#events.connectionTerminateNotify(error);
  }

  /** Handle all whole PDUs in the receive buffer, then move what is left to its front. */
  #parse(): void {
    while (!this.#isTerminated && this.#end - this.#start >= BHS_LENGTH) {
      if (!this.#parseOne()) break;
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
    const parameters = this.#parameters;
    const ahsLength = bytes[start + 4]! * 4;
    const dataLength = (bytes[start + 5]! << 16) | (bytes[start + 6]! << 8) | bytes[start + 7]!;
    if (dataLength > parameters.maxRecvDataSegmentLength) {
      this.#violation(
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
    const isDataOut = (bytes[start]! & OPCODE_MASK) === Opcode.DATA_OUT;
    const mayGoDirect = isDataOut && dataDigest === 0 && dataLength > have;
    if (have < total && !mayGoDirect) return false;
    if (headerDigest > 0 && !digestMatches(bytes, start, BHS_LENGTH + ahsLength)) {
      // The lengths cannot be trusted, so the next PDU cannot be found (RFC 7143 7.7).
      this.#violation('HEADER_DIGEST', 'a header digest that does not match');
      return false;
    }
    const pdu = this.#pdu;
    copyHeader(bytes, start, pdu.header);
    pdu.region = this.#receive;
    pdu.ahsOffset = ahsOffset;
    pdu.ahsLength = ahsLength;
    pdu.dataOffset = dataOffset;
    pdu.dataLength = dataLength;
    pdu.dataDigestFailed = dataDigest > 0 && !digestMatches(bytes, dataOffset, padded);
    if (isDataOut && DataOut.targetTransferTag.get(pdu.header) !== RESERVED_TAG) {
      if (have < total) return this.#beginDirect(pdu, have - (dataOffset - start), padded - dataLength);
      this.#start += total;
      this.#solicitedData(pdu);
      return true;
    }
    if (have < total) return false;
    this.#start += total;
    this.#events.controlNotify(pdu);
    return true;
  }

  // ---- solicited Data-Out ----

  #solicitedData(pdu: ControlPdu): void {
    const r2t = this.#acceptData(pdu);
    if (r2t === null) return;
    r2t.transfer!.buffer.write(
      DataOut.bufferOffset.get(pdu.header),
      pdu.region.bytes,
      pdu.dataOffset,
      pdu.dataLength,
    );
    this.#dataArrived(r2t, pdu.dataLength);
  }

  /** The R2T that this Data-Out answers, or null when it is to be dropped (reported where it has to be). */
  #acceptData(pdu: ControlPdu): R2T | null {
    const header = pdu.header;
    const r2t = this.#r2ts.find(DataOut.targetTransferTag.get(header));
    if (r2t === null) {
      // The layer above knows whether the task was aborted meanwhile, or the initiator makes things up.
      this.#events.controlNotify(pdu);
      return null;
    }
    const transfer = r2t.transfer!;
    const isFinal = (Bhs.flags.get(header) & FINAL) !== 0;
    const isInSequence =
      Bhs.initiatorTaskTag.get(header) === transfer.initiatorTaskTag &&
      DataOut.dataSN.get(header) === r2t.nextDataSN &&
      DataOut.bufferOffset.get(header) === r2t.nextOffset &&
      r2t.nextOffset + pdu.dataLength <= r2t.end &&
      isFinal === (r2t.nextOffset + pdu.dataLength === r2t.end);
    if (isInSequence && !pdu.dataDigestFailed && !r2t.hasFailed) return r2t;
    if (!r2t.hasFailed) {
      r2t.hasFailed = true;
      transfer.solicitEnd = transfer.solicitOffset;
      this.#events.dataErrorNotify(
        transfer,
        pdu.dataDigestFailed ? DataError.DIGEST : DataError.SEQUENCE,
        header,
      );
    }
    if (isFinal) this.#endR2T(r2t, transfer);
    return null;
  }

  #dataArrived(r2t: R2T, length: number): void {
    const transfer = r2t.transfer!;
    r2t.nextDataSN++;
    r2t.nextOffset += length;
    transfer.solicitedReceived += length;
    if (r2t.nextOffset === r2t.end) this.#endR2T(r2t, transfer);
  }

  #endR2T(r2t: R2T, transfer: DataTransfer): void {
    this.#r2ts.release(r2t);
    transfer.outstandingR2Ts--;
    if (transfer.solicitOffset < transfer.solicitEnd) this.#solicit(transfer);
    else if (transfer.outstandingR2Ts === 0) this.#events.dataCompletionNotify(transfer);
  }

  /** Take what is here of a long Data-Out and receive the rest into its task's buffer. */
  #beginDirect(pdu: ControlPdu, available: number, padding: number): boolean {
    const r2t = this.#acceptData(pdu);
    const part = Math.min(available, pdu.dataLength);
    const offset = DataOut.bufferOffset.get(pdu.header);
    r2t?.transfer?.buffer.write(offset, pdu.region.bytes, pdu.dataOffset, part);
    this.#direct = r2t ?? DROPPED;
    this.#directOffset = offset + part;
    this.#directLeft = pdu.dataLength - part;
    this.#directPadding = padding - (available - part);
    this.#start = this.#end;
    if (r2t !== null) r2t.directLength = pdu.dataLength;
    return false;
  }

  /** Receive into the task's buffer; true when the PDU is complete, padding and all. */
  #readDirect(): boolean {
    const r2t = this.#direct!;
    while (this.#directLeft > 0) {
      const n = this.#readSegment(r2t);
      if (n === 0) return false;
      this.#directOffset += n;
      this.#directLeft -= n;
    }
    while (this.#directPadding > 0) {
      const n = this.#stream.read(this.#receive, 0, this.#directPadding);
      if (n === 0) return false;
      this.#directPadding -= n;
    }
    this.#direct = null;
    if (r2t.transfer !== null) this.#dataArrived(r2t, r2t.directLength);
    return true;
  }

  #readSegment(r2t: R2T): number {
    const transfer = r2t.transfer;
    // The task was aborted in the middle of the PDU: its buffer is no longer ours.
    if (transfer === null)
      return this.#stream.read(this.#receive, 0, Math.min(this.#directLeft, this.#receive.length));
    const buffer = transfer.buffer;
    let skip = this.#directOffset;
    let i = 0;
    while (skip >= buffer.lengths[i]!) skip -= buffer.lengths[i++]!;
    const part = Math.min(buffer.lengths[i]! - skip, this.#directLeft);
    return this.#stream.read(buffer.regions[i]!, buffer.offsets[i]! + skip, part);
  }

  // ---- output ----

  sendControl(header: Buffer, data: Uint8Array | null, length: number): void {
    if (!this.#isTerminated) this.#writer.sendControl(header, data, length);
  }

  putData(
    transfer: DataTransfer,
    length: number,
    status: number,
    residualFlags: number,
    residual: number,
  ): void {
    if (this.#isTerminated) this.#events.buffersReleased(transfer);
    else this.#writer.putData(transfer, length, status, residualFlags, residual);
  }

  getData(transfer: DataTransfer): void {
    transfer.solicitedReceived = 0;
    if (!this.#isTerminated) this.#solicit(transfer);
  }

  #solicit(transfer: DataTransfer): void {
    const parameters = this.#parameters;
    while (
      transfer.solicitOffset < transfer.solicitEnd &&
      transfer.outstandingR2Ts < parameters.maxOutstandingR2T
    ) {
      const length = Math.min(transfer.solicitEnd - transfer.solicitOffset, parameters.maxBurstLength);
      const r2t = this.#r2ts.take(transfer, transfer.solicitOffset, length);
      transfer.outstandingR2Ts++;
      transfer.solicitOffset += length;
      this.#writer.sendR2T(r2t, transfer, length);
    }
  }

  abandon(transfer: DataTransfer): void {
    if (this.#direct !== null && this.#direct.transfer === transfer) this.#direct = DROPPED;
    this.#r2ts.releaseAll(transfer);
    transfer.outstandingR2Ts = 0;
    transfer.solicitOffset = transfer.solicitEnd;
  }

  flush(): void {
    // Inside a batch of input the answers leave together at its end.
    if (!this.#isHandling && !this.#isTerminated) this.#stream.flushSoon();
  }

  connectionTerminate(): void {
    this.#stream.end();
  }

  deallocateConnectionResources(reason: Error | null): void {
    this.#stream.destroy(reason);
  }

  /** The peer broke the framing: nothing that follows can be understood. */
  #violation(code: string, what: string): void {
    this.#stream.destroy(new RiserError(code, `the peer sent ${what}`, { by: 'peer', costs: 'connection' }));
  }
}

/** Stands for a direct Data-Out whose data is dropped. */
const DROPPED: R2T = {
  transfer: null,
  tag: RESERVED_TAG,
  index: -1,
  nextOffset: 0,
  end: 0,
  nextDataSN: 0,
  hasFailed: true,
  directLength: 0,
};

function copyHeader(bytes: Uint8Array, offset: number, header: Uint8Array): void {
  for (let i = 0; i < BHS_LENGTH; i++) header[i] = bytes[offset + i]!;
}
