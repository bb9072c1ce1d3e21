/** A slow disk with a volatile cache: what was not flushed when its power fails is lost. */

import { setTimeout } from 'node:timers';
import {
  AwaitedIo,
  type BlockDevice,
  type BlockDeviceEvents,
  blockFailure,
  type BlockIo,
  BlockOp,
  BlockStatus,
  MemoryDevice,
} from '../../src/block/index.js';
import { Memory, ScatterList } from '../../src/util/memory.js';

export class VolatileDevice implements BlockDevice {
  readonly description = 'volatile';
  readonly blockSize: number;
  readonly size: number;
  readonly readOnly = false;
  readonly unmapGranularity: number;
  events: BlockDeviceEvents | null = null;
  /** Operations that change the medium, since it was made. */
  changes = 0;
  readonly #cached: MemoryDevice;
  readonly #delayMs: number;
  #stable: Buffer;

  /** `delayMs`: how long every operation takes, milliseconds. */
  constructor(size: number, { blockSize = 512, delayMs = 0 } = {}) {
    this.#cached = new MemoryDevice({ size, blockSize });
    this.blockSize = blockSize;
    this.size = size;
    this.unmapGranularity = this.#cached.unmapGranularity;
    this.#delayMs = delayMs;
    this.#stable = Buffer.alloc(size);
  }

  submit(io: BlockIo): boolean {
    setTimeout(() => {
      if (io.op !== BlockOp.READ && io.op !== BlockOp.FLUSH && io.op !== BlockOp.EXTENTS) this.changes++;
      this.#cached.submit(io);
      if (io.op === BlockOp.FLUSH) this.#stable = this.content();
      io.done();
    }, this.#delayMs);
    return false;
  }

  /** Never, so that every operation takes its time. */
  lend(): boolean {
    return false;
  }

  async refresh(): Promise<void> {}

  async close(): Promise<void> {
    await this.#cached.close();
  }

  /** What is read now. */
  content(): Buffer {
    return this.#all(BlockOp.READ, Buffer.alloc(this.size));
  }

  /** Write all of it, stable. */
  fill(content: Buffer): void {
    this.#all(BlockOp.WRITE, content);
    this.#stable = Buffer.from(content);
  }

  /** Everything is as it was at the last flush. */
  losePower(): void {
    this.#all(BlockOp.WRITE, Buffer.from(this.#stable));
  }

  /** The device in memory is done at once. */
  #all(op: BlockOp, bytes: Buffer): Buffer {
    const io = new AwaitedIo();
    io.op = op;
    io.length = this.size;
    io.data = new ScatterList();
    io.data.add(new Memory(bytes), 0, this.size);
    this.#cached.submit(io);
    if (io.status !== BlockStatus.GOOD) throw blockFailure(io);
    return bytes;
  }
}
