/**
 * A LUN as a {@link BlockDevice}: what reads and writes in bulk goes this way, by callbacks and tasks that are
 * used again, without a promise.
 */

import { type BlockDevice, type BlockDeviceEvents, type BlockIo, BlockOp, refused } from '../block/index.js';
import { RiserError } from '../util/errors.js';
import type { UnitTraits } from './traits.js';
import { DeviceTask } from './device-task.js';
import type { TaskPath } from './task.js';

export interface LunDeviceOptions {
  /** For people: the URL without its secret. */
  description: string;
  lun: Uint8Array;
  traits: UnitTraits;
  /** Reads the traits anew. */
  inspect: () => Promise<UnitTraits>;
  /** Lets go of the sessions. */
  release: () => Promise<void>;
}

export class LunDevice implements BlockDevice {
  readonly description: string;
  events: BlockDeviceEvents | null = null;
  /** Eight bytes. */
  readonly lun: Uint8Array;
  readonly path: TaskPath;
  traits: UnitTraits;
  readonly #inspect: () => Promise<UnitTraits>;
  readonly #release: () => Promise<void>;
  readonly #free: DeviceTask[] = [];
  readonly #all: DeviceTask[] = [];
  #active = 0;
  #isClosed = false;
  /** Called when the last operation is over. */
  #idle: (() => void) | null = null;

  constructor(path: TaskPath, options: LunDeviceOptions) {
    this.path = path;
    this.description = options.description;
    this.lun = options.lun;
    this.traits = options.traits;
    this.#inspect = options.inspect;
    this.#release = options.release;
  }

  get blockSize(): number {
    return this.traits.capacity.blockSize;
  }

  get size(): number {
    return this.traits.capacity.blocks * this.traits.capacity.blockSize;
  }

  get readOnly(): boolean {
    return this.traits.readOnly;
  }

  get unmapGranularity(): number {
    const { unmap, writeSameUnmaps, unmapGranularity } = this.traits;
    return unmap || writeSameUnmaps ? Math.max(1, unmapGranularity) * this.blockSize : 0;
  }

  submit(io: BlockIo): boolean {
    if (refused(io, this, this.#isClosed)) {
      if (this.#isClosed) io.cause = closed();
      return true;
    }
    if (io.op === BlockOp.EXTENTS && !this.traits.extents && io.length > 0)
      return io.addExtent(io.length, true);
    if (io.length === 0 && io.op !== BlockOp.FLUSH) return true;
    const task = this.#free.pop() ?? this.#create();
    this.#active++;
    return task.begin(io);
  }

  #create(): DeviceTask {
    const task = new DeviceTask(this);
    this.#all.push(task);
    return task;
  }

  /** Give `io` up: it ends with NOT_READY and `error` as its cause, unless the target was faster. */
  cancel(io: BlockIo, error: RiserError): void {
    const task = this.#all.find((one) => one.io === io);
    if (task !== undefined) this.path.cancel(task, error);
  }

  /** The task is over; called by it. */
  release(task: DeviceTask): void {
    this.#free.push(task);
    this.#active--;
    if (this.#active === 0) this.#idle?.();
  }

  /** A file's memory can be lent, a remote one cannot. */
  lend(): boolean {
    return false;
  }

  async refresh(): Promise<void> {
    if (!this.#isClosed) this.adopt(await this.#inspect());
  }

  /** The unit has told anew what it is. */
  adopt(traits: UnitTraits): void {
    const before = this.size;
    this.traits = traits;
    if (this.size !== before) this.events?.resized();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#active > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    await this.#release();
  }
}

function closed(): RiserError {
  return new RiserError('DEVICE_CLOSED', 'the LUN is closed', { by: 'local', costs: 'task' });
}
