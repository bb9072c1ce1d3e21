/**
 * A network in memory, between byte streams: bytes leave, travel and arrive in portions of any size, when a random number
 * says so. The same seed gives the same run.
 */

import { MemoryStream } from '../../src/stream/testing/memory-stream.js';
import type { Memory } from '../../src/util/memory.js';

/** One end. What it sends goes to `arrived` of the other, or is taken from there by a test. */
export class WireStream<Owner extends object> extends MemoryStream<Owner> {
  /** Closed once the queue is sent. */
  isEnding = false;
  /** Bytes that have left and not arrived. */
  travelling: Buffer = Buffer.alloc(0);
  #isPaused = false;
  /** What is queued was flushed, and not all of it has left. */
  #isDue = false;
  readonly #random: () => number;

  constructor(random: () => number) {
    super();
    this.#random = random;
  }

  /** From 1 to `most`, mostly far from both. */
  #portion(most: number): number {
    return Math.max(1, Math.floor(most * this.#random() ** 3));
  }

  // ---- what the test does ----

  /** The kernel takes some bytes. False when there are none. */
  leave(): boolean {
    if (this.queue.count === 0) this.#isDue = false;
    if (!this.#isDue) return false;
    this.#take(this.#portion(this.queue.bytes));
    return true;
  }

  /** Some bytes that travel arrive at `peer`. False when there are none. */
  travelTo(peer: WireStream<Owner>): boolean {
    if (this.travelling.length === 0) return false;
    const part = this.#portion(this.travelling.length);
    const bytes = this.travelling.subarray(0, part);
    this.travelling = this.travelling.subarray(part);
    peer.arrive(bytes);
    return true;
  }

  arrive(bytes: Buffer): void {
    if (this.isClosed) return;
    this.incoming = Buffer.concat([this.incoming, bytes]);
    this.#tell();
  }

  #tell(): void {
    for (let idle = 0; this.#hasInput();) {
      const before = this.incoming.length;
      this.events.readable();
      idle = this.incoming.length === before ? idle + 1 : 0;
      if (idle > 3) throw new Error(`${before} bytes of input are left lying`);
    }
  }

  #hasInput(): boolean {
    return this.incoming.length > 0 && !this.isClosed && !this.#isPaused;
  }

  override read(region: Memory, offset: number, length: number): number {
    return this.#isPaused ? 0 : super.read(region, offset, length);
  }

  override pause(): void {
    this.#isPaused = true;
  }

  override resume(): void {
    this.#isPaused = false;
    queueMicrotask(() => {
      this.#tell();
    });
  }

  flush(): void {
    this.#isDue = true;
    if (this.#random() < 0.3) this.leave();
  }

  end(): void {
    this.#isDue = true;
    this.isEnding = true;
  }

  #take(bytes: number): void {
    // What is released is told as soon as it is gone: the bytes are copied before.
    const gone = Buffer.concat(this.queue.views(0)).subarray(0, bytes);
    this.travelling = Buffer.concat([this.travelling, gone]);
    this.queue.consume(bytes, this.released);
  }
}

/** Two ends with a network between them; a close by either is seen by the other when all before has arrived. */
export class Wire<Owner extends object> {
  readonly ends: readonly [WireStream<Owner>, WireStream<Owner>];
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
    this.ends = [new WireStream<Owner>(random), new WireStream<Owner>(random)];
  }

  /** Let something happen. False when nothing is left to happen. */
  step(): boolean {
    const first = this.#random() < 0.5 ? 0 : 1;
    for (const i of [first, 1 - first]) {
      const stream = this.ends[i]!;
      const peer = this.ends[1 - i]!;
      const [one, other] =
        this.#random() < 0.5
          ? [() => stream.leave(), () => stream.travelTo(peer)]
          : [() => stream.travelTo(peer), () => stream.leave()];
      if (one() || other()) return true;
      if ((stream.isEnding || stream.isClosed) && !peer.isClosed) {
        peer.destroy(null);
        return true;
      }
    }
    return false;
  }
}
