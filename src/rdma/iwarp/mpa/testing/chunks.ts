/** Bytes in arbitrary pieces, as a TCP connection gives them. */

import fc from 'fast-check';
import { Memory, type ScatterList } from '../../../../util/memory.js';
import type { FpduSource } from '../fpdu-reader.js';

/** Lengths at which to cut: repeated until the bytes are used up. */
export const cuts = fc.array(
  fc.oneof(
    fc.integer({ min: 1, max: 8 }),
    fc.integer({ min: 1, max: 700 }),
    fc.integer({ min: 1000, max: 300_000 }),
  ),
  { minLength: 1, maxLength: 12 },
);

/** `bytes` cut at `lengths`, used in turn. */
export function* cut(bytes: Buffer, lengths: readonly number[]): Generator<Buffer> {
  // Many tiny pieces test no more than some.
  const least = Math.ceil(bytes.length / 2000);
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = Math.max(lengths[i % lengths.length]!, least);
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

/** A source whose reads never cross the end of a piece, and find nothing there once before the next. */
export class ChunkSource implements FpduSource {
  readonly #chunks: Buffer[];
  #rest: Buffer = Buffer.alloc(0);
  #isPausing = false;

  constructor(chunks: Iterable<Buffer>) {
    this.#chunks = [...chunks];
  }

  get isEmpty(): boolean {
    return this.#chunks.length === 0 && this.#rest.length === 0;
  }

  read(region: Memory, offset: number, length: number): number {
    if (this.#rest.length === 0) {
      this.#isPausing = !this.#isPausing;
      if (this.#isPausing) return 0;
      this.#rest = this.#chunks.shift() ?? this.#rest;
    }
    const n = this.#rest.copy(region.bytes, offset, 0, length);
    this.#rest = this.#rest.subarray(n);
    return n;
  }

  readList(list: ScatterList): number {
    const scratch = Memory.allocate(list.length);
    const n = this.read(scratch, 0, list.length);
    list.write(0, scratch.bytes, 0, n);
    return n;
  }
}
