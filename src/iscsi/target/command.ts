/**
 * A SCSI command of a session, from its Command PDU to its response (RFC 7143 4.2.2, 11.3, 11.4):
 * which data comes by itself, what is still to be asked for, and how the outcome travels.
 *
 * The SCSI side extends Command (it joins its task to it), implements the abstract methods, and calls
 * {@link Command.receiveData}, {@link Command.respond} or {@link Command.end}. Commands are pooled.
 */

import { type ControlPdu, DataError, TargetTransfer } from '../../datamover/datamover.js';
import { type BufferPool, ScatterList } from '../../util/memory.js';
import { RiserError } from '../../util/errors.js';
import { serialLess } from '../../util/serial.js';
import { Bhs, DataOut, ScsiCommand } from '../wire/headers.js';
import { CommandFlag, FINAL, PRIORITY_SHIFT, ResponseFlag } from '../wire/opcodes.js';
import type { FullFeature } from './full-feature.js';

const GOOD = 0;

export abstract class Command extends TargetTransfer {
  /** The connection that it came by, and is answered by (RFC 7143 4.2.4: allegiance). */
  phase: FullFeature;
  readonly #pool: BufferPool;

  cmdSN = 0;
  isImmediate = false;
  /** ATTR field (RFC 7143 11.3.1). */
  attribute = 0;
  /** PRI; 0, none, below iSCSIProtocolLevel 2 (RFC 7144 5.1.1). */
  priority = 0;
  /** Bytes that the initiator is ready to take, and to give (RFC 7143 11.3.4). Both are set for a bidirectional command; there is none that transfers both ways. */
  readLength = 0;
  writeLength = 0;

  /** Its Data-In may have to be sent again; see {@link Retention}. */
  isRetained = false;
  /** Times that its Data-In is queued for sending. */
  queuedSends = 0;

  /** Neighbours among the session's active commands with the same hash. */
  nextInBucket: Command | null = null;
  isActive = false;

  /** The Command PDU, while `begin` runs: immediate data is taken from it without a stop-over. */
  #pdu: ControlPdu | null = null;
  /** Unsolicited data that came before the command's buffer was known. */
  readonly #staging = new ScatterList();
  #stagedLength = 0;
  #unsolicitedLimit = 0;
  /** Unsolicited bytes that have arrived, and whether more may come. */
  #unsolicitedReceived = 0;
  #isUnsolicitedOpen = false;
  #nextUnsolicitedDataSN = 0;
  /** Some of it was lost, and will be asked for. */
  #isUnsolicitedLost = false;
  /** Bytes that the command wants in its buffer; -1 until it asks. */
  #wanted = -1;
  #dataError: DataError | null = null;
  /** See {@link Command.hold}. */
  #isRefused = false;

  /** Its connection is gone, and it waits for a new allegiance (RFC 7143 7.2.2); with it, whether data is to be asked for again. */
  #isSuspended = false;
  #lacksData = false;
  /** The response is ready but data is still on its way, or it is suspended. */
  #isResponseHeld = false;
  /** Data that was asked for may still come into `buffer`. */
  #isBufferBusy = false;
  #status = GOOD;
  #dataInLength = 0;
  #transferLength = 0;
  #sense: Uint8Array = EMPTY;
  #senseLength = 0;

  constructor(phase: FullFeature, pool: BufferPool) {
    super();
    this.phase = phase;
    this.#pool = pool;
  }

  // ---- implemented by the SCSI side ----

  /** Aim a task at the command and submit it. `pdu` carries the LUN and the CDB; it is valid during the call. */
  protected abstract begin(pdu: ControlPdu): void;
  /** What receiveData asked for is in `buffer`. */
  protected abstract dataReceived(): void;
  /** End the command, instead of `begin`, because of what came with it. */
  protected abstract refuse(error: DataError): void;
  /** What receiveData asked for was lost. */
  protected abstract dataFailed(error: DataError): void;
  /** Its connection is gone: abort the task. `end` follows, at once or when the medium lets go of the buffers. */
  abstract abort(): void;
  /** The command is over and its buffers are free. */
  protected abstract released(): void;

  // ---- called by the SCSI side ----

  /**
   * Have the first `length` bytes of Data-Out put into `buffer`. True when they are there already;
   * false when `dataReceived` or `dataFailed` will be called.
   */
  receiveData(length: number): boolean {
    this.#wanted = length;
    const pdu = this.#pdu;
    if (pdu !== null && pdu.dataLength > 0) {
      this.buffer.writeFrom(0, pdu.region, pdu.dataOffset, Math.min(pdu.dataLength, length));
    } else if (this.#stagedLength > 0) {
      this.#unstage(Math.min(this.#stagedLength, length));
    }
    if (this.#isUnsolicitedOpen) return false;
    return !this.#solicitRest();
  }

  /**
   * End with a status. `dataInLength` bytes of `buffer` go to the initiator, as far as it takes them.
   * `transferLength` is what the command as such transfers: the residual is counted from it
   * (RFC 7143 11.4.5). The first `senseLength` bytes of `sense` are read before the call returns, or,
   * if data is still coming, when it has come.
   */
  respond(
    status: number,
    dataInLength: number,
    transferLength: number,
    sense: Uint8Array,
    senseLength: number,
  ): void {
    this.#status = status;
    this.#dataInLength = Math.min(dataInLength, this.readLength);
    this.#transferLength = transferLength;
    this.#sense = sense;
    this.#senseLength = senseLength;
    if (this.outstandingR2Ts > 0) this.#isBufferBusy = !this.phase.datamover.abandon(this);
    // The initiator still sends under this task's tag: first things first (RFC 7143 11.17.1). And when it has the response
    // its memory is read no more (RFC 7145 7.3.2).
    if (this.#isUnsolicitedOpen || this.#isBufferBusy || this.#isSuspended) this.#isResponseHeld = true;
    else this.#sendResponse();
  }

  /** End without a response: the task was aborted. */
  end(): void {
    const isFree = this.phase.datamover.abandon(this);
    this.#isResponseHeld = false;
    this.#isBufferBusy = !isFree;
    this.#finish();
    if (isFree) this.#release();
    else this.phase.responses.abortedWhileRead();
  }

  // ---- called by the connection ----

  /** The connection is gone, and the session goes on without it. */
  terminate(): void {
    if (this.#isResponseHeld) this.end();
    else this.abort();
  }

  /** The connection is gone, and the task goes on as far as it can without one: what has come of its data counts. */
  suspend(): void {
    this.#isSuspended = true;
    const isAsking = this.outstandingR2Ts > 0;
    this.#lacksData = this.#wanted >= 0 && (isAsking || this.#isUnsolicitedOpen);
    if (isAsking) {
      const { maxBurstLength } = this.phase.parameters;
      // An R2T that nothing has answered may be lost as well: its number is used again.
      if (this.solicitedReceived % maxBurstLength === 0) this.dataSN--;
      this.#unsolicitedReceived = this.unsolicitedLength + this.solicitedReceived;
    }
    this.phase.datamover.abandon(this);
    this.#isUnsolicitedOpen = false;
    this.#isUnsolicitedLost = false;
  }

  /**
   * Go on by `phase`: what is missing of the data is asked for, or the response sent. `expDataSN`: R2Ts below are known to the
   * initiator; 0 tells nothing (RFC 7143 11.5.6).
   */
  reassign(phase: FullFeature, expDataSN: number): void {
    this.phase = phase;
    this.#isSuspended = false;
    if (this.#isResponseHeld) {
      this.#isResponseHeld = false;
      if (this.#dataInLength > 0) this.dataSN = 0;
      this.#sendResponse();
    } else if (this.#lacksData) {
      this.#lacksData = false;
      if (expDataSN > 0 && expDataSN <= this.dataSN + 1) this.dataSN = expDataSN;
      if (this.#dataError !== null) this.dataFailed(this.#dataError);
      else if (!this.#solicitRest()) this.dataReceived();
    }
  }

  /** End a suspended command that has its response, and whose task is over; false if it is none. */
  endAnswered(): boolean {
    const isAnswered = this.#isSuspended && this.#isResponseHeld;
    if (isAnswered) this.end();
    return isAnswered;
  }

  /** Take on a Command PDU whose turn by CmdSN has come. */
  start(pdu: ControlPdu): void {
    if (!this.#take(pdu)) {
      this.refuse(DataError.UNEXPECTED);
      return;
    }
    this.#pdu = pdu;
    this.begin(pdu);
    this.#pdu = null;
    // The task waits for its turn, and the PDU is gone when this returns.
    if (this.isActive && this.#wanted < 0 && pdu.dataLength > 0) this.#stage(pdu, 0);
  }

  /** Take on a Command PDU whose turn has not come: its data is kept. */
  hold(pdu: ControlPdu): void {
    this.#isRefused = !this.#take(pdu);
    if (!this.#isRefused && pdu.dataLength > 0) this.#stage(pdu, 0);
  }

  /** Its turn has come; `pdu` has no data. */
  resume(pdu: ControlPdu): void {
    if (this.#isRefused) this.refuse(DataError.UNEXPECTED);
    else this.begin(pdu);
  }

  /** Whether what came with the command may come. */
  #take(pdu: ControlPdu): boolean {
    const header = pdu.header;
    const flags = Bhs.flags.get(header);
    const expected = ScsiCommand.expectedDataTransferLength.get(header);
    this.initiatorTaskTag = Bhs.initiatorTaskTag.get(header);
    this.lunHigh = Bhs.lunHigh.get(header);
    this.lunLow = Bhs.lunLow.get(header);
    this.cmdSN = ScsiCommand.cmdSN.get(header);
    this.attribute = flags & CommandFlag.ATTRIBUTE_MASK;
    this.priority = this.phase.parameters.iSCSIProtocolLevel < 2 ? 0 : header[2]! >> PRIORITY_SHIFT;
    const isWrite = (flags & CommandFlag.WRITE) !== 0;
    this.readLength = (flags & CommandFlag.READ) !== 0 ? expected : 0;
    this.writeLength = isWrite ? expected : 0;
    this.dataSN = 0;
    this.outstandingR2Ts = 0;
    this.solicitOffset = 0;
    this.solicitEnd = 0;
    this.#stagedLength = 0;
    this.#unsolicitedReceived = pdu.dataLength;
    this.#unsolicitedLimit = Math.min(this.phase.parameters.firstBurstLength, expected);
    this.#nextUnsolicitedDataSN = 0;
    this.#isUnsolicitedOpen = isWrite && (flags & FINAL) === 0;
    this.#wanted = -1;
    this.#dataError = null;
    this.#isResponseHeld = false;
    this.#isBufferBusy = false;
    this.#isUnsolicitedLost = false;
    this.#isSuspended = false;
    this.#lacksData = false;
    this.queuedSends = 0;
    this.remote.copyFrom(pdu.remote);
    return !(
      (pdu.dataLength > 0 &&
        (!isWrite || !this.phase.parameters.immediateData || pdu.dataLength > this.#unsolicitedLimit)) ||
      (this.#isUnsolicitedOpen && this.phase.parameters.initialR2T)
    );
  }

  /**
   * Unsolicited Data-Out (RFC 7143 11.7): DataSN from 0, offsets without gaps, no more than
   * FirstBurstLength. False when it breaks a rule.
   */
  unsolicitedData(pdu: ControlPdu): boolean {
    const header = pdu.header;
    const offset = DataOut.bufferOffset.get(header);
    if (
      !this.#isUnsolicitedOpen ||
      this.#isUnsolicitedLost ||
      DataOut.dataSN.get(header) !== this.#nextUnsolicitedDataSN ||
      offset !== this.#unsolicitedReceived ||
      offset + pdu.dataLength > this.#unsolicitedLimit
    ) {
      return false;
    }
    this.#nextUnsolicitedDataSN++;
    this.#unsolicitedReceived += pdu.dataLength;
    const isFinal = (Bhs.flags.get(header) & FINAL) !== 0;
    if (this.#wanted >= 0 && !this.#isResponseHeld) {
      const part = Math.min(pdu.dataLength, this.#wanted - offset);
      if (part > 0) this.buffer.writeFrom(offset, pdu.region, pdu.dataOffset, part);
    } else {
      this.#stage(pdu, offset);
    }
    if (isFinal) this.#endUnsolicited();
    return true;
  }

  /**
   * Unsolicited Data-Out came that cannot be taken, at ErrorRecoveryLevel 1 or more: what it lacks is asked for when the sequence
   * has ended (RFC 7143 7.8). False: it breaks a rule.
   */
  recoverUnsolicited(pdu: ControlPdu): boolean {
    const dataSN = DataOut.dataSN.get(pdu.header);
    // What came twice is dropped, also when the command was sent again with all of its data.
    if (!this.#isUnsolicitedOpen || serialLess(dataSN, this.#nextUnsolicitedDataSN)) return true;
    if (!pdu.dataDigestFailed && !this.#isUnsolicitedLost && dataSN === this.#nextUnsolicitedDataSN)
      return false;
    this.#isUnsolicitedLost = true;
    if ((Bhs.flags.get(pdu.header) & FINAL) !== 0) this.#endUnsolicited();
    return true;
  }

  /** Some of the Data-Out was lost; the task fails when the rest has come. */
  loseData(error: DataError): void {
    this.#dataError ??= error;
  }

  /** A final unsolicited Data-Out came that had to be dropped. */
  endLostUnsolicited(isFinal: boolean): void {
    if (isFinal && this.#isUnsolicitedOpen) this.#endUnsolicited();
  }

  /** Data_Completion_Notify. */
  dataCompleted(): void {
    if (this.#isUnsolicitedLost && this.#dataError === null) {
      this.#isUnsolicitedLost = false;
      this.#unsolicitedReceived = this.solicitEnd;
      if (this.#solicitRest()) return;
    }
    if (this.#dataError !== null) this.dataFailed(this.#dataError);
    else this.dataReceived();
  }

  /** The Data-In has left `buffer`, or no Data-Out comes into it any more. */
  buffersReleased(): void {
    const wasBusy = this.#isBufferBusy;
    this.#isBufferBusy = false;
    if (this.#isResponseHeld) {
      this.#isResponseHeld = false;
      this.#sendResponse();
      return;
    }
    if (--this.queuedSends > 0 || this.isRetained) return;
    this.#release();
    if (wasBusy) this.phase.responses.abortedIsRead();
  }

  /** Its Data-In need not be sent again any more. */
  releaseRetained(): void {
    this.isRetained = false;
    if (this.queuedSends <= 0) this.#release();
  }

  #endUnsolicited(): void {
    this.#isUnsolicitedOpen = false;
    if (this.#isResponseHeld) {
      this.#isResponseHeld = false;
      this.#sendResponse();
    } else if (this.#wanted >= 0) {
      if (this.#dataError !== null) this.dataFailed(this.#dataError);
      else if (!this.#solicitRest()) this.dataReceived();
    }
  }

  /** Ask for what has not come by itself; false when nothing is missing. */
  #solicitRest(): boolean {
    if (this.#unsolicitedReceived >= this.#wanted) return false;
    this.unsolicitedLength = this.#unsolicitedReceived;
    this.solicitOffset = this.#unsolicitedReceived;
    // What was lost is asked for apart from what nobody has sent (RFC 7143 11.8).
    const isLost = this.#isUnsolicitedLost && this.#unsolicitedReceived < this.#unsolicitedLimit;
    this.solicitEnd = isLost ? Math.min(this.#wanted, this.#unsolicitedLimit) : this.#wanted;
    this.#lacksData = this.#isSuspended;
    if (this.#isSuspended) return true;
    this.phase.datamover.getData(this);
    this.phase.datamover.flush();
    return true;
  }

  #stage(pdu: ControlPdu, offset: number): void {
    // A command that has failed wants no data any more.
    if (this.#isResponseHeld) return;
    if (this.#staging.length === 0 && !this.#pool.fill(this.#staging, this.#unsolicitedLimit)) {
      // Nothing can be promised for the data any more; after a new login the initiator sends the command again.
      this.phase.drop(
        new RiserError('OUT_OF_BUFFERS', 'no buffer memory is left for unsolicited data', {
          by: 'local',
          costs: 'connection',
        }),
      );
      return;
    }
    this.#staging.writeFrom(offset, pdu.region, pdu.dataOffset, pdu.dataLength);
    this.#stagedLength = offset + pdu.dataLength;
  }

  #unstage(length: number): void {
    const { regions, offsets, lengths, count } = this.#staging;
    let at = 0;
    for (let i = 0; i < count && at < length; i++) {
      const part = Math.min(lengths[i]!, length - at);
      this.buffer.writeFrom(at, regions[i]!, offsets[i]!, part);
      at += part;
    }
  }

  #sendResponse(): void {
    const expected = Math.max(this.readLength, this.writeLength);
    const residual = Math.abs(this.#transferLength - expected);
    const flags =
      this.#transferLength > expected
        ? ResponseFlag.OVERFLOW
        : this.#transferLength < expected
          ? ResponseFlag.UNDERFLOW
          : 0;
    this.#finish();
    const { datamover } = this.phase;
    if (this.#dataInLength > 0 && this.#senseLength === 0) {
      // buffersReleased() follows when the data has left.
      this.queuedSends = 1;
      this.phase.responses.retention?.keepData(this, this.#dataInLength, this.#status, flags, residual);
      datamover.putData(this, this.#dataInLength, this.#status, flags, residual);
    } else {
      this.phase.responses.sendScsiResponse(
        this,
        this.#status,
        flags,
        residual,
        this.#sense,
        this.#senseLength,
      );
      this.#release();
    }
    datamover.flush();
  }

  /** No longer among the session's active commands: the window opens by one. */
  #finish(): void {
    this.phase.commands.finish(this);
  }

  #release(): void {
    this.#pool.release(this.#staging);
    this.released();
    this.phase.commands.recycle(this);
  }
}

const EMPTY = new Uint8Array(0);
