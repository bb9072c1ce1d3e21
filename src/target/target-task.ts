/**
 * Where iSCSI and SCSI meet: an iSCSI command and the SCSI task that it carries, made as a pair and
 * used again and again. Each calls the other through this file only.
 */

import { Bhs, CDB_LENGTH, CDB_OFFSET } from '../iscsi/wire/headers.js';
import { AhsType, CommandAttribute } from '../iscsi/wire/opcodes.js';
import { Command, type FullFeature } from '../iscsi/index.js';
import type { ControlPdu, DataError } from '../datamover/index.js';
import {
  abortTask,
  decodeLun,
  type LogicalUnitView,
  MAX_CDB_LENGTH,
  type Nexus,
  Sense,
  type SenseCode,
  Status,
  Task,
  TaskAttribute,
} from '../scsi/index.js';
import type { BufferPool, ScatterList } from '../util/memory.js';

class TargetTask extends Task {
  readonly command: TargetCommand;
  readonly #pool: BufferPool;

  constructor(command: TargetCommand, pool: BufferPool) {
    super();
    this.command = command;
    this.#pool = pool;
  }

  allocate(length: number): boolean {
    if (!this.#pool.fill(this.data, length)) return false;
    if (this.command.phase.datamover.prepare(this.data)) return true;
    this.#pool.release(this.data);
    return false;
  }

  allocateScratch(length: number): boolean {
    return this.#pool.fill(this.scratch, length);
  }

  receiveData(): boolean {
    return this.command.receiveData(this.data.length);
  }

  finished(): void {
    this.command.respond(
      this.scsiStatus,
      this.dataInLength,
      this.transferLength,
      this.sense.bytes,
      this.sense.length,
    );
  }

  aborted(): void {
    this.command.end();
  }

  /** Give all buffers back. */
  releaseBuffers(): void {
    this.#pool.release(this.data);
    this.#pool.release(this.scratch);
  }
}

/** An iSCSI command whose outcome the logical units of `view` decide. */
export class TargetCommand extends Command {
  readonly task: TargetTask;
  readonly #view: LogicalUnitView;
  readonly #nexus: Nexus;

  constructor(phase: FullFeature, pool: BufferPool, view: LogicalUnitView, nexus: Nexus) {
    super(phase, pool);
    this.task = new TargetTask(this, pool);
    this.#view = view;
    this.#nexus = nexus;
  }

  /** Not the same list for every command: a task may swap its buffers. */
  get buffer(): ScatterList {
    return this.task.data;
  }

  protected begin(pdu: ControlPdu): void {
    const task = this.task;
    task.aim(this.#nexus, attributeOf(this.attribute), this.readLength, this.writeLength);
    task.priority = this.priority;
    // A digest is made of bytes that must not change before they are sent, nor land before it is checked. And what an
    // aborted task has written must not come behind what others write then.
    const { parameters, datamover } = this.phase;
    task.mayLend =
      !parameters.dataDigest &&
      parameters.errorRecoveryLevel === 0 &&
      (this.writeLength === 0 ? datamover.takesLoans : datamover.abandonsAtOnce);
    const cdb = task.cdb;
    for (let i = 0; i < CDB_LENGTH; i++) cdb[i] = pdu.header[CDB_OFFSET + i]!;
    task.cdbLength = CDB_LENGTH;
    if (pdu.ahsLength > 0) this.#extendCdb(pdu);
    this.#view.route(decodeLun(pdu.header, Bhs.lunHigh.offset)).submit(task);
  }

  /** The nexus, which goes on, hears of it (RFC 7143 11.14.5). */
  override terminate(): void {
    this.task.logicalUnit?.unitAttentions.establish(
      this.#nexus,
      Sense.COMMANDS_CLEARED_BY_ISCSI_PROTOCOL_EVENT,
    );
    super.terminate();
  }

  abort(): void {
    const unit = this.task.logicalUnit;
    if (unit !== null) abortTask(unit, this.task, null);
  }

  protected refuse(error: DataError): void {
    const { sense } = this.task;
    sense.set(senseOf(error), false);
    this.respond(Status.CHECK_CONDITION, 0, 0, sense.bytes, sense.length);
  }

  protected dataReceived(): void {
    this.task.logicalUnit!.dataReceived(this.task);
  }

  protected dataFailed(error: DataError): void {
    this.task.logicalUnit!.dataFailed(this.task, senseOf(error));
  }

  protected released(): void {
    this.task.releaseBuffers();
  }

  /** The rest of a CDB longer than 16 bytes (RFC 7143 11.2.2.3). */
  #extendCdb(pdu: ControlPdu): void {
    const bytes = pdu.region.bytes;
    const end = pdu.ahsOffset + pdu.ahsLength;
    for (let at = pdu.ahsOffset; at + 4 <= end;) {
      const length = bytes.readUInt16BE(at);
      if (bytes[at + 2] === AhsType.EXTENDED_CDB && length > 1) {
        const extra = Math.min(length - 1, MAX_CDB_LENGTH - CDB_LENGTH, end - at - 4);
        bytes.copy(this.task.cdb, CDB_LENGTH, at + 4, at + 4 + extra);
        this.task.cdbLength = CDB_LENGTH + extra;
      }
      // Each segment is padded to four bytes; AHSLength does not count its own three bytes of header.
      at += (length + 3 + 3) & ~3;
    }
  }
}

function attributeOf(attribute: number): TaskAttribute {
  if (attribute === CommandAttribute.ORDERED) return TaskAttribute.ORDERED;
  if (attribute === CommandAttribute.HEAD_OF_QUEUE) return TaskAttribute.HEAD_OF_QUEUE;
  return TaskAttribute.SIMPLE;
}

/** The sense data of the iSCSI conditions (RFC 7143 11.4.7.2). */
function senseOf(error: DataError): SenseCode {
  switch (error) {
    case 'digest':
      return Sense.PROTOCOL_SERVICE_CRC_ERROR;
    case 'sequence':
      return Sense.NOT_ENOUGH_UNSOLICITED_DATA;
    case 'unexpected':
      return Sense.UNEXPECTED_UNSOLICITED_DATA;
  }
}
