/**
 * A load on block devices: so many operations in flight, each of which starts the next one when it is done.
 * The loop is what is measured along with the device, so it allocates nothing and asks the clock once a turn.
 */

import { randomFillSync } from 'node:crypto';
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { type BlockDevice, blockFailure, BlockIo, BlockOp, BlockStatus } from '../../block/index.js';
import { Memory, ScatterList } from '../../util/memory.js';

export interface LoadOptions {
  /** Each has its own `depth` operations in flight. */
  devices: readonly BlockDevice[];
  /** Bytes of an operation, whole blocks. */
  blockSize: number;
  depth: number;
  isRandom: boolean;
  /** 0 to 100. */
  readPercent: number;
  /**
   * All data of a device comes one after the other: then all reads may have the same memory, which stays in the
   * processor's cache. Nobody looks at it.
   */
  sharesMemory: boolean;
  /** So long the load is on before what it does counts. */
  rampSeconds: number;
  /** How long it then counts. */
  seconds: number;
}

/** What was done of one kind. */
export class Tally {
  count = 0;
  /** Nanoseconds. */
  readonly latencies: RecordableHistogram = createHistogram({ figures: 3 });
}

export class Load {
  readonly options: LoadOptions;
  readonly reads = new Tally();
  readonly writes = new Tally();
  /** Operations that were completed, counted or not. */
  count = 0;
  /** When counting begins and ends, milliseconds of `performance.now`. */
  #start = 0;
  #end = 0;
  #active = 0;
  #error: Error | null = null;
  #settle: () => void = () => undefined;

  constructor(options: LoadOptions) {
    this.options = options;
  }

  /** How long it has been counting, seconds. */
  get seconds(): number {
    return Math.max(0, Math.min(performance.now(), this.#end) - this.#start) / 1000;
  }

  /** Resolves when the time is over and nothing is in flight; rejects with the first failure. */
  async run(): Promise<void> {
    const { devices, depth, rampSeconds, seconds } = this.options;
    const streams = devices.map((device) => new Stream(this, device));
    const ios = streams.flatMap((stream) => Array.from({ length: depth }, () => new LoadIo(stream)));
    this.#start = performance.now() + rampSeconds * 1000;
    this.#end = this.#start + seconds * 1000;
    this.#active = ios.length;
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
      for (const io of ios) io.begin(performance.now());
    });
    if (this.#error !== null) throw this.#error;
  }

  /** End it before its time. */
  stop(): void {
    this.#end = Math.min(this.#end, performance.now());
  }

  /** `io` is done at `now`; whether to go on. */
  completed(io: LoadIo, now: number): boolean {
    if (io.status !== BlockStatus.GOOD) {
      this.#error ??= blockFailure(io);
      this.stop();
    } else {
      this.count++;
      if (now <= this.#end) {
        if (now >= this.#start) {
          const tally = io.op === BlockOp.READ ? this.reads : this.writes;
          tally.count++;
          tally.latencies.record(Math.max(1, Math.round((now - io.startedAt) * 1e6)));
        }
        return true;
      }
    }
    if (--this.#active === 0) this.#settle();
    return false;
  }
}

/** Where the operations on one device go, and what memory they have. */
class Stream {
  readonly load: Load;
  readonly device: BlockDevice;
  /** What all writes write, apart from where reads come to: what is under way must not change. */
  readonly outgoing: ScatterList;
  readonly #incoming: ScatterList | null;
  readonly #blocks: number;
  #next = 0;

  constructor(load: Load, device: BlockDevice) {
    this.load = load;
    this.device = device;
    const { blockSize, sharesMemory } = load.options;
    this.#blocks = Math.floor(device.size / blockSize);
    this.#incoming = sharesMemory ? listOf(Memory.allocate(blockSize)) : null;
    const memory = Memory.allocate(blockSize);
    this.outgoing = listOf(memory);
    if (load.options.readPercent < 100) randomFillSync(memory.bytes);
  }

  /** Where the reads of one operation at a time come to. */
  incoming(): ScatterList {
    return this.#incoming ?? listOf(Memory.allocate(this.load.options.blockSize));
  }

  /** First byte of the next operation. */
  place(): number {
    const { isRandom, blockSize } = this.load.options;
    if (isRandom) return Math.floor(Math.random() * this.#blocks) * blockSize;
    const at = this.#next;
    this.#next = at + 1 === this.#blocks ? 0 : at + 1;
    return at * blockSize;
  }
}

function listOf(memory: Memory): ScatterList {
  const list = new ScatterList();
  list.add(memory, 0, memory.length);
  return list;
}

class LoadIo extends BlockIo {
  /** Milliseconds of `performance.now`. */
  startedAt = 0;
  readonly #stream: Stream;
  readonly #load: Load;
  readonly #readPercent: number;
  readonly #incoming: ScatterList;
  readonly #onDone = (): void => {
    this.done();
  };

  constructor(stream: Stream) {
    super();
    this.#stream = stream;
    this.#load = stream.load;
    const { blockSize, readPercent } = stream.load.options;
    this.#readPercent = readPercent;
    this.#incoming = stream.incoming();
    this.length = blockSize;
  }

  begin(now: number): void {
    const percent = this.#readPercent;
    const isRead = percent === 100 || Math.random() * 100 < percent;
    this.op = isRead ? BlockOp.READ : BlockOp.WRITE;
    this.data = isRead ? this.#incoming : this.#stream.outgoing;
    this.offset = this.#stream.place();
    this.startedAt = now;
    // What is done at once must not go deeper and deeper.
    if (this.#stream.device.submit(this)) setImmediate(this.#onDone);
  }

  override done(): void {
    const now = performance.now();
    if (this.#load.completed(this, now)) this.begin(now);
  }
}
