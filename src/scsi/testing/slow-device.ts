/**
 * A device for tests that lends no memory, and completes its operations when the test says so, or at
 * once: what a file is on its slow path and on its fast one.
 */

import {
  BlockStatus,
  type BlockDevice,
  type BlockDeviceEvents,
  type BlockIo,
  type BlockOp,
} from '../../block/device.js';
import { MemoryDevice, type MemoryDeviceOptions } from '../../block/memory.js';
import type { LogicalUnitOptions } from '../configuration.js';
import { deriveIdentity } from '../identity.js';
import { LogicalUnit } from '../logical-unit.js';
import { FakeTarget } from './fake-task.js';

/** What was submitted. */
export interface Submitted {
  op: BlockOp;
  offset: number;
  length: number;
  fua: boolean;
  mayUnmap: boolean;
}

export class SlowDevice implements BlockDevice {
  readonly memory: MemoryDevice;
  readonly description = 'slow memory';
  readonly blockSize: number;
  readonly readOnly = false;
  readonly unmapGranularity: number;
  /** Operations wait for {@link SlowDevice.completeNext}; otherwise they complete inside `submit`. */
  defers: boolean;
  readonly pending: BlockIo[] = [];
  readonly submitted: Submitted[] = [];
  /** Called instead of the medium when it returns a status other than GOOD. */
  fault: ((io: BlockIo) => BlockStatus) | null = null;

  constructor(options: MemoryDeviceOptions, defers = true) {
    this.memory = new MemoryDevice(options);
    this.blockSize = this.memory.blockSize;
    this.unmapGranularity = this.memory.unmapGranularity;
    this.defers = defers;
  }

  get size(): number {
    return this.memory.size;
  }

  get events(): BlockDeviceEvents | null {
    return this.memory.events;
  }

  set events(events: BlockDeviceEvents | null) {
    this.memory.events = events;
  }

  submit(io: BlockIo): boolean {
    const { op, offset, length, fua, mayUnmap } = io;
    this.submitted.push({ op, offset, length, fua, mayUnmap });
    if (this.defers) {
      this.pending.push(io);
      return false;
    }
    this.#carryOut(io);
    return true;
  }

  /** Complete the oldest operation that waits. False when none does. */
  completeNext(): boolean {
    const io = this.pending.shift();
    if (io === undefined) return false;
    this.#carryOut(io);
    io.done();
    return true;
  }

  /** Complete operations until none waits. */
  completeAll(): void {
    while (this.completeNext());
  }

  lend(): boolean {
    return false;
  }

  refresh(): Promise<void> {
    return this.memory.refresh();
  }

  close(): Promise<void> {
    return this.memory.close();
  }

  #carryOut(io: BlockIo): void {
    const status = this.fault?.(io) ?? BlockStatus.GOOD;
    if (status === BlockStatus.GOOD) this.memory.submit(io);
    else io.fail(status, io.offset);
  }
}

/** A logical unit on a slow device, behind a fake transport. */
export function slowTarget(
  options: MemoryDeviceOptions,
  defers = true,
  configuration: Partial<LogicalUnitOptions> = {},
): { target: FakeTarget; device: SlowDevice } {
  const device = new SlowDevice(options, defers);
  const identity = deriveIdentity({ targetName: 'iqn.2026-01.test:slow', lun: 0, image: 'slow' });
  return { target: new FakeTarget(new LogicalUnit(device, { identity, ...configuration })), device };
}
