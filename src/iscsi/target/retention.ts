/**
 * What the initiator has not acknowledged yet, from ErrorRecoveryLevel 1 on: responses by StatSN, and the data that went before
 * them. A SNACK gets it again (RFC 7143 11.16); ExpStatSN lets it go. Of an initiator that acknowledges nothing only so
 * much is kept: the oldest is forgotten first, and a SNACK for it is refused.
 */

import { type DataInRun, dataInEnd, dataInOffset } from '../../datamover/data-in-run.js';
import type { TargetDatamover, TargetRetransmission } from '../../datamover/datamover.js';
import { serialLess } from '../../util/serial.js';
import { Bhs, BHS_LENGTH, ScsiResponse, SnackRequest } from '../wire/headers.js';
import { FINAL, Opcode, OPCODE_MASK, RejectReason, SnackType } from '../wire/opcodes.js';
import type { Command } from './command.js';

/** Responses that are kept, and bytes of them and of their data; the newest is kept whatever it has. */
export const MOST_RESPONSES = 512;
export const MOST_BYTES = 4 << 20;

/** A response as it was sent, and what can be sent again of its data. */
export interface KeptResponse {
  readonly statSN: number;
  readonly initiatorTaskTag: number;
  /** Null: it travelled in the last Data-In. */
  header: Buffer | null;
  readonly data: Buffer;
  /** Null: no data went before it, or that is forgotten. */
  run: DataInRun | null;
  readonly command: Command | null;
  /** DataSN of the first Data-In that is not acknowledged. */
  firstDataSN: number;
  readonly bytes: number;
  isForgotten: boolean;
}

/** The connection's part. */
export interface RetentionHost {
  readonly datamover: TargetDatamover;
  /** MaxRecvDataSegmentLength and MaxBurstLength in force. */
  readonly parameters: { initiatorMaxRecvDataSegmentLength: number; maxBurstLength: number };
  peekStatSN(): number;
  takeStatSN(): number;
  expectedCmdSN(): number;
  maxCmdSN(): number;
  reject(request: Buffer, reason: RejectReason, dataSN?: number): void;
  ping(): void;
}

export class Retention {
  readonly #host: RetentionHost;
  readonly #findCommand: (initiatorTaskTag: number) => Command | null;
  readonly #retransmission: TargetRetransmission;
  /** In the order of StatSN, without gaps. */
  readonly #kept: KeptResponse[] = [];
  #bytes = 0;
  /** All below are acknowledged. */
  #expStatSN: number;
  /** The first that is not forgotten. */
  #firstWhole = 0;
  /** The oldest StatSN at the last tick. */
  #oldestSeen = -1;
  /** The StatSN that a ping was sent for. */
  #askedFor = -1;

  /** `findCommand`: the connection's active command with a tag. */
  constructor(
    host: RetentionHost,
    findCommand: (initiatorTaskTag: number) => Command | null,
    retransmission: TargetRetransmission,
  ) {
    this.#host = host;
    this.#findCommand = findCommand;
    this.#retransmission = retransmission;
    this.#expStatSN = host.peekStatSN();
  }

  /** Responses that are not acknowledged. */
  get count(): number {
    return this.#kept.length;
  }

  /** A response that is about to leave; both are copied. */
  keep(header: Buffer, data: Uint8Array | null, length: number): void {
    this.#add({
      statSN: ScsiResponse.statSN.get(header),
      initiatorTaskTag: Bhs.initiatorTaskTag.get(header),
      header: Buffer.from(header),
      data: Buffer.from((data ?? NOTHING).subarray(0, length)),
      run: null,
      command: null,
      firstDataSN: 0,
      bytes: BHS_LENGTH + length,
      isForgotten: false,
    });
  }

  /** The first `length` bytes of the buffer of `command` are about to leave, with its status in the last Data-In. */
  keepData(command: Command, length: number, status: number, residualFlags: number, residual: number): void {
    const statSN = this.#host.peekStatSN();
    command.isRetained = true;
    this.#add({
      statSN,
      initiatorTaskTag: command.initiatorTaskTag,
      header: null,
      data: NOTHING,
      run: this.#runOf(command, length, 0, 0, { statSN, status, residualFlags, residual }),
      command,
      firstDataSN: 0,
      bytes: length,
      isForgotten: false,
    });
  }

  #runOf(
    transfer: Command,
    length: number,
    firstSN: number,
    firstOffset: number,
    collapsed: DataInRun['collapsed'],
  ): DataInRun {
    const { initiatorMaxRecvDataSegmentLength: most, maxBurstLength: burst } = this.#host.parameters;
    return { transfer, length, firstSN, firstOffset, segment: Math.min(most, burst), burst, collapsed };
  }

  #add(kept: KeptResponse): void {
    this.#kept.push(kept);
    this.#bytes += kept.bytes;
    while (
      this.#firstWhole < this.#kept.length - 1 &&
      (this.#bytes > MOST_BYTES || this.#kept.length - this.#firstWhole > MOST_RESPONSES)
    )
      this.#forget(this.#kept[this.#firstWhole++]!);
    // What is left of those that are forgotten is small, but there may be ever more of it.
    if (this.#kept.length > 2 * MOST_RESPONSES) {
      this.#kept.shift();
      this.#firstWhole--;
    }
  }

  /** The initiator has all responses below `expStatSN`. */
  acknowledge(expStatSN: number): void {
    // What was never sent cannot be acknowledged.
    if (serialLess(this.#host.peekStatSN(), expStatSN) || !serialLess(this.#expStatSN, expStatSN)) return;
    this.#expStatSN = expStatSN;
    let count = 0;
    while (count < this.#kept.length && serialLess(this.#kept[count]!.statSN, expStatSN)) count++;
    if (count === 0) return;
    const gone = this.#kept.splice(0, count);
    this.#firstWhole = Math.max(0, this.#firstWhole - count);
    for (const kept of gone) this.#forget(kept);
  }

  #forget(kept: KeptResponse): void {
    if (kept.isForgotten) return;
    this.#bytes -= kept.bytes;
    release(kept);
  }

  /** The connection is gone. */
  clear(): void {
    for (const kept of this.#kept.splice(0)) this.#forget(kept);
    this.#firstWhole = 0;
  }

  /** The connection is gone, but what is kept may be sent by another one: it is the caller's now. */
  take(): KeptResponse[] {
    this.#firstWhole = 0;
    this.#bytes = 0;
    return this.#kept.splice(0).filter(({ isForgotten }) => !isForgotten);
  }

  /**
   * Send what was kept of a connection that is gone as a response of this one (RFC 7143 7.2.2): Data-In from number `expDataSN` on, if it
   * was sent and not acknowledged, and the status under a new number.
   */
  adopt({ command, run, ...kept }: KeptResponse, expDataSN: number): void {
    const statSN = this.#host.takeStatSN();
    if (run === null) {
      this.#sendAdopted(kept.header!, kept.data, null, statSN, ScsiResponse.expDataSN.get(kept.header!));
      return;
    }
    const end = dataInEnd(run);
    const isSound = expDataSN >= kept.firstDataSN && expDataSN <= end;
    const first = isSound ? expDataSN : kept.firstDataSN;
    const offset = Math.min(run.length, dataInOffset(run, first));
    const collapsed = kept.header === null && first < end ? { ...run.collapsed!, statSN } : null;
    const rest = this.#runOf(command!, run.length, first, offset, collapsed);
    if (collapsed === null) {
      const header = kept.header ?? responseOf(kept.initiatorTaskTag, run);
      if (first < end) this.#sendRun(rest);
      this.#sendAdopted(header, NOTHING, { command: command!, run: rest }, statSN, dataInEnd(rest));
    } else {
      this.#add({ ...kept, statSN, command, run: rest, firstDataSN: first });
      this.#sendRun(rest);
    }
  }

  #sendRun(run: DataInRun): void {
    (run.transfer as Command).queuedSends++;
    this.#retransmission.resendData(run, run.firstSN, dataInEnd(run));
  }

  #sendAdopted(
    header: Buffer,
    data: Buffer,
    source: { command: Command; run: DataInRun } | null,
    statSN: number,
    expDataSN: number,
  ): void {
    ScsiResponse.statSN.set(header, statSN);
    ScsiResponse.snackTag.set(header, 0);
    ScsiResponse.expDataSN.set(header, expDataSN);
    const kept: KeptResponse = {
      statSN,
      initiatorTaskTag: Bhs.initiatorTaskTag.get(header),
      header,
      data,
      run: source?.run ?? null,
      command: source?.command ?? null,
      firstDataSN: source?.run.firstSN ?? 0,
      bytes: BHS_LENGTH + (source?.run.length ?? data.length),
      isForgotten: false,
    };
    this.#add(kept);
    this.#resendKept(kept);
  }

  /**
   * Time has passed. A response that has not been acknowledged for long may be lost: a ping shows the next StatSN, and brings
   * the initiator's ExpStatSN (RFC 7143 7.1.4.2).
   */
  tick(): void {
    const oldest = this.#kept[0]?.statSN ?? -1;
    if (oldest >= 0 && oldest === this.#oldestSeen && oldest !== this.#askedFor) {
      this.#askedFor = oldest;
      this.#host.ping();
    }
    this.#oldestSeen = oldest;
  }

  // ---- SNACK ----

  /** RFC 7143 11.16 */
  snack(request: Buffer): void {
    switch (Bhs.flags.get(request) & 0x0f) {
      case SnackType.DATA_OR_R2T:
        this.#resend(request);
        break;
      case SnackType.STATUS:
        this.#resendStatus(request);
        break;
      case SnackType.DATA_ACK:
        this.#acknowledgeData(request);
        break;
      case SnackType.R_DATA:
        this.#resegment(request);
        break;
      default:
        this.#host.reject(request, RejectReason.INVALID_PDU_FIELD);
    }
    this.#host.datamover.flush();
  }

  #resend(request: Buffer): void {
    const tag = SnackRequest.initiatorTaskTag.get(request);
    const begin = SnackRequest.begRun.get(request);
    const length = SnackRequest.runLength.get(request);
    const active = this.#findCommand(tag);
    if (active !== null) {
      // Data-In leaves with the status: what is active has sent nothing but R2Ts.
      const end = length === 0 ? active.dataSN : begin + length;
      const isSent = end <= active.dataSN && (begin < end || (begin === 0 && length === 0));
      if (!isSent || this.#retransmission.resendR2Ts(active, begin, end) === 0)
        this.#host.reject(request, RejectReason.PROTOCOL_ERROR, active.dataSN);
      return;
    }
    const kept = this.#findData(tag);
    const run = kept?.run ?? null;
    if (kept === null || run === null) {
      this.#host.reject(request, kept === null ? RejectReason.PROTOCOL_ERROR : RejectReason.SNACK_REJECT);
      return;
    }
    const sent = dataInEnd(run);
    const first = begin === 0 && length === 0 ? kept.firstDataSN : begin;
    const end = length === 0 ? sent : begin + length;
    // What was cut for another MaxRecvDataSegmentLength may not fit any more: that takes R-Data (RFC 7143 11.16.3).
    const fits = run.segment <= this.#host.parameters.initiatorMaxRecvDataSegmentLength;
    if (first < kept.firstDataSN || first >= end || end > sent || !fits) {
      this.#host.reject(request, RejectReason.PROTOCOL_ERROR, sent);
      return;
    }
    kept.command!.queuedSends++;
    this.#retransmission.resendData(run, first, end);
  }

  #resendStatus(request: Buffer): void {
    const begin = SnackRequest.begRun.get(request);
    const length = SnackRequest.runLength.get(request);
    const oldest = this.#kept[0]?.statSN ?? this.#host.peekStatSN();
    const index = begin === 0 && length === 0 ? 0 : (begin - oldest) >>> 0;
    const end = length === 0 ? this.#kept.length : index + length;
    if (index >= end || end > this.#kept.length) {
      const isForgotten = serialLess(begin, oldest) && !serialLess(begin, this.#expStatSN);
      this.#host.reject(request, isForgotten ? RejectReason.SNACK_REJECT : RejectReason.PROTOCOL_ERROR);
      return;
    }
    const wanted = this.#kept.slice(index, end);
    if (wanted.some(({ isForgotten }) => isForgotten)) {
      this.#host.reject(request, RejectReason.SNACK_REJECT);
      return;
    }
    for (const kept of wanted) this.#resendKept(kept);
  }

  #resendKept(kept: KeptResponse): void {
    if (kept.header === null) {
      const end = dataInEnd(kept.run!);
      kept.command!.queuedSends++;
      this.#retransmission.resendData(kept.run!, end - 1, end);
      return;
    }
    ScsiResponse.expCmdSN.set(kept.header, this.#host.expectedCmdSN());
    ScsiResponse.maxCmdSN.set(kept.header, this.#host.maxCmdSN());
    this.#host.datamover.sendControl(kept.header, kept.data, kept.data.length);
  }

  /** RFC 7143 11.16.2: Data-In below BegRun need not be kept any more. Its tag is the task's. */
  #acknowledgeData(request: Buffer): void {
    const kept = this.#findData(SnackRequest.targetTransferTag.get(request));
    const begin = SnackRequest.begRun.get(request);
    if (kept === null || SnackRequest.runLength.get(request) !== 0) {
      // The status may have been acknowledged in the meantime.
      if (kept !== null) this.#host.reject(request, RejectReason.INVALID_DATA_ACK);
    } else if (kept.run !== null) {
      if (begin > dataInEnd(kept.run)) this.#host.reject(request, RejectReason.INVALID_DATA_ACK);
      else kept.firstDataSN = Math.max(kept.firstDataSN, begin);
    }
  }

  /** RFC 7143 11.16.3: all data that is not acknowledged, cut anew, then a SCSI Response with the SNACK's tag. */
  #resegment(request: Buffer): void {
    const tag = SnackRequest.targetTransferTag.get(request);
    const isValid = SnackRequest.begRun.get(request) === 0 && SnackRequest.runLength.get(request) === 0;
    const kept = this.#findData(SnackRequest.initiatorTaskTag.get(request));
    if (!isValid || tag === 0 || tag === 0xffff_ffff) {
      this.#host.reject(request, RejectReason.INVALID_PDU_FIELD);
      return;
    }
    const before = kept?.run ?? null;
    if (kept === null || before === null) {
      this.#host.reject(request, kept === null ? RejectReason.PROTOCOL_ERROR : RejectReason.SNACK_REJECT);
      return;
    }
    const command = kept.command!;
    kept.header ??= responseOf(kept.initiatorTaskTag, before);
    const offset = Math.min(before.length, dataInOffset(before, kept.firstDataSN));
    const run = this.#runOf(command, before.length, kept.firstDataSN, offset, null);
    kept.run = run;
    const end = dataInEnd(run);
    if (end > run.firstSN) {
      command.queuedSends++;
      this.#retransmission.resendData(run, run.firstSN, end);
    }
    ScsiResponse.snackTag.set(kept.header, tag);
    ScsiResponse.expDataSN.set(kept.header, end);
    this.#resendKept(kept);
  }

  /** The newest response of this task that data went before; a tag is used again once a status has come. */
  #findData(initiatorTaskTag: number): KeptResponse | null {
    for (let i = this.#kept.length - 1; i >= 0; i--) {
      const kept = this.#kept[i]!;
      if (kept.initiatorTaskTag === initiatorTaskTag && kept.command !== null) return kept;
    }
    return null;
  }
}

const NOTHING = Buffer.alloc(0);

function release(kept: KeptResponse): void {
  kept.isForgotten = true;
  kept.header = null;
  kept.run = null;
  kept.command?.releaseRetained();
}

/** What was taken over from a connection that is gone is not needed any more. */
export function releaseKept(all: readonly KeptResponse[]): void {
  for (const kept of all) release(kept);
}

export function isOfScsiCommand({ header }: KeptResponse): boolean {
  return header === null || (Bhs.opcode.get(header) & OPCODE_MASK) === Opcode.SCSI_RESPONSE;
}

/** The SCSI Response that says what the status in the last Data-In has said. */
function responseOf(initiatorTaskTag: number, { collapsed }: DataInRun): Buffer {
  const { statSN, status, residualFlags, residual } = collapsed!;
  const header = Buffer.alloc(BHS_LENGTH);
  Bhs.opcode.set(header, Opcode.SCSI_RESPONSE);
  Bhs.flags.set(header, FINAL | residualFlags);
  Bhs.initiatorTaskTag.set(header, initiatorTaskTag);
  ScsiResponse.status.set(header, status);
  ScsiResponse.statSN.set(header, statSN);
  ScsiResponse.residualCount.set(header, residual);
  return header;
}
