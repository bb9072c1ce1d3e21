/**
 * Memory that data moves through: regions with a stable address, scatter lists over them, and the
 * pool from which the I/O path takes its buffers.
 *
 * A {@link Memory} is to plain sockets and files what a registered memory region is to RDMA: bytes
 * whose place is known to the outside. A {@link ScatterList} aims at parts of regions; it is
 * re-aimed, never rebuilt, so that steady I/O allocates nothing.
 */

import { addressOf, libc } from './posix/libc.js';

/** Who keeps something for a {@link Memory}, such as its registration with a device. */
export interface MemoryWatcher {
  /** Nobody will ask for it any more, but for what is under way. */
  retired(memory: Memory): void;
}

/** A contiguous region of bytes that never moves while it is referenced. */
export class Memory {
  /** The bytes themselves. */
  readonly bytes: Buffer;
  /** Virtual address of byte 0 as a number below 2^53, or 0 where foreign functions are unavailable. */
  readonly address: number;
  /** Read and write access for multi-byte fields. */
  readonly view: DataView;
  /** Its first bytes as 32-bit words in the machine's order; empty where it does not begin at a multiple of 4. */
  readonly words: Int32Array;
  /** The pool that this region was carved by, and the size class of its buffers; null for all others. */
  readonly pool: BufferPool | null;
  readonly sizeClass: number;
  #isRetired = false;
  #watchers: Set<MemoryWatcher> | null = null;

  constructor(bytes: Buffer, pool: BufferPool | null = null, sizeClass = -1) {
    this.pool = pool;
    this.sizeClass = sizeClass;
    this.bytes = bytes;
    this.address = addressOf(bytes);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.words = new Int32Array(
      bytes.buffer,
      bytes.byteOffset & ~3,
      (bytes.byteOffset & 3) === 0 ? bytes.byteLength >>> 2 : 0,
    );
  }

  /** A zero-filled region of `length` bytes with a backing store of its own. */
  static allocate(length: number): Memory {
    return new Memory(Buffer.from(new ArrayBuffer(length)));
  }

  get length(): number {
    return this.bytes.length;
  }

  /** Its owner hands it out no more. */
  get isRetired(): boolean {
    return this.#isRetired;
  }

  /**
   * For its owner: hand it out no more, so that it can be collected as garbage. Its bytes stay as long as somebody still
   * reads or writes them.
   */
  retire(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    const watchers = this.#watchers ?? [];
    for (const watcher of watchers) watcher.retired(this);
    this.#watchers = null;
  }

  /** Tell `watcher` when it is retired. */
  watch(watcher: MemoryWatcher): void {
    (this.#watchers ??= new Set()).add(watcher);
  }

  unwatch(watcher: MemoryWatcher): void {
    this.#watchers?.delete(watcher);
  }
}

/**
 * An ordered list of parts of memory regions.
 *
 * Parallel arrays instead of objects: adding a segment to a list that has held as many before
 * allocates nothing. Read `regions[i]`, `offsets[i]` and `lengths[i]` for `i < count` only.
 */
export class ScatterList {
  count = 0;
  /** Sum of all segment lengths in bytes. */
  length = 0;
  readonly regions: Memory[] = [];
  readonly offsets: number[] = [];
  readonly lengths: number[] = [];

  /** Forget all segments; the arrays keep their capacity. */
  clear(): void {
    this.count = 0;
    this.length = 0;
  }

  /** Append `length` bytes of `region` that start at `offset`. An empty part is not added. */
  add(region: Memory, offset: number, length: number): void {
    if (length === 0) return;
    const i = this.count++;
    this.regions[i] = region;
    this.offsets[i] = offset;
    this.lengths[i] = length;
    this.length += length;
  }

  /** Append `length` bytes of `other`, starting `skip` bytes into it. */
  addFrom(other: ScatterList, skip: number, length: number): void {
    for (let i = 0; i < other.count && length > 0; i++) {
      const have = other.lengths[i]!;
      if (skip >= have) {
        skip -= have;
        continue;
      }
      const part = Math.min(have - skip, length);
      this.add(other.regions[i]!, other.offsets[i]! + skip, part);
      length -= part;
      skip = 0;
    }
  }

  /** Drop everything past the first `length` bytes. */
  truncate(length: number): void {
    while (this.length > length) {
      const last = this.count - 1;
      const excess = this.length - length;
      const have = this.lengths[last]!;
      if (have <= excess) {
        this.count--;
        this.length -= have;
      } else {
        this.lengths[last] = have - excess;
        this.length = length;
      }
    }
  }

  /**
   * Copy bytes in: `length` bytes of `source` from `sourceOffset` to `offset` of this list.
   * Copies no further than the list reaches.
   */
  write(offset: number, source: Uint8Array, sourceOffset: number, length: number): void {
    this.#copyIn(offset, source, null, sourceOffset, length);
  }

  /** {@link write} from a region, without an allocation. */
  writeFrom(offset: number, source: Memory, sourceOffset: number, length: number): void {
    this.#copyIn(offset, source.bytes, source, sourceOffset, length);
  }

  /** `memory`: whose bytes they are, if that is known. */
  #copyIn(
    offset: number,
    bytes: Uint8Array,
    memory: Memory | null,
    sourceOffset: number,
    length: number,
  ): void {
    for (let i = 0; i < this.count && length > 0; i++) {
      const have = this.lengths[i]!;
      if (offset >= have) {
        offset -= have;
        continue;
      }
      const part = Math.min(have - offset, length);
      const region = this.regions[i]!;
      const at = this.offsets[i]! + offset;
      if (memory !== null) copyMemory(memory, sourceOffset, region, at, part);
      else copyBytes(bytes, sourceOffset, region.bytes, at, part);
      sourceOffset += part;
      length -= part;
      offset = 0;
    }
  }

  /** Copy bytes out: `length` bytes from `offset` of this list to `target` at `targetOffset`. */
  read(offset: number, target: Uint8Array, targetOffset: number, length: number): void {
    this.#copyOut(offset, target, null, targetOffset, length);
  }

  /** {@link read} to a region, without an allocation. */
  readTo(offset: number, target: Memory, targetOffset: number, length: number): void {
    this.#copyOut(offset, target.bytes, target, targetOffset, length);
  }

  /** See `#copyIn`. */
  #copyOut(
    offset: number,
    bytes: Uint8Array,
    memory: Memory | null,
    targetOffset: number,
    length: number,
  ): void {
    for (let i = 0; i < this.count && length > 0; i++) {
      const have = this.lengths[i]!;
      if (offset >= have) {
        offset -= have;
        continue;
      }
      const part = Math.min(have - offset, length);
      const region = this.regions[i]!;
      const at = this.offsets[i]! + offset;
      if (memory !== null) copyMemory(region, at, memory, targetOffset, part);
      else copyBytes(region.bytes, at, bytes, targetOffset, part);
      targetOffset += part;
      length -= part;
      offset = 0;
    }
  }

  /** Fill `length` bytes from `offset` on with the byte `value`. */
  fill(value: number, offset = 0, length = this.length - offset): void {
    for (let i = 0; i < this.count && length > 0; i++) {
      const have = this.lengths[i]!;
      if (offset >= have) {
        offset -= have;
        continue;
      }
      const part = Math.min(have - offset, length);
      const at = this.offsets[i]! + offset;
      this.regions[i]!.bytes.fill(value, at, at + part);
      length -= part;
      offset = 0;
    }
  }

  /** All bytes as one new buffer; for control paths and tests. */
  toBuffer(): Buffer {
    const all = Buffer.allocUnsafe(this.length);
    this.read(0, all, 0, this.length);
    return all;
  }
}

/** Bytes that {@link copyMemory} and {@link copyBytes} have copied, but for what is as short as headers are. */
let copied = 0;

/** Bytes that this process has copied from memory to memory, the kernel's copies not among them: data that did not go straight. */
export function bytesCopied(): number {
  return copied;
}

/** Below this many bytes a loop beats the set-up of a view and a memmove. */
const SMALL_COPY = 80;

/**
 * Copy `length` bytes between regions. Short parts that begin at multiples of 4, as those of PDUs do, are copied by words: that
 * takes a quarter of the time. Long ones that lie within both regions take `memmove`.
 */
export function copyMemory(
  source: Memory,
  sourceOffset: number,
  target: Memory,
  targetOffset: number,
  length: number,
): void {
  const from = source.words;
  const to = target.words;
  if (length < SMALL_COPY && ((sourceOffset | targetOffset) & 3) === 0 && from.length > 0 && to.length > 0) {
    let at = sourceOffset >>> 2;
    let put = targetOffset >>> 2;
    for (let left = length >>> 2; left > 0; left--) to[put++] = from[at++]!;
    for (let i = length & ~3; i < length; i++)
      target.bytes[targetOffset + i] = source.bytes[sourceOffset + i]!;
    return;
  }
  // What would reach beyond either end is left to the typed arrays, which know their ends.
  const isWithin = targetOffset + length <= target.length && sourceOffset + length <= source.length;
  if (length >= SMALL_COPY && source.address > 0 && target.address > 0 && isWithin) {
    copied += length;
    libc!.memmove(target.address + targetOffset, source.address + sourceOffset, length);
  } else copyBytes(source.bytes, sourceOffset, target.bytes, targetOffset, length);
}

/** Copy `length` bytes between arrays that do not overlap. */
export function copyBytes(
  source: Uint8Array,
  sourceOffset: number,
  target: Uint8Array,
  targetOffset: number,
  length: number,
): void {
  if (length < SMALL_COPY) {
    for (let i = 0; i < length; i++) target[targetOffset + i] = source[sourceOffset + i]!;
  } else {
    copied += length;
    target.set(source.subarray(sourceOffset, sourceOffset + length), targetOffset);
  }
}

const SMALLEST_CLASS = 12; // 4 KiB
const CLASSES = 7; // 4 KiB .. 256 KiB
const SLAB = 1 << 20;

/** The largest buffer a pool hands out in one piece, in bytes; longer requests become several segments. */
export const LARGEST_BUFFER = 1 << (SMALLEST_CLASS + CLASSES - 1); // 256 KiB

/** Where a pool's memory comes from. */
export interface SlabSource {
  /** Bytes of one, not less than {@link LARGEST_BUFFER}. */
  readonly length: number;
  allocate(length: number): Buffer;
}

const HEAP: SlabSource = { length: SLAB, allocate: (length) => Buffer.from(new ArrayBuffer(length)) };

/**
 * Buffers of the I/O path, in power-of-two size classes, carved from slabs.
 *
 * `fill` aims a scatter list at buffers of its own, `release` takes them back. Once as many have been
 * in use as the load needs at its peak, neither allocates. The pool never holds more than `limit`
 * bytes; `fill` returns false instead, and the caller answers BUSY or waits.
 */
export class BufferPool {
  /** Bytes carved so far. */
  allocated = 0;
  readonly limit: number;
  readonly #slabs: SlabSource;
  readonly #free: { regions: Memory[]; offsets: number[]; count: number }[] = [];

  /** `limit`: the most bytes it ever carves. */
  constructor(limit: number, slabs: SlabSource = HEAP) {
    this.limit = limit;
    this.#slabs = slabs;
    for (let i = 0; i < CLASSES; i++) this.#free.push({ regions: [], offsets: [], count: 0 });
  }

  /** Append `length` bytes of pool memory to `list`; false (and nothing taken) if the limit forbids. */
  fill(list: ScatterList, length: number): boolean {
    const before = list.length;
    const firstSegment = list.count;
    let left = length;
    while (left > 0) {
      const part = Math.min(left, LARGEST_BUFFER);
      if (!this.#take(list, part)) {
        this.#giveBack(list, firstSegment);
        list.truncate(before);
        return false;
      }
      left -= part;
    }
    return true;
  }

  /** Take back the segments of `list` that this pool filled, once each, and clear the list. */
  release(list: ScatterList): void {
    this.#giveBack(list, 0);
    list.clear();
  }

  #take(list: ScatterList, length: number): boolean {
    const index = classOf(length);
    const free = this.#free[index]!;
    if (free.count === 0 && !this.#carve(index)) return false;
    const i = --free.count;
    list.add(free.regions[i]!, free.offsets[i]!, length);
    return true;
  }

  #giveBack(list: ScatterList, from: number): void {
    for (let i = from; i < list.count; i++) {
      const region = list.regions[i]!;
      if (region.pool !== this) continue;
      const free = this.#free[region.sizeClass]!;
      const at = free.count++;
      free.regions[at] = region;
      free.offsets[at] = list.offsets[i]!;
    }
  }

  #carve(index: number): boolean {
    const size = 1 << (SMALLEST_CLASS + index);
    const slabLength = this.#slabs.length;
    if (this.allocated + slabLength > this.limit) return false;
    const slab = new Memory(this.#slabs.allocate(slabLength), this, index);
    this.allocated += slabLength;
    const free = this.#free[index]!;
    for (let at = 0; at < slabLength; at += size) {
      free.regions[free.count] = slab;
      free.offsets[free.count] = at;
      free.count++;
    }
    return true;
  }
}

function classOf(length: number): number {
  return Math.max(0, 32 - Math.clz32(length - 1) - SMALLEST_CLASS);
}
