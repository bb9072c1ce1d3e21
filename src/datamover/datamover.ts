/**
 * The Datamover contract (RFC 5047): how an iSCSI connection moves commands and data, whether by TCP
 * or by RDMA. The iSCSI layer above sees only this; `tcp/` and `iser/` implement it, for both roles.
 *
 * The primitives keep their standard names. Where RFC 5047 passes a PDU with its attached data, a
 * 48-byte basic header segment and a buffer are passed; where it allocates a handle per task, a
 * {@link DataTransfer} that the caller owns and reuses is passed. Calls only queue; nothing is on its
 * way before {@link Datamover.flush}, so that all answers to one batch of input leave together.
 * A Datamover flushes by itself after every batch of input that it has delivered.
 */

import { BHS_LENGTH } from '../iscsi/wire/headers.js';
import { Memory, type ScatterList } from '../util/memory.js';
import type { DataInRun } from './data-in-run.js';

/** What iSCSI has negotiated that the Datamover must obey (RFC 5047 8.1.8, Notice_Key_Values). */
export interface ConnectionParameters {
  headerDigest: boolean;
  dataDigest: boolean;
  /** What may be sent in one data segment: the peer's MaxRecvDataSegmentLength, bytes. */
  maxSendDataSegmentLength: number;
  /** What is received in one data segment at most: the own MaxRecvDataSegmentLength, bytes. */
  maxRecvDataSegmentLength: number;
  /** MaxBurstLength, bytes: the longest sequence of Data-In or of solicited Data-Out. */
  maxBurstLength: number;
  /** MaxOutstandingR2T of one task. */
  maxOutstandingR2T: number;
  /** From 1 on, what got lost of data is sent again (RFC 7143 7.1.4.1). */
  errorRecoveryLevel: number;
  /** iSERHelloRequired (RFC 7145 6.10). */
  helloRequired: boolean;
  /** TaggedBufferForSolicitedDataOnly: an advertised write buffer begins behind the unsolicited data (RFC 7145 6.9). */
  taggedBufferForSolicitedDataOnly: boolean;
  /** Control-type PDUs that the peer may send without having to wait for this side (RFC 7145 8.1). */
  maxReceivePDUs: number;
}

/** Before login is over a peer may send this much in a data segment (RFC 7143 13.12). */
export const LOGIN_DATA_SEGMENT = 8192;

/** What holds before Enable_Datamover. */
export const LOGIN_PARAMETERS: Readonly<ConnectionParameters> = {
  headerDigest: false,
  dataDigest: false,
  maxSendDataSegmentLength: LOGIN_DATA_SEGMENT,
  maxRecvDataSegmentLength: LOGIN_DATA_SEGMENT,
  maxBurstLength: 262144,
  maxOutstandingR2T: 1,
  errorRecoveryLevel: 0,
  helloRequired: false,
  taggedBufferForSolicitedDataOnly: false,
  maxReceivePDUs: 1,
};

/** Numbers that PDUs made by the Datamover carry; the iSCSI layer gives them at the moment of queueing. */
export interface Numbering {
  /** StatSN of a PDU that carries status; advances. */
  takeStatSN(): number;
  /** StatSN that will be given next; does not advance. */
  peekStatSN(): number;
  expectedCmdSN(): number;
  maxCmdSN(): number;
}

/**
 * Where the initiator's buffers are for a command, as its iSER header advertises them (RFC 7145 9.2): keys (STags), 0 for
 * none, and 64-bit addresses (base offsets) as two words. All 0 over TCP.
 */
export class RemoteBuffers {
  readKey = 0;
  readHigh = 0;
  readLow = 0;
  writeKey = 0;
  writeHigh = 0;
  writeLow = 0;

  /** `address`: a whole number below 2^53. */
  setRead(key: number, address: number): void {
    this.readKey = key;
    this.readHigh = Math.floor(address / 0x1_0000_0000);
    this.readLow = address >>> 0;
  }

  /** See {@link setRead}. */
  setWrite(key: number, address: number): void {
    this.writeKey = key;
    this.writeHigh = Math.floor(address / 0x1_0000_0000);
    this.writeLow = address >>> 0;
  }

  copyFrom(other: RemoteBuffers): void {
    this.readKey = other.readKey;
    this.readHigh = other.readHigh;
    this.readLow = other.readLow;
    this.writeKey = other.writeKey;
    this.writeHigh = other.writeHigh;
    this.writeLow = other.writeLow;
  }
}

/** A control-type PDU that arrived. One object is aimed anew for every PDU: it is valid during the call only. */
export class ControlPdu {
  /** A copy of the basic header segment, 48 bytes. */
  readonly headerMemory = Memory.allocate(BHS_LENGTH);
  readonly header = this.headerMemory.bytes;
  /** Where the additional header segments and the data segment are. */
  region!: Memory;
  ahsOffset = 0;
  /** Bytes of all additional header segments, a multiple of 4. */
  ahsLength = 0;
  dataOffset = 0;
  /** Bytes of the data segment without padding. */
  dataLength = 0;
  /** The data segment's digest did not match: the data must not be used. */
  dataDigestFailed = false;
  /** What came with a SCSI Command. */
  readonly remote = new RemoteBuffers();

  /** The data segment as a new view; for control paths. */
  data(): Buffer {
    return this.region.bytes.subarray(this.dataOffset, this.dataOffset + this.dataLength);
  }

  /** The additional header segments as a new view. */
  ahs(): Buffer {
    return this.region.bytes.subarray(this.ahsOffset, this.ahsOffset + this.ahsLength);
  }
}

/** One task's data phase. Each role's command object extends its kind of it and is pooled. */
export abstract class DataTransfer {
  initiatorTaskTag = 0;
  /** The LUN field as two big-endian halves: R2T and Data-Out repeat it (RFC 7143 11.7.4, 11.8). */
  lunHigh = 0;
  lunLow = 0;
  /** The task's buffer. */
  abstract readonly buffer: ScatterList;
  /** Kept by the Datamover: R2TSN or DataSN of the next PDU of this task (RFC 7143 4.2.2.3 numbers both from 0). */
  dataSN = 0;
}

/** A task of the target. */
export abstract class TargetTransfer extends DataTransfer {
  /** What came with its command: the iSCSI layer copies it there ({@link ControlPdu.remote}). */
  readonly remote = new RemoteBuffers();
  /** getData: bytes that came, or are still to come, unsolicited. */
  unsolicitedLength = 0;
  /** getData: the next byte to solicit, and the end of what is to be solicited. */
  solicitOffset = 0;
  solicitEnd = 0;
  /** getData: solicited bytes that have arrived in `buffer`. */
  solicitedReceived = 0;
  /** Kept by the Datamover: R2Ts whose data is still to come. */
  outstandingR2Ts = 0;
}

/** A task of the initiator: its buffer is where Data-In goes, or where Data-Out comes from. */
export abstract class InitiatorTransfer extends DataTransfer {
  /** Whether the target may read the buffer, and whether it may write to it. */
  isWrite = false;
  isRead = false;
  /** Bytes that travel in the SCSI Command itself. */
  immediateLength = 0;
  /** Bytes that travel unasked, immediate ones included: at most FirstBurstLength. */
  unsolicitedLength = 0;
  /** Kept by the Datamover: bytes of Data-In in `buffer`, or of Data-Out sent or asked for. */
  transferred = 0;
  /** Kept by the Datamover: parts of `buffer` that are queued for sending; it must not change meanwhile. */
  queuedParts = 0;
  /** Kept by the Datamover: Data-In or an R2T is missing, and was asked for. */
  isMissingData = false;
  /** Kept by the Datamover: what the target may reach of `buffer`; null when it may reach nothing. */
  grant: object | null = null;
}

/** What can be wrong with a task's Data-Out. */
export const DataError = {
  /** A data digest did not match. */
  DIGEST: 'digest',
  /** DataSN, offset or length broke the sequence. */
  SEQUENCE: 'sequence',
  /** Data came unsolicited that must not: forbidden by negotiation, or more than allowed. */
  UNEXPECTED: 'unexpected',
} as const;
export type DataError = (typeof DataError)[keyof typeof DataError];

/** Recovery within a command (RFC 7143 11.16), from ErrorRecoveryLevel 1 on; for control paths. */
export interface TargetRetransmission {
  /** Queue Data-In numbers `from` to `end - 1` of `run` again; `buffersReleased` of its transfer follows. */
  resendData(run: DataInRun, from: number, end: number): void;
  /** Queue those R2Ts of the transfer again that are unanswered and numbered `from` to `end - 1`. Returns how many. */
  resendR2Ts(transfer: TargetTransfer, from: number, end: number): number;
}

/** What the Datamover tells the iSCSI layer of either role (RFC 5047 8.2). */
export interface DatamoverEvents {
  /**
   * Control_Notify: a control-type PDU arrived. For TCP, at the target that includes unsolicited Data-Out, and
   * the header of Data-Out that answers no R2T; at the initiator, a Data-In that carries status, without its
   * data, which is in the transfer's buffer.
   */
  controlNotify(pdu: ControlPdu): void;
  /** What was queued of the transfer's buffer has left it, or will never leave. */
  buffersReleased(transfer: DataTransfer): void;
  /** Connection_Terminate_Notify: the connection is gone; `reason` is null for an orderly end. Called once. */
  connectionTerminateNotify(reason: Error | null): void;
}

/** What the target hears besides. */
export interface TargetDatamoverEvents extends DatamoverEvents {
  /**
   * Data_Completion_Notify: everything that getData asked for is in the transfer's buffer, or, after a
   * dataErrorNotify, the sequence that was outstanding has ended.
   */
  dataCompletionNotify(transfer: TargetTransfer): void;
  /**
   * Data-Out of this transfer broke a rule and was dropped. The data phase goes on to the end of what is
   * outstanding (RFC 7143 7.8, 11.17.1), then dataCompletionNotify follows. `header` is the offending PDU's.
   * From ErrorRecoveryLevel 1 on the Datamover asks again for what a digest did not match.
   */
  dataErrorNotify(transfer: TargetTransfer, error: DataError, header: Buffer): void;
}

/** What the initiator's Datamover has to know of the tasks. */
export interface InitiatorTasks {
  /** The active task with this tag, or null. */
  findTask(initiatorTaskTag: number): InitiatorTransfer | null;
  /** ExpStatSN, for what the Datamover sends by itself. */
  expectedStatSN(): number;
  /** ExpCmdSN and MaxCmdSN of a PDU that the Datamover has handled by itself. */
  commandNumbersNotify(expCmdSN: number, maxCmdSN: number): void;
  /** A response with this StatSN was dropped, as data before it is missing: it comes again together with that. */
  statusDeferred(statSN: number): void;
}

/** The primitives that the iSCSI layer of either role invokes (RFC 5047 8.1). */
export interface Datamover {
  readonly kind: 'tcp' | 'iser';
  /** The RDMA device that its connection is on; null over TCP. */
  readonly device: string | null;

  /** Notice_Key_Values: `parameters` hold instead of those of enableDatamover; digests and the own limit are unchanged. */
  noticeKeyValues(parameters: ConnectionParameters): void;

  /**
   * Send_Control: queue a PDU whose 48-byte header the caller has written, but for its lengths.
   * Header and `length` bytes of `data` are copied.
   */
  sendControl(header: Buffer, data: Uint8Array | null, length: number): void;

  /** Hand everything queued to the wire. */
  flush(): void;

  /** Connection_Terminate: send what is queued, then close. Ends in connectionTerminateNotify. */
  connectionTerminate(): void;

  /** Deallocate_Connection_Resources: close at once, dropping what is queued. Ends in connectionTerminateNotify. */
  deallocateConnectionResources(reason: Error | null): void;
}

/** The target's primitives. */
export interface TargetDatamover extends Datamover {
  /** Whether {@link abandon} takes effect at once, always: then Data-Out may go where others will write soon. */
  readonly abandonsAtOnce: boolean;
  /** Commands that the connection has room for at a time. */
  readonly commandLimit: number;
  /** Null where nothing can be sent again. */
  readonly retransmission: TargetRetransmission | null;
  /** Whether memory that a block device lends is welcome: what an adapter moves stays in place, of which there is only so much. */
  readonly takesLoans: boolean;

  /** Whether data can be moved from and to `buffer`, which is not used yet; if not, the task had better come again (BUSY). */
  prepare(buffer: ScatterList): boolean;

  /** Enable_Datamover: from now on `parameters` hold and tasks may move data. */
  enableDatamover(parameters: ConnectionParameters, numbering: Numbering): void;

  /**
   * Put_Data: send the first `length` bytes of the transfer's buffer as SCSI Data-In, split as
   * negotiated. The last PDU carries the SCSI `status` (phase collapse, RFC 7143 11.7.3) with
   * `residualFlags` and `residual`, and takes a StatSN. `buffersReleased` follows, possibly at once.
   */
  putData(
    transfer: TargetTransfer,
    length: number,
    status: number,
    residualFlags: number,
    residual: number,
  ): void;

  /** Get_Data: solicit bytes `solicitOffset` .. `solicitEnd` of the transfer's buffer. */
  getData(transfer: TargetTransfer): void;

  /**
   * Send_Control of a SCSI Response, of the task of `transfer`; what its command has advertised is over with it
   * (RFC 7145 7.3.2).
   */
  sendResponse(transfer: TargetTransfer, header: Buffer, data: Uint8Array | null, length: number): void;

  /**
   * Forget a transfer's solicited data (its task was aborted): Data-Out that still comes is dropped. True: nothing touches
   * the transfer's buffer any more. False: what was asked for may still come into it; `buffersReleased` follows.
   */
  abandon(transfer: TargetTransfer): boolean;
}

/** The initiator's primitives. */
export interface InitiatorDatamover extends Datamover {
  /** Commands that may be outstanding at a time, whatever the target's window says. */
  readonly taskLimit: number;

  /** Enable_Datamover: from now on `parameters` hold and `tasks` may move data. */
  enableDatamover(parameters: ConnectionParameters, tasks: InitiatorTasks): void;

  /**
   * Send_Control of a SCSI Command with its data descriptor: the transfer's immediate and unsolicited data go
   * along, and whatever the target asks for follows without another call. Data-In is put into the transfer's
   * buffer. What breaks the rules of the data phase ends the connection; from ErrorRecoveryLevel 1 on what is missing is asked for.
   *
   * @param header 48 bytes that the caller has written, but for its lengths
   * @param ahs additional header segments, padded to 4 bytes each, or null
   */
  sendCommand(header: Memory, ahs: Uint8Array | null, transfer: InitiatorTransfer): void;

  /** Send_Control of a SNACK for all Data-In of an active task that is missing (RFC 7143 11.16). */
  requestMissingData(transfer: InitiatorTransfer): void;

  /**
   * Deallocate_Task_Resources: the task is over, maybe without a SCSI Response; from now on the target cannot reach its
   * buffer any more.
   */
  deallocateTaskResources(transfer: InitiatorTransfer): void;
}
