/** The target's side of the TCP Datamover: asks for Data-Out by R2T, and sends Data-In. */

import { Bhs, DataOut } from '../../iscsi/wire/headers.js';
import { FINAL, Opcode, RESERVED_TAG } from '../../iscsi/wire/opcodes.js';
import { serialLess } from '../../util/serial.js';
import {
  type ConnectionParameters,
  type ControlPdu,
  DataError,
  type DataTransfer,
  type Numbering,
  type TargetDatamover,
  type TargetDatamoverEvents,
  type TargetTransfer,
} from '../datamover.js';
import type { ByteStream } from './byte-stream.js';
import { type R2T, R2TTable } from './r2t-table.js';
import { Retransmission } from './retransmission.js';
import { TcpDatamover } from './tcp-datamover.js';

export class TargetTcpDatamover extends TcpDatamover<R2T> implements TargetDatamover {
  readonly abandonsAtOnce = true;
  readonly commandLimit = Infinity;
  readonly takesLoans = true;
  readonly #events: TargetDatamoverEvents;
  readonly #r2ts = new R2TTable();
  readonly retransmission: Retransmission;

  constructor(stream: ByteStream, events: TargetDatamoverEvents) {
    super(stream, events, Opcode.DATA_OUT);
    this.#events = events;
    this.retransmission = new Retransmission(this.writer, this.#r2ts);
  }

  enableDatamover(parameters: ConnectionParameters, numbering: Numbering): void {
    this.enable(parameters);
    this.writer.numbering = numbering;
  }

  prepare(): boolean {
    return true;
  }

  override released(owner: DataTransfer): void {
    this.#events.buffersReleased(owner);
  }

  protected override terminated(): void {
    this.#r2ts.clear();
  }

  // ---- Data-Out ----

  /** What answers an R2T is placed; what comes unsolicited is for the layer above. */
  protected override isPlaced(header: Buffer): boolean {
    return DataOut.targetTransferTag.get(header) !== RESERVED_TAG;
  }

  /** The R2T that this Data-Out answers, or null when it is to be dropped (reported where it has to be). */
  protected override accept(pdu: ControlPdu): R2T | null {
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
    if (this.parameters.errorRecoveryLevel > 0 && this.#isRecoverable(pdu, r2t, transfer)) return null;
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

  /**
   * Whether `pdu`, which cannot be taken, is made up for by a recovery R2T (RFC 7143 7.8, 11.8). That waits for the end of the
   * sequence, and asks for all from the first loss on: what comes behind a loss is dropped.
   */
  #isRecoverable(pdu: ControlPdu, r2t: R2T, transfer: TargetTransfer): boolean {
    const header = pdu.header;
    const dataSN = DataOut.dataSN.get(header);
    if (Bhs.initiatorTaskTag.get(header) !== transfer.initiatorTaskTag) return false;
    if (r2t.hasFailed && !r2t.isRecovered) return false;
    // It came twice.
    if (serialLess(dataSN, r2t.nextDataSN)) return true;
    if (!pdu.dataDigestFailed && !r2t.isRecovered && dataSN === r2t.nextDataSN) return false;
    r2t.hasFailed = true;
    r2t.isRecovered = true;
    if (pdu.dataDigestFailed) this.#events.dataErrorNotify(transfer, DataError.DIGEST, header);
    if ((Bhs.flags.get(header) & FINAL) !== 0) {
      const { nextOffset, end } = r2t;
      this.#r2ts.release(r2t);
      this.writer.sendR2T(this.#r2ts.take(transfer, nextOffset, end - nextOffset), transfer);
    }
    return true;
  }

  protected override dataArrived(r2t: R2T, _pdu: ControlPdu, length: number): void {
    const transfer = r2t.transfer!;
    r2t.nextDataSN++;
    r2t.nextOffset += length;
    transfer.solicitedReceived += length;
    if (r2t.nextOffset === r2t.end) this.#endR2T(r2t, transfer);
  }

  #endR2T(r2t: R2T, transfer: TargetTransfer): void {
    this.#r2ts.release(r2t);
    transfer.outstandingR2Ts--;
    if (transfer.solicitOffset < transfer.solicitEnd) this.#solicit(transfer);
    else if (transfer.outstandingR2Ts === 0) this.#events.dataCompletionNotify(transfer);
  }

  // ---- output ----

  putData(
    transfer: TargetTransfer,
    length: number,
    status: number,
    residualFlags: number,
    residual: number,
  ): void {
    if (this.isTerminated) this.#events.buffersReleased(transfer);
    else this.writer.putData(transfer, length, status, residualFlags, residual);
  }

  getData(transfer: TargetTransfer): void {
    transfer.solicitedReceived = 0;
    if (!this.isTerminated) this.#solicit(transfer);
  }

  #solicit(transfer: TargetTransfer): void {
    const parameters = this.parameters;
    while (
      transfer.solicitOffset < transfer.solicitEnd &&
      transfer.outstandingR2Ts < parameters.maxOutstandingR2T
    ) {
      const length = Math.min(transfer.solicitEnd - transfer.solicitOffset, parameters.maxBurstLength);
      const r2t = this.#r2ts.take(transfer, transfer.solicitOffset, length);
      transfer.outstandingR2Ts++;
      transfer.solicitOffset += length;
      this.writer.sendR2T(r2t, transfer);
    }
  }

  sendResponse(_transfer: TargetTransfer, header: Buffer, data: Uint8Array | null, length: number): void {
    this.sendControl(header, data, length);
  }

  abandon(transfer: TargetTransfer): boolean {
    this.dropDirect(transfer);
    this.#r2ts.releaseAll(transfer);
    transfer.outstandingR2Ts = 0;
    transfer.solicitOffset = transfer.solicitEnd;
    return true;
  }
}
