/** A Datamover, a SCSI side and a host that only take notes: the full feature phase runs against them without I/O. */

import {
  type ConnectionParameters,
  ControlPdu,
  type DataError,
  type TargetDatamover,
  type TargetTransfer,
  type Numbering,
} from '../../../datamover/datamover.js';
import { silentLogger } from '../../../util/logger.js';
import { BufferPool, Memory, ScatterList } from '../../../util/memory.js';
import { DEFAULT_PARAMETERS, type OperationalParameters } from '../../login/keys.js';
import { Bhs } from '../../wire/headers.js';
import type { TextPair } from '../../wire/text.js';
import { Command } from '../command.js';
import type { CommandTable } from '../command-table.js';
import { FullFeature, type FullFeatureHost } from '../full-feature.js';
import type { TaskManagementCall } from '../task-management.js';

export interface SentPdu {
  header: Buffer;
  data: Buffer;
}

export interface SentData {
  transfer: TargetTransfer;
  length: number;
  status: number;
  residualFlags: number;
  residual: number;
}

export class FakeDatamover implements TargetDatamover {
  readonly kind = 'tcp';
  readonly device = null;
  readonly commandLimit = Infinity;
  readonly takesLoans = true;
  readonly retransmission = null;
  readonly sent: SentPdu[] = [];
  readonly data: SentData[] = [];
  readonly solicited: { transfer: TargetTransfer; from: number; to: number }[] = [];
  readonly abandoned: TargetTransfer[] = [];
  parameters: ConnectionParameters | null = null;
  isTerminated = false;
  error: Error | null = null;
  numbering: Numbering | null = null;

  prepare(): boolean {
    return true;
  }

  enableDatamover(parameters: ConnectionParameters, numbering: Numbering): void {
    this.parameters = parameters;
    this.numbering = numbering;
  }
  noticeKeyValues(parameters: ConnectionParameters): void {
    this.parameters = parameters;
  }
  sendControl(header: Buffer, data: Uint8Array | null, length: number): void {
    this.sent.push({ header: Buffer.from(header), data: Buffer.from((data ?? []).slice(0, length)) });
  }
  putData(
    transfer: TargetTransfer,
    length: number,
    status: number,
    residualFlags: number,
    residual: number,
  ): void {
    this.numbering!.takeStatSN();
    this.data.push({ transfer, length, status, residualFlags, residual });
  }
  getData(transfer: TargetTransfer): void {
    transfer.outstandingR2Ts = 1;
    this.solicited.push({ transfer, from: transfer.solicitOffset, to: transfer.solicitEnd });
  }
  readonly abandonsAtOnce = true;
  sendResponse(_transfer: TargetTransfer, header: Buffer, data: Uint8Array | null, length: number): void {
    this.sendControl(header, data, length);
  }
  abandon(transfer: TargetTransfer): boolean {
    transfer.outstandingR2Ts = 0;
    this.abandoned.push(transfer);
    return true;
  }
  flush(): void {
    // Everything is taken at once.
  }
  connectionTerminate(): void {
    this.isTerminated = true;
  }
  deallocateConnectionResources(reason: Error | null): void {
    this.isTerminated = true;
    this.error = reason;
  }
}

/** A command that the test drives: it notes what it is told. */
export class FakeCommand extends Command {
  readonly buffer = new ScatterList();
  readonly told: string[] = [];
  /** Called by `begin`. */
  onBegin: (command: FakeCommand) => void = () => undefined;

  protected begin(): void {
    this.told.push('begin');
    this.onBegin(this);
  }
  protected refuse(error: DataError): void {
    this.told.push(`refuse ${error}`);
  }
  protected dataReceived(): void {
    this.told.push('dataReceived');
  }
  protected dataFailed(error: DataError): void {
    this.told.push(`dataFailed ${error}`);
  }
  abort(): void {
    this.told.push('abort');
    this.end();
  }
  protected released(): void {
    this.told.push('released');
  }

  /** Ask for `length` bytes into a new buffer. */
  want(length: number): boolean {
    this.buffer.clear();
    this.buffer.add(Memory.allocate(length), 0, length);
    return this.receiveData(length);
  }

  good(transferLength = 0, dataInLength = 0): void {
    this.respond(0, dataInLength, transferLength, Buffer.alloc(0), 0);
  }
}

export class FakeHost implements FullFeatureHost {
  logouts = 0;
  readonly commands: FakeCommand[] = [];
  sharedCommands: CommandTable | null = null;
  /** CIDs of connections that were ended; null for all others. */
  readonly ended: (number | null)[] = [];
  readonly calls: TaskManagementCall[] = [];
  readonly buffers = new BufferPool(64 << 20);
  readonly log = silentLogger;
  pairs: readonly TextPair[] | null = [];
  readonly asked: string[] = [];
  readonly directory = {
    sendTargets: (value: string): readonly TextPair[] | null => {
      this.asked.push(value);
      return this.pairs;
    },
  };
  onBegin: (command: FakeCommand) => void = () => undefined;

  createCommand(phase: FullFeature): FakeCommand {
    const command = new FakeCommand(phase, this.buffers);
    command.onBegin = (c) => {
      this.onBegin(c);
    };
    this.commands.push(command);
    return command;
  }
  readonly time2Retain = 0;
  keepsTasks(): boolean {
    return false;
  }
  loggedOut(): void {
    this.logouts++;
  }

  endConnection(_phase: FullFeature, connectionId: number | null): boolean {
    this.ended.push(connectionId);
    return connectionId === null;
  }
  manageTasks(call: TaskManagementCall): void {
    this.calls.push(call);
  }
}

/** A session in its full feature phase, with ExpCmdSN 10 and StatSN 20. */
export function startFullFeature(
  parameters: Partial<OperationalParameters> = {},
  isDiscovery = false,
): { phase: FullFeature; datamover: FakeDatamover; host: FakeHost; arrive: (pdu: PduFields) => void } {
  const datamover = new FakeDatamover();
  const host = new FakeHost();
  const phase = new FullFeature({
    datamover,
    host,
    parameters: { ...DEFAULT_PARAMETERS, ...parameters },
    isDiscovery,
    connectionId: 3,
    expCmdSN: 10,
    statSN: 20,
    commandWindow: 8,
  });
  const arrive = (fields: PduFields): void => {
    phase.controlNotify(pdu(fields));
  };
  return { phase, datamover, host, arrive };
}

export interface PduFields {
  opcode: number;
  flags?: number;
  tag?: number;
  cmdSN?: number;
  /** Header bytes to set, by offset, as 32-bit fields. */
  words?: Record<number, number>;
  data?: Uint8Array;
  dataDigestFailed?: boolean;
}

export function pdu(fields: PduFields): ControlPdu {
  const made = new ControlPdu();
  const { header } = made;
  header[0] = fields.opcode;
  header[1] = fields.flags ?? 0x80;
  Bhs.initiatorTaskTag.set(header, fields.tag ?? 1);
  header.writeUInt32BE(fields.cmdSN ?? 0, 24);
  for (const [offset, value] of Object.entries(fields.words ?? {}))
    header.writeUInt32BE(value, Number(offset));
  const data = Buffer.from(fields.data ?? []);
  Bhs.dataSegmentLength.set(header, data.length);
  made.region = new Memory(Buffer.from(data));
  made.dataLength = data.length;
  made.dataDigestFailed = fields.dataDigestFailed ?? false;
  return made;
}
