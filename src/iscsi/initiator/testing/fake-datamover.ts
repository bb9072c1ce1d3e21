/** For tests of the initiator's full feature phase: a Datamover that keeps what it is told, and PDUs of a target. */

import {
  type ConnectionParameters,
  ControlPdu,
  type InitiatorDatamover,
  type InitiatorTasks,
  type InitiatorTransfer,
} from '../../../datamover/datamover.js';
import { Memory } from '../../../util/memory.js';
import { DEFAULT_PARAMETERS, type OperationalParameters } from '../../login/keys.js';
import { Bhs, ScsiResponse } from '../../wire/headers.js';
import { FINAL, Opcode, OPCODE_MASK } from '../../wire/opcodes.js';
import type { AsyncNotice, InitiatorHost } from '../full-feature.js';
import { InitiatorFullFeature } from '../full-feature.js';
import { InitiatorTask } from '../task.js';

/** A PDU that the initiator sent. */
export interface SentPdu {
  opcode: number;
  header: Buffer;
  data: Buffer;
  ahs: Buffer | null;
}

export class FakeInitiatorDatamover implements InitiatorDatamover {
  readonly kind = 'tcp';
  readonly device = null;
  readonly taskLimit = 65_536;
  readonly sent: SentPdu[] = [];
  /** Tasks whose missing data was asked for. */
  readonly missing: InitiatorTransfer[] = [];
  tasks: InitiatorTasks | null = null;
  parameters: ConnectionParameters | null = null;
  flushes = 0;
  hasEnded = false;
  /** Why the connection was ended. */
  ended: Error | null = null;
  /** Told when the connection is ended. */
  onEnd: (reason: Error | null) => void = () => undefined;

  requestMissingData(transfer: InitiatorTransfer): void {
    this.missing.push(transfer);
  }
  deallocateTaskResources(): void {
    // It lends nothing.
  }

  enableDatamover(parameters: ConnectionParameters, tasks: InitiatorTasks): void {
    this.parameters = parameters;
    this.tasks = tasks;
  }
  noticeKeyValues(parameters: ConnectionParameters): void {
    this.parameters = parameters;
  }
  sendControl(header: Buffer, data: Uint8Array | null, length: number): void {
    this.#keep(header, data === null ? Buffer.alloc(0) : Buffer.from(data.subarray(0, length)), null);
  }
  sendCommand(header: Memory, ahs: Uint8Array | null, transfer: InitiatorTransfer): void {
    transfer.transferred = transfer.isWrite ? transfer.unsolicitedLength : 0;
    this.#keep(header.bytes, Buffer.alloc(0), ahs === null ? null : Buffer.from(ahs));
  }
  flush(): void {
    this.flushes++;
  }
  connectionTerminate(): void {
    this.deallocateConnectionResources(null);
  }
  deallocateConnectionResources(reason: Error | null): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.ended = reason;
    this.onEnd(reason);
  }

  /** What was sent since the last call. */
  take(): SentPdu[] {
    return this.sent.splice(0);
  }

  #keep(header: Buffer, data: Buffer, ahs: Buffer | null): void {
    this.sent.push({ opcode: header[0]! & OPCODE_MASK, header: Buffer.from(header), data, ahs });
  }
}

/** A task that notes its ends. */
export class RecordedTask extends InitiatorTask {
  ends = 0;
  onDone: () => void = () => undefined;

  constructor(direction: 'read' | 'write' | 'none' = 'none', length = 0) {
    super();
    this.isRead = direction === 'read';
    this.isWrite = direction === 'write';
    this.buffer.add(Memory.allocate(length), 0, length);
  }

  override done(): void {
    this.ends++;
    this.onDone();
  }
}

export class FullFeatureUnderTest implements InitiatorHost {
  readonly datamover = new FakeInitiatorDatamover();
  readonly phase: InitiatorFullFeature;
  readonly notices: AsyncNotice[] = [];
  readonly remarks: string[] = [];
  statSN: number;
  expCmdSN: number;
  maxCmdSN: number;

  constructor({
    cmdSN = 1,
    window = 8,
    statSN = 100,
    parameters = {},
  }: {
    cmdSN?: number;
    window?: number;
    statSN?: number;
    parameters?: Partial<OperationalParameters>;
  } = {}) {
    this.statSN = statSN;
    this.expCmdSN = cmdSN;
    this.maxCmdSN = (cmdSN + window - 1) >>> 0;
    this.datamover.onEnd = (reason) => {
      this.phase.terminated(reason);
    };
    this.phase = new InitiatorFullFeature(
      this.datamover,
      {
        tsih: 1,
        parameters: { ...DEFAULT_PARAMETERS, ...parameters },
        targetAlias: null,
        portalGroupTag: null,
        cmdSN,
        maxCmdSN: this.maxCmdSN,
        expStatSN: statSN,
      },
      this,
    );
  }

  asyncNotice(notice: AsyncNotice): void {
    this.notices.push(notice);
  }
  remark(message: string): void {
    this.remarks.push(message);
  }

  /** Submit tasks that neither read nor write. */
  submit(count: number): RecordedTask[] {
    return Array.from({ length: count }, () => {
      const task = new RecordedTask();
      this.phase.submit(task);
      return task;
    });
  }

  /** Hand a PDU of the target up; it takes a StatSN unless it says otherwise. */
  receive(
    opcode: Opcode,
    tag: number,
    { set = () => undefined, data = Buffer.alloc(0), takesStatSN = true }: ReceiveOptions = {},
  ): void {
    const pdu = new ControlPdu();
    pdu.header.fill(0);
    pdu.header[0] = opcode;
    pdu.header[1] = FINAL;
    Bhs.initiatorTaskTag.set(pdu.header, tag);
    ScsiResponse.statSN.set(pdu.header, this.statSN);
    ScsiResponse.expCmdSN.set(pdu.header, this.expCmdSN);
    ScsiResponse.maxCmdSN.set(pdu.header, this.maxCmdSN);
    if (takesStatSN) this.statSN = (this.statSN + 1) >>> 0;
    set(pdu.header);
    // Between bytes that are not its own: whoever reads beyond it, reads those.
    const memory = Memory.allocate(16 + data.length + 16);
    memory.bytes.fill(0xee);
    data.copy(memory.bytes, 16);
    pdu.region = memory;
    pdu.dataOffset = 16;
    pdu.dataLength = data.length;
    this.phase.controlNotify(pdu);
  }

  /** The command that was sent for `task` is the target's next: it executes it with GOOD status. */
  respond(
    task: InitiatorTask,
    set: (header: Buffer) => void = () => undefined,
    data = Buffer.alloc(0),
  ): void {
    this.receive(Opcode.SCSI_RESPONSE, task.initiatorTaskTag, { set, data });
  }
}

export interface ReceiveOptions {
  set?: (header: Buffer) => void;
  data?: Buffer;
  takesStatSN?: boolean;
}
