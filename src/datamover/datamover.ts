/**
 * The Datamover contract (RFC 5047): how a full-feature iSCSI connection moves commands and data,
 * whether by TCP or by RDMA. The iSCSI layer above sees only this; `tcp/` and `iser/` implement it.
 *
 * The primitives keep their standard names. Where RFC 5047 passes a PDU "with its attached data", a
 * 48-byte basic header segment in a Buffer and a scatter list are passed; where it allocates a
 * handle per task, a {@link DataTransfer} that the caller owns and reuses is passed. Calls only
 * queue; nothing is on its way before {@link Datamover.flush}, so that all answers to one batch of
 * input leave together.
 */

import type { ScatterList } from '../util/memory.js';

/** What iSCSI has negotiated that the Datamover must obey (RFC 5047 8.1.8, Notice_Key_Values). */
export interface ConnectionParameters {
  headerDigest: boolean;
  dataDigest: boolean;
  /** What we may send in one data segment: the peer's MaxRecvDataSegmentLength, bytes. */
  maxSendDataSegmentLength: number;
  /** What we declared that we receive in one data segment, bytes. */
  maxRecvDataSegmentLength: number;
  /** MaxBurstLength, bytes: the longest sequence of Data-In or of solicited Data-Out. */
  maxBurstLength: number;
  /** MaxOutstandingR2T for one task. */
  maxOutstandingR2T: number;
}

/** Numbers a PDU carries that are the iSCSI layer's to give, asked for at the moment of sending. */
export interface Numbering {
  /** StatSN of a PDU that carries status; advances. */
  takeStatSN(): number;
  /** StatSN that will be given next; does not advance. */
  peekStatSN(): number;
  expectedCmdSN(): number;
  maxCmdSN(): number;
}

/**
 * One task's data phase in either direction. The iSCSI layer extends it (its command object is one),
 * pools it, and reads progress from it; the Datamover keeps its own state in `mover`.
 */
export abstract class DataTransfer {
  initiatorTaskTag = 0;
  /** The 8 bytes of the LUN field, as two big-endian halves: R2T carries them (RFC 7143 11.8). */
  lunHigh = 0;
  lunLow = 0;
  /** The task's buffer. */
  abstract readonly buffer: ScatterList;
  /** getData: first byte still to be solicited, and the end of it. */
  solicitOffset = 0;
  solicitEnd = 0;
  /** getData: bytes of `buffer` that have arrived, unsolicited ones included. */
  received = 0;
  /** The Datamover's own: Target Transfer Tag under which Data-Out comes, R2TSN, outstanding R2Ts. */
  targetTransferTag = 0xffffffff;
  r2tSN = 0;
  dataSN = 0;
  outstandingR2T = 0;
}

/** What the Datamover tells the iSCSI layer (RFC 5047 8.2). */
export interface DatamoverEvents {
  /**
   * Control_Notify: a control-type PDU arrived. `header` is the basic header segment (48 bytes) and
   * `ahs` what follows it, `data` the data segment without padding. All three are only valid during the call.
   */
  controlNotify(header: Buffer, ahs: Buffer, data: Buffer): void;
  /** Data_Completion_Notify: everything that getData asked for is in the task's buffer. */
  dataCompletionNotify(transfer: DataTransfer): void;
  /** The bytes of the task's last putData or of its control PDU's data have left its buffer. */
  buffersReleased(transfer: DataTransfer): void;
  /** Connection_Terminate_Notify: the connection is gone; `reason` is null for an orderly close. */
  connectionTerminateNotify(reason: Error | null): void;
}

/** The primitives that the iSCSI layer invokes (RFC 5047 8.1). */
export interface Datamover {
  /** `tcp` or `iser`, for people and for keys that exist in one mode only. */
  readonly kind: 'tcp' | 'iser';

  /** Where events go. Set before the first input. */
  events: DatamoverEvents;

  /** Allocate_Connection_Resources and Enable_Datamover: from now on `parameters` hold and tasks may move data. */
  enableDatamover(parameters: ConnectionParameters): void;

  /** Deallocate_Connection_Resources: what is queued is dropped, transfers are forgotten. */
  deallocateConnectionResources(): void;

  /**
   * Send_Control: queue a PDU whose 48-byte header the caller has written, StatSN fields included.
   * `data` is copied. Returns nothing: errors come as Connection_Terminate_Notify.
   */
  sendControl(header: Buffer, data: Buffer | null): void;

  /**
   * Put_Data: send `length` bytes from the start of the transfer's buffer as SCSI Data-In, split as
   * negotiated. With `status` >= 0 the last PDU carries it (phase collapse, RFC 7143 11.7.3)
   * together with `residualFlags` (0x04 overflow, 0x02 underflow) and `residual`, and takes a StatSN.
   */
  putData(
    transfer: DataTransfer,
    length: number,
    status: number,
    residualFlags: number,
    residual: number,
  ): void;

  /**
   * Get_Data: solicit bytes `solicitOffset` .. `solicitEnd` of the transfer's buffer; for TCP in R2Ts of at
   * most MaxBurstLength, MaxOutstandingR2T at a time.
   */
  getData(transfer: DataTransfer): void;

  /** Forget a transfer's data phase (its task was aborted): Data-Out that still comes is dropped. */
  abandon(transfer: DataTransfer): void;

  /** Hand everything queued to the wire. */
  flush(): void;

  /** Connection_Terminate: send what is queued, then close. */
  connectionTerminate(): void;
}
