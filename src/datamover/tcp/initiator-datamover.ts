/**
 * The initiator's side of the TCP Datamover: puts Data-In into the tasks' buffers, and answers R2Ts.
 *
 * Riser's initiator negotiates DataPDUInOrder and DataSequenceInOrder, so whatever is out of order is a
 * violation. Each costs the connection: a target that has lost count of one task cannot be trusted with others,
 * and the session recovers by a new connection (RFC 7143 7.1, ErrorRecoveryLevel 0). From level 1 on a SNACK asks for
 * what is missing, and all that follows it: what comes meanwhile of that task is dropped.
 */

import { Bhs, DataIn, R2T, ScsiResponse } from '../../iscsi/wire/headers.js';
import {
  DATA_IN_ACKNOWLEDGE,
  DATA_IN_STATUS,
  Opcode,
  OPCODE_MASK,
  RESERVED_TAG,
  SnackType,
} from '../../iscsi/wire/opcodes.js';
import type { Memory } from '../../util/memory.js';
import { serialLess } from '../../util/serial.js';
import type {
  ConnectionParameters,
  ControlPdu,
  DatamoverEvents,
  DataTransfer,
  InitiatorDatamover,
  InitiatorTasks,
  InitiatorTransfer,
} from '../datamover.js';
import type { ByteStream } from './byte-stream.js';
import { type Placement, TcpDatamover } from './tcp-datamover.js';

/**
 * Commands that wait for the end of a batch of answers. The target could work on more meanwhile: were they all to
 * wait, one side would rest while the other works.
 */
const COMMANDS_AHEAD = 8;

interface DataInPlacement extends Placement {
  transfer: InitiatorTransfer | null;
}

export class InitiatorTcpDatamover extends TcpDatamover<DataInPlacement> implements InitiatorDatamover {
  /** As many as there are tags. */
  readonly taskLimit = 65_536;
  readonly #events: DatamoverEvents;
  #tasks: InitiatorTasks | null = null;
  /** One data PDU is received at a time. */
  readonly #placement: DataInPlacement = { transfer: null };

  constructor(stream: ByteStream, events: DatamoverEvents) {
    super(stream, events, Opcode.DATA_IN, COMMANDS_AHEAD);
    this.#events = events;
  }

  enableDatamover(parameters: ConnectionParameters, tasks: InitiatorTasks): void {
    this.enable(parameters);
    this.#tasks = tasks;
  }

  override released(owner: DataTransfer): void {
    const transfer = owner as InitiatorTransfer;
    if (--transfer.queuedParts === 0) this.#events.buffersReleased(transfer);
  }

  protected override terminated(): void {
    this.#placement.transfer = null;
  }

  // ---- input ----

  protected override isPlaced(): boolean {
    return this.#tasks !== null;
  }

  protected override accept(pdu: ControlPdu): DataInPlacement | null {
    const header = pdu.header;
    const transfer = this.#tasks!.findTask(Bhs.initiatorTaskTag.get(header));
    if (this.parameters.errorRecoveryLevel > 0 && this.#isRepetition(pdu, transfer)) return null;
    if (transfer === null) {
      this.violation('DATA_IN_UNASKED', 'Data-In for a task that does not exist');
    } else if (!transfer.isRead) {
      this.violation('DATA_IN_UNASKED', 'Data-In for a task that reads nothing');
    } else if (pdu.dataDigestFailed) {
      this.violation('DATA_DIGEST', 'Data-In with a data digest that does not match');
    } else if (DataIn.dataSN.get(header) !== transfer.dataSN) {
      this.violation(
        'DATA_IN_SEQUENCE',
        `Data-In with DataSN ${DataIn.dataSN.get(header)} instead of ${transfer.dataSN}`,
      );
    } else if (
      pdu.dataLength > 0 &&
      (DataIn.bufferOffset.get(header) !== transfer.transferred ||
        transfer.transferred + pdu.dataLength > transfer.buffer.length)
    ) {
      this.violation(
        'DATA_IN_RANGE',
        `Data-In for bytes ${DataIn.bufferOffset.get(header)} to ${DataIn.bufferOffset.get(header) + pdu.dataLength} of a task ` +
          `that is at byte ${transfer.transferred} of ${transfer.buffer.length}`,
      );
    } else {
      this.#placement.transfer = transfer;
      return this.#placement;
    }
    return null;
  }

  /**
   * Whether `pdu` is dropped for recovery's sake (RFC 7143 7.8, 7.9): it has come before, or something before it, or in it, is
   * missing. That is asked for once; when it comes damaged again, once more.
   */
  #isRepetition(pdu: ControlPdu, transfer: InitiatorTransfer | null): boolean {
    // What was asked for twice may come when its task is over.
    if (transfer === null) return true;
    const header = pdu.header;
    const dataSN = DataIn.dataSN.get(header);
    if (!transfer.isRead || serialLess(dataSN, transfer.dataSN)) return transfer.isRead;
    const isNext = dataSN === transfer.dataSN;
    if (isNext && !pdu.dataDigestFailed) {
      transfer.isMissingData = false;
      return false;
    }
    if (isNext || !transfer.isMissingData) this.requestMissingData(transfer);
    if ((header[1]! & DATA_IN_STATUS) !== 0) this.#tasks!.statusDeferred(DataIn.statSN.get(header));
    return true;
  }

  requestMissingData(transfer: InitiatorTransfer): void {
    transfer.isMissingData = true;
    this.#snack(SnackType.DATA_OR_R2T, transfer, RESERVED_TAG);
  }

  #snack(type: SnackType, transfer: InitiatorTransfer, transferTag: number): void {
    this.writer.sendSnack(type, transfer, transferTag, this.#tasks!.expectedStatSN(), transfer.dataSN, 0);
  }

  protected override dataArrived(placement: DataInPlacement, pdu: ControlPdu, length: number): void {
    const transfer = placement.transfer!;
    const header = pdu.header;
    placement.transfer = null;
    transfer.dataSN++;
    transfer.transferred += length;
    if ((header[1]! & DATA_IN_ACKNOWLEDGE) !== 0 && this.parameters.errorRecoveryLevel > 0)
      this.#snack(SnackType.DATA_ACK, transfer, DataIn.targetTransferTag.get(header));
    if ((header[1]! & DATA_IN_STATUS) !== 0) {
      // The status is the layer above's, the data is where it belongs.
      pdu.dataLength = 0;
      this.#events.controlNotify(pdu);
    } else {
      this.#tasks!.commandNumbersNotify(DataIn.expCmdSN.get(header), DataIn.maxCmdSN.get(header));
    }
  }

  protected override control(pdu: ControlPdu): void {
    if (this.#tasks !== null && (pdu.header[0]! & OPCODE_MASK) === Opcode.R2T)
      this.#readyToTransfer(pdu.header);
    else super.control(pdu);
  }

  /** RFC 7143 11.8 */
  #readyToTransfer(header: Buffer): void {
    const tasks = this.#tasks!;
    const transfer = tasks.findTask(Bhs.initiatorTaskTag.get(header));
    const offset = R2T.bufferOffset.get(header);
    const length = R2T.desiredDataTransferLength.get(header);
    const tag = R2T.targetTransferTag.get(header);
    if (this.parameters.errorRecoveryLevel > 0 && this.#isRecoveryR2T(header, transfer)) return;
    if (!transfer?.isWrite) {
      this.violation('R2T_UNASKED', 'an R2T for a task that writes nothing');
    } else if (R2T.r2tSN.get(header) !== transfer.dataSN) {
      this.violation(
        'R2T_SEQUENCE',
        `an R2T with R2TSN ${R2T.r2tSN.get(header)} instead of ${transfer.dataSN}`,
      );
    } else if (
      tag === RESERVED_TAG ||
      length === 0 ||
      length > this.parameters.maxBurstLength ||
      offset !== transfer.transferred ||
      offset + length > transfer.buffer.length
    ) {
      this.violation(
        'R2T_RANGE',
        `an R2T for bytes ${offset} to ${offset + length} of a task that is at byte ${transfer.transferred} of ${transfer.buffer.length}`,
      );
    } else {
      transfer.dataSN++;
      transfer.transferred += length;
      this.writer.sendDataOut(transfer, offset, length, tag, tasks.expectedStatSN());
      tasks.commandNumbersNotify(ScsiResponse.expCmdSN.get(header), ScsiResponse.maxCmdSN.get(header));
    }
  }

  /**
   * Whether this R2T is handled as recovery's: it has come before, or one before it is missing, or it asks again, maybe among other
   * things, for what was sent and got lost (RFC 7143 11.8).
   */
  #isRecoveryR2T(header: Buffer, transfer: InitiatorTransfer | null): boolean {
    if (transfer === null) return true;
    const tasks = this.#tasks!;
    const number = R2T.r2tSN.get(header);
    if (!transfer.isWrite || serialLess(number, transfer.dataSN)) return transfer.isWrite;
    if (number !== transfer.dataSN) {
      if (!transfer.isMissingData) this.requestMissingData(transfer);
      return true;
    }
    transfer.isMissingData = false;
    const offset = R2T.bufferOffset.get(header);
    const length = R2T.desiredDataTransferLength.get(header);
    const tag = R2T.targetTransferTag.get(header);
    const isAllowed = length > 0 && length <= this.parameters.maxBurstLength && tag !== RESERVED_TAG;
    const isAgain = offset < transfer.transferred && offset + length <= transfer.buffer.length;
    if (!isAllowed || !isAgain) return false;
    transfer.dataSN++;
    transfer.transferred = Math.max(transfer.transferred, offset + length);
    this.writer.sendDataOut(transfer, offset, length, tag, tasks.expectedStatSN());
    tasks.commandNumbersNotify(ScsiResponse.expCmdSN.get(header), ScsiResponse.maxCmdSN.get(header));
    return true;
  }

  // ---- output ----

  sendCommand(header: Memory, ahs: Uint8Array | null, transfer: InitiatorTransfer): void {
    if (this.isTerminated) return;
    const { immediateLength, unsolicitedLength } = transfer;
    transfer.dataSN = 0;
    transfer.transferred = transfer.isWrite ? unsolicitedLength : 0;
    transfer.isMissingData = false;
    this.writer.sendCommand(header, ahs, transfer);
    if (unsolicitedLength > immediateLength) {
      this.writer.sendDataOut(
        transfer,
        immediateLength,
        unsolicitedLength - immediateLength,
        RESERVED_TAG,
        this.#tasks!.expectedStatSN(),
      );
    }
  }

  deallocateTaskResources(): void {
    // What comes for a task that is over ends the connection.
  }
}
