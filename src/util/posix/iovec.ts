/**
 * The table of `struct iovec` that vectored system calls take, written from a scatter list without
 * allocating: two 64-bit words an entry (address, length), in memory of its own that is used again.
 */

import { Memory, type ScatterList } from '../memory.js';

/** The most entries that one call accepts (IOV_MAX of Linux). */
export const IOV_MAX = 1024;

const ENTRY_BYTES = 16;
const ENTRY_WORDS = 4;
const HIGH_WORD = 2 ** -32;

/** A table with room for `capacity` entries. Little-endian, as {@link ./libc.js} is. */
export class IoVector {
  readonly capacity: number;
  /** Address of the first entry, for the system call. */
  readonly address: number;
  readonly #memory: Memory;
  readonly #words: Uint32Array;

  constructor(capacity = IOV_MAX) {
    this.capacity = capacity;
    this.#memory = Memory.allocate(capacity * ENTRY_BYTES);
    this.address = this.#memory.address;
    this.#words = new Uint32Array(this.#memory.bytes.buffer);
  }

  /**
   * Aim the table at `length` bytes of `list`, starting `skip` bytes into it. Returns the number of entries;
   * a list with more segments than `capacity` is cut short, which the call's result then shows.
   */
  fill(list: ScatterList, skip: number, length: number): number {
    let entries = 0;
    for (let i = 0; i < list.count && length > 0 && entries < this.capacity; i++) {
      const have = list.lengths[i]!;
      if (skip >= have) {
        skip -= have;
        continue;
      }
      const part = Math.min(have - skip, length);
      this.set(entries++, list.regions[i]!, list.offsets[i]! + skip, part);
      length -= part;
      skip = 0;
    }
    return entries;
  }

  /** Aim entry `index`, below `capacity`, at `length` bytes of `region` from `offset` on. */
  set(index: number, region: Memory, offset: number, length: number): void {
    const words = this.#words;
    const address = region.address + offset;
    const low = address >>> 0;
    const at = index * ENTRY_WORDS;
    words[at] = low;
    words[at + 1] = (address - low) * HIGH_WORD;
    words[at + 2] = length;
  }
}
