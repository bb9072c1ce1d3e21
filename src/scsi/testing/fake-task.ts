/**
 * A transport for tests: tasks on plain memory, for one logical unit, with Data-Out given beforehand or
 * held back until the test delivers it.
 */

import { MemoryDevice } from '../../block/memory.js';
import { Memory, type ScatterList } from '../../util/memory.js';
import { deriveIdentity } from '../identity.js';
import { LogicalUnit } from '../logical-unit.js';
import type { LogicalUnitOptions } from '../configuration.js';
import type { Nexus } from '../nexus.js';
import { describeSense, type SenseCode } from '../sense.js';
import { Status } from '../status.js';
import { Task, TaskAttribute } from '../task.js';

/** How a fake task ended, if it did. */
export type Ending = 'none' | 'finished' | 'aborted';

export class FakeTask extends Task {
  ending: Ending = 'none';
  /** What `receiveData` delivers: the initiator's bytes. */
  dataOut: Buffer = Buffer.alloc(0);
  /** Data-Out does not come before {@link FakeTask.deliver}. */
  holdsData = false;
  /** The transport has no memory left. */
  outOfMemory = false;
  /** Times that `receiveData` was called. */
  requests = 0;
  /** Called at the end, for tests of order. */
  onEnd: ((task: FakeTask) => void) | null = null;

  override allocate(length: number): boolean {
    return this.#allocate(this.data, length);
  }

  override allocateScratch(length: number): boolean {
    return this.#allocate(this.scratch, length);
  }

  override receiveData(): boolean {
    this.requests++;
    if (this.holdsData) return false;
    this.data.write(0, this.dataOut, 0, this.data.length);
    return true;
  }

  /** The Data-Out that was held back arrives. */
  deliver(): void {
    this.data.write(0, this.dataOut, 0, this.data.length);
    this.logicalUnit!.dataReceived(this);
  }

  override finished(): void {
    this.#ended('finished');
  }

  override aborted(): void {
    this.#ended('aborted');
  }

  /** Data-In that the initiator gets: none unless the status is GOOD. */
  get dataIn(): Buffer {
    const delivers = this.scsiStatus === Status.GOOD || this.scsiStatus === Status.CONDITION_MET;
    if (!delivers) return Buffer.alloc(0);
    return this.data.toBuffer().subarray(0, Math.min(this.dataInLength, this.dataInLimit));
  }

  /** The outcome in one word or sentence: `GOOD`, or the sense data. */
  get outcome(): string {
    if (this.ending === 'none') return 'NOT ENDED';
    if (this.ending === 'aborted') return 'ABORTED';
    if (this.scsiStatus === Status.CHECK_CONDITION) return this.sense.toString();
    const name = Object.entries(Status).find(([, value]) => value === this.scsiStatus)?.[0];
    return name ?? `status ${this.scsiStatus}`;
  }

  #allocate(list: ScatterList, length: number): boolean {
    if (this.outOfMemory) return false;
    list.add(Memory.allocate(length), 0, length);
    return true;
  }

  #ended(ending: Ending): void {
    if (this.ending !== 'none') throw new Error('a task ended twice');
    this.ending = ending;
    this.onEnd?.(this);
  }
}

/** The `outcome` of a task that ended with this sense code. */
export function senseText(sense: SenseCode): string {
  return describeSense(sense.key, sense.asc, sense.ascq);
}

/** Another initiator port for every name. */
export function fakeNexus(name = 'a', relativeTargetPort = 1): Nexus {
  const initiatorName = `iqn.2026-01.test:${name}`;
  return { initiatorName, initiatorPort: `${initiatorName},i,0x00023d000001`, relativeTargetPort };
}

export interface FakeTaskOptions {
  nexus?: Nexus;
  attribute?: TaskAttribute;
  priority?: number;
  /** Bytes that the initiator gives; the expected transfer length is theirs. */
  dataOut?: Uint8Array;
  /** Expected Data-In, bytes; 1 MiB when not given. */
  dataInLimit?: number;
  holdsData?: boolean;
  outOfMemory?: boolean;
  onEnd?: (task: FakeTask) => void;
}

/** A logical unit on memory, one nexus that it knows, and short words to send it commands. */
export class FakeTarget {
  readonly unit: LogicalUnit;
  readonly nexus = fakeNexus();

  /** `unit`: made on 1 MiB of memory in blocks of 512 bytes unless given. */
  constructor(unit: LogicalUnit = fakeUnit()) {
    this.unit = unit;
    unit.addNexus(this.nexus);
  }

  /** A task aimed at `cdb`, not yet submitted. */
  task(cdb: readonly number[], options: FakeTaskOptions = {}): FakeTask {
    const task = new FakeTask();
    const dataOut = Buffer.from(options.dataOut ?? []);
    task.aim(
      options.nexus ?? this.nexus,
      options.attribute ?? TaskAttribute.SIMPLE,
      options.dataInLimit ?? 1 << 20,
      dataOut.length,
    );
    task.priority = options.priority ?? 0;
    task.cdb.fill(0);
    Buffer.from(cdb).copy(task.cdb);
    task.cdbLength = Math.max(16, cdb.length);
    task.dataOut = dataOut;
    task.holdsData = options.holdsData ?? false;
    task.outOfMemory = options.outOfMemory ?? false;
    task.onEnd = options.onEnd ?? null;
    return task;
  }

  /** Submit a command; it has ended on return unless something holds it up. */
  run(cdb: readonly number[], options: FakeTaskOptions = {}): FakeTask {
    const task = this.task(cdb, options);
    this.unit.submit(task);
    return task;
  }
}

/** A logical unit on `size` bytes of memory. */
export function fakeUnit(
  options: Partial<LogicalUnitOptions> & { size?: number; blockSize?: 512 | 2048 | 4096 } = {},
): LogicalUnit {
  const { size = 1 << 20, blockSize = 512, ...rest } = options;
  const identity = deriveIdentity({ targetName: 'iqn.2026-01.test:disk', lun: 0, image: 'memory' });
  return new LogicalUnit(new MemoryDevice({ size, blockSize }), { identity, ...rest });
}

/** A CD or DVD drive, by default with a CD of 512 blocks. */
export function fakeDrive(blocks = 512): LogicalUnit {
  return fakeUnit({ type: 'cdrom', size: blocks * 2048, blockSize: 2048 });
}
