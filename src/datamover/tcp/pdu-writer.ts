/**
 * Makes the PDUs that leave: control-type ones from a given header, Data-In, R2T, SCSI Command and Data-Out
 * from a transfer. Each is queued as a header in the queue's slab and the data where it lies; digests are
 * made here.
 */

import {
  Bhs,
  BHS_LENGTH,
  DataIn,
  DIGEST_LENGTH,
  putLengths,
  SnackRequest,
} from '../../iscsi/wire/headers.js';
import {
  DATA_IN_ACKNOWLEDGE,
  DATA_IN_STATUS,
  FINAL,
  Opcode,
  RESERVED_TAG,
  SnackType,
} from '../../iscsi/wire/opcodes.js';
import { putU32 } from '../../util/fields.js';
import { copyBytes, copyMemory, type Memory } from '../../util/memory.js';
import type {
  ConnectionParameters,
  DataTransfer,
  InitiatorTransfer,
  Numbering,
  TargetTransfer,
} from '../datamover.js';
import { putDataOut } from '../data-out.js';
import { appendDigest, listDigest } from './digest.js';
import type { R2T } from './r2t-table.js';
import type { SendQueue } from './byte-stream.js';

export class PduWriter {
  parameters: ConnectionParameters;
  /** Set before the first Data-In or R2T. */
  numbering!: Numbering;
  readonly #queue: SendQueue;

  constructor(queue: SendQueue, parameters: ConnectionParameters) {
    this.#queue = queue;
    this.parameters = parameters;
  }

  /** See {@link Datamover.sendControl}. */
  sendControl(header: Buffer, data: Uint8Array | null, length: number): void {
    const queue = this.#queue;
    const padded = (length + 3) & ~3;
    const headerDigest = this.parameters.headerDigest ? DIGEST_LENGTH : 0;
    const dataDigest = this.parameters.dataDigest && length > 0 ? DIGEST_LENGTH : 0;
    Bhs.totalAHSLength.set(header, 0);
    Bhs.dataSegmentLength.set(header, length);
    queue.reserve(BHS_LENGTH + headerDigest + padded + dataDigest);
    const bytes = queue.region.bytes;
    const at = queue.offset;
    copyBytes(header, 0, bytes, at, BHS_LENGTH);
    if (headerDigest > 0) appendDigest(bytes, at, BHS_LENGTH);
    if (length === 0) return;
    const dataAt = at + BHS_LENGTH + headerDigest;
    copyBytes(data!, 0, bytes, dataAt, length);
    for (let i = length; i < padded; i++) bytes[dataAt + i] = 0;
    if (dataDigest > 0) appendDigest(bytes, dataAt, padded);
  }

  /** See {@link Datamover.putData}. */
  putData(
    transfer: TargetTransfer,
    length: number,
    status: number,
    residualFlags: number,
    residual: number,
  ): void {
    const parameters = this.parameters;
    const numbering = this.numbering;
    let offset = 0;
    let burstLeft = parameters.maxBurstLength;
    do {
      const part = Math.min(length - offset, parameters.maxSendDataSegmentLength, burstLeft);
      const isLast = offset + part === length;
      burstLeft -= part;
      // A burst ends with the F bit (RFC 7143 11.7.1).
      const flags = (isLast ? DATA_IN_STATUS | residualFlags : 0) | (isLast || burstLeft === 0 ? FINAL : 0);
      const dataSN = transfer.dataSN++;
      if (isLast)
        this.sendDataIn(
          transfer,
          offset,
          part,
          flags,
          dataSN,
          transfer,
          status,
          numbering.takeStatSN(),
          residual,
        );
      else this.sendDataIn(transfer, offset, part, flags, dataSN, null, 0, 0, 0);
      offset += part;
      if (burstLeft === 0) burstLeft = parameters.maxBurstLength;
    } while (offset < length);
  }

  /**
   * One Data-In with `length` bytes of the transfer's buffer from `offset` on. With recovery within a command the end of a burst
   * that is not the last asks for an acknowledgement (RFC 7143 11.7.2), by the task's own tag.
   *
   * @param owner who is told when the data has left
   */
  sendDataIn(
    transfer: TargetTransfer,
    offset: number,
    length: number,
    flags: number,
    dataSN: number,
    owner: TargetTransfer | null,
    status: number,
    statSN: number,
    residual: number,
  ): void {
    const { errorRecoveryLevel, dataDigest, headerDigest } = this.parameters;
    const numbering = this.numbering;
    const queue = this.#queue;
    const digestLength = headerDigest ? DIGEST_LENGTH : 0;
    const padding = -length & 3;
    const isAsking = flags === FINAL && errorRecoveryLevel > 0;
    queue.reserve(BHS_LENGTH + digestLength);
    const bytes = queue.region.bytes;
    const at = queue.offset;
    putU32(
      bytes,
      at,
      (Opcode.DATA_IN << 24) | ((isAsking ? flags | DATA_IN_ACKNOWLEDGE : flags) << 16) | status,
    );
    putU32(bytes, at + 4, length);
    putU32(bytes, at + 8, isAsking ? transfer.lunHigh : 0);
    putU32(bytes, at + 12, isAsking ? transfer.lunLow : 0);
    putU32(bytes, at + 16, transfer.initiatorTaskTag);
    putU32(bytes, at + 20, isAsking ? transfer.initiatorTaskTag : RESERVED_TAG);
    putU32(bytes, at + DataIn.statSN.offset, statSN);
    putU32(bytes, at + DataIn.expCmdSN.offset, numbering.expectedCmdSN());
    putU32(bytes, at + DataIn.maxCmdSN.offset, numbering.maxCmdSN());
    putU32(bytes, at + DataIn.dataSN.offset, dataSN);
    putU32(bytes, at + DataIn.bufferOffset.offset, offset);
    putU32(bytes, at + DataIn.residualCount.offset, residual);
    if (digestLength > 0) appendDigest(bytes, at, BHS_LENGTH);
    queue.pushList(transfer.buffer, offset, length, owner);
    if (padding > 0 || dataDigest) this.#pushTail(transfer, offset, length, padding);
  }

  /** Ask for what `r2t`, which is new, stands for (RFC 7143 11.8). */
  sendR2T(r2t: R2T, transfer: TargetTransfer): void {
    transfer.dataSN++;
    this.resendR2T(r2t, transfer);
  }

  /** Ask for it again by the same R2T. */
  resendR2T(r2t: R2T, transfer: TargetTransfer): void {
    const numbering = this.numbering;
    const queue = this.#queue;
    const headerDigest = this.parameters.headerDigest ? DIGEST_LENGTH : 0;
    queue.reserve(BHS_LENGTH + headerDigest);
    const bytes = queue.region.bytes;
    const at = queue.offset;
    putU32(bytes, at, (Opcode.R2T << 24) | (FINAL << 16));
    putU32(bytes, at + 4, 0);
    putU32(bytes, at + 8, transfer.lunHigh);
    putU32(bytes, at + 12, transfer.lunLow);
    putU32(bytes, at + 16, transfer.initiatorTaskTag);
    putU32(bytes, at + 20, r2t.tag);
    putU32(bytes, at + 24, numbering.peekStatSN());
    putU32(bytes, at + 28, numbering.expectedCmdSN());
    putU32(bytes, at + 32, numbering.maxCmdSN());
    putU32(bytes, at + 36, r2t.number);
    putU32(bytes, at + 40, r2t.offset);
    putU32(bytes, at + 44, r2t.end - r2t.offset);
    if (headerDigest > 0) appendDigest(bytes, at, BHS_LENGTH);
  }

  // ---- the initiator's ----

  /**
   * A SNACK of `type` for the run of `length` PDUs from `begin` on; 0: of all (RFC 7143 11.16).
   *
   * @param transferTag the tag that a DataACK answers
   */
  sendSnack(
    type: SnackType,
    transfer: InitiatorTransfer,
    transferTag: number,
    expStatSN: number,
    begin: number,
    length: number,
  ): void {
    const header = Buffer.alloc(BHS_LENGTH);
    const isAcknowledgement = type === SnackType.DATA_ACK;
    SnackRequest.opcode.set(header, Opcode.SNACK_REQUEST);
    SnackRequest.flags.set(header, FINAL | type);
    SnackRequest.lunHigh.set(header, transfer.lunHigh);
    SnackRequest.lunLow.set(header, transfer.lunLow);
    SnackRequest.initiatorTaskTag.set(header, isAcknowledgement ? RESERVED_TAG : transfer.initiatorTaskTag);
    SnackRequest.targetTransferTag.set(header, transferTag);
    SnackRequest.expStatSN.set(header, expStatSN);
    SnackRequest.begRun.set(header, begin);
    SnackRequest.runLength.set(header, length);
    this.sendControl(header, null, 0);
  }

  /** A SCSI Command with the transfer's immediate data; see {@link InitiatorDatamover.sendCommand}. */
  sendCommand(header: Memory, ahs: Uint8Array | null, transfer: InitiatorTransfer): void {
    const queue = this.#queue;
    const length = transfer.immediateLength;
    const ahsLength = ahs === null ? 0 : ahs.length;
    const headerDigest = this.parameters.headerDigest ? DIGEST_LENGTH : 0;
    putLengths(header, 0, ahsLength, length);
    queue.reserve(BHS_LENGTH + ahsLength + headerDigest);
    const bytes = queue.region.bytes;
    const at = queue.offset;
    copyMemory(header, 0, queue.region, at, BHS_LENGTH);
    if (ahs !== null) copyBytes(ahs, 0, bytes, at + BHS_LENGTH, ahsLength);
    if (headerDigest > 0) appendDigest(bytes, at, BHS_LENGTH + ahsLength);
    if (length > 0) this.#pushPart(transfer, 0, length, true);
  }

  /**
   * A sequence of Data-Out: `length` bytes of the transfer's buffer from `offset` on.
   *
   * @param targetTransferTag the R2T's, or the reserved tag when nobody asked
   */
  sendDataOut(
    transfer: InitiatorTransfer,
    offset: number,
    length: number,
    targetTransferTag: number,
    expStatSN: number,
  ): void {
    const { headerDigest, maxSendDataSegmentLength } = this.parameters;
    const queue = this.#queue;
    const digest = headerDigest ? DIGEST_LENGTH : 0;
    const end = offset + length;
    for (let dataSN = 0; offset < end; dataSN++) {
      const part = Math.min(end - offset, maxSendDataSegmentLength);
      const isLast = offset + part === end;
      queue.reserve(BHS_LENGTH + digest);
      const bytes = queue.region.bytes;
      const at = queue.offset;
      putDataOut(bytes, at, transfer, offset, part, isLast, targetTransferTag, expStatSN, dataSN);
      if (digest > 0) appendDigest(bytes, at, BHS_LENGTH);
      this.#pushPart(transfer, offset, part, isLast);
      offset += part;
    }
  }

  /** The data segment of a PDU of the initiator; `isLast`: the transfer wants to know when it is gone. */
  #pushPart(transfer: InitiatorTransfer, offset: number, length: number, isLast: boolean): void {
    const padding = -length & 3;
    if (isLast) transfer.queuedParts++;
    this.#queue.pushList(transfer.buffer, offset, length, isLast ? transfer : null);
    if (padding > 0 || this.parameters.dataDigest) this.#pushTail(transfer, offset, length, padding);
  }

  /** Padding and data digest behind a data segment. */
  #pushTail(transfer: DataTransfer, offset: number, length: number, padding: number): void {
    const queue = this.#queue;
    const digest = this.parameters.dataDigest ? DIGEST_LENGTH : 0;
    queue.reserve(padding + digest);
    const bytes = queue.region.bytes;
    for (let i = 0; i < padding; i++) bytes[queue.offset + i] = 0;
    if (digest === 0) return;
    listDigest(transfer.buffer, offset, length, padding, bytes, queue.offset + padding);
  }
}
