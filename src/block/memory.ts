/**
 * A disk in memory that takes only the memory its data needs: a RAM disk, and the medium of tests.
 *
 * The address space is a two-level table: directories of 4 GiB, each with chunks of 1 MiB that are
 * allocated by the first write. Provisioning is tracked page by page inside a chunk, and a page that is
 * not mapped always holds zeroes. Every operation completes inside `submit`.
 */

import { Memory, type ScatterList } from '../util/memory.js';
import { inside, refused } from './admission.js';
import {
  BlockOp,
  BlockStatus,
  type BlockDevice,
  type BlockDeviceEvents,
  type BlockIo,
  type Space,
} from './device.js';
import { RiserError } from '../util/errors.js';

export interface MemoryDeviceOptions {
  /** Bytes, a multiple of `blockSize`, at most 2^53 - `blockSize`. */
  size: number;
  /** 512 (default) or 4096 bytes. */
  blockSize?: number;
  /**
   * True (default): what was never written or was given back is deallocated, and EXTENTS tells so.
   * False: the disk is fully provisioned, and everything counts as mapped.
   */
  thin?: boolean;
  readOnly?: boolean;
  /** For people; default `memory`. */
  description?: string;
}

const CHUNK = 1 << 20;
const DIRECTORY_CHUNKS = 4096;
const DIRECTORY = CHUNK * DIRECTORY_CHUNKS;
const SMALLEST_PAGE = 4096;

/** What all reads of chunks that nobody has written to are answered from. Nobody writes to it. */
const ZEROES = Memory.allocate(CHUNK);

/** A piece of the disk that has memory, and which of its pages are mapped. */
class Chunk {
  readonly memory = Memory.allocate(CHUNK);
  readonly mapped: Uint8Array;
  mappedPages = 0;

  constructor(pages: number) {
    this.mapped = new Uint8Array(pages);
  }

  /** Mark pages `from` up to, not including, `to`. */
  map(from: number, to: number): void {
    if (this.mappedPages === this.mapped.length) return;
    for (let page = from; page < to; page++) {
      this.mappedPages += 1 - this.mapped[page]!;
      this.mapped[page] = 1;
    }
  }

  /** Be what `other` was, whose memory ends when nobody uses what was lent of it. */
  takeOver(other: Chunk): true {
    other.memory.bytes.copy(this.memory.bytes);
    this.mapped.set(other.mapped);
    this.mappedPages = other.mappedPages;
    other.memory.retire();
    return true;
  }

  unmap(from: number, to: number): void {
    for (let page = from; page < to; page++) {
      this.mappedPages -= this.mapped[page]!;
      this.mapped[page] = 0;
    }
  }
}

type Directory = (Chunk | null)[];

/**
 * A RAM disk.
 *
 * It lends its memory. What is lent for writing counts as mapped at once; whoever unmaps a range while
 * data is still being received into it gets either the old zeroes or the new data, as on any disk that
 * is asked for both at the same time.
 *
 * @example
 * const disk = new MemoryDevice({ size: 1 << 30 });
 */
export class MemoryDevice implements BlockDevice {
  readonly description: string;
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly unmapGranularity: number;
  events: BlockDeviceEvents | null = null;
  readonly #thin: boolean;
  readonly #page: number;
  #size: number;
  #directories: (Directory | null)[];
  #mappedPages = 0;
  #closed = false;

  /** Throws RiserError `BAD_SIZE`. */
  constructor(options: MemoryDeviceOptions) {
    this.blockSize = options.blockSize ?? 512;
    checkSize(options.size, this.blockSize);
    this.description = options.description ?? 'memory';
    this.readOnly = options.readOnly ?? false;
    this.#thin = options.thin ?? true;
    this.#page = Math.max(SMALLEST_PAGE, this.blockSize);
    this.unmapGranularity = this.#thin ? this.#page : 0;
    this.#size = options.size;
    this.#directories = directoriesFor(options.size);
  }

  get size(): number {
    return this.#size;
  }

  /** A WRITE without memory for all of it changes nothing, and of the disk as a whole nothing outlives a loss of power. */
  get atomicWriteLimit(): number {
    return this.#size;
  }

  submit(io: BlockIo): true {
    if (refused(io, this, this.#closed)) return true;
    switch (io.op) {
      case BlockOp.READ:
        this.#read(io);
        break;
      case BlockOp.WRITE:
        this.#write(io);
        break;
      case BlockOp.FLUSH:
        break;
      case BlockOp.UNMAP:
        this.#deallocate(io.offset, io.length);
        break;
      case BlockOp.WRITE_ZEROES:
        // Without `mayUnmap` the range ends up mapped; a fully provisioned disk tells all as mapped anyway.
        if (io.mayUnmap || !this.#thin) this.#deallocate(io.offset, io.length);
        else this.#write(io);
        break;
      case BlockOp.EXTENTS:
        this.#tellExtents(io);
        break;
    }
    return true;
  }

  lend(data: ScatterList, offset: number, length: number, forWriting: boolean): boolean {
    if (this.#closed || !inside(this, offset, length)) return false;
    if (forWriting && (this.readOnly || this.#allocate(offset, length) < offset + length)) return false;
    data.clear();
    const end = offset + length;
    while (offset < end) {
      const index = Math.floor(offset / CHUNK);
      const start = offset - index * CHUNK;
      const part = Math.min(CHUNK - start, end - offset);
      data.add(this.#chunk(index)?.memory ?? ZEROES, start, part);
      offset += part;
    }
    return true;
  }

  /** What is mapped. How much more there is room for is the process's affair. */
  space(): Space | null {
    if (!this.#thin) return null;
    return { used: Math.min(this.#mappedPages * this.#page, this.#size), available: null };
  }

  /** Change the size to `size` bytes, a multiple of the block size; what is cut off is gone. Tells `events`. */
  resize(size: number): void {
    checkSize(size, this.blockSize);
    if (size === this.#size) return;
    if (size < this.#size) this.#deallocate(size, this.#size - size);
    const directories = directoriesFor(size);
    for (let i = 0; i < directories.length; i++) directories[i] = this.#directories[i] ?? null;
    this.#directories = directories;
    this.#size = size;
    this.events?.resized();
  }

  refresh(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const directory of this.#directories.splice(0))
      for (const chunk of directory ?? []) chunk?.memory.retire();
    return Promise.resolve();
  }

  #read(io: BlockIo): void {
    let offset = io.offset;
    let moved = 0;
    while (moved < io.length) {
      const index = Math.floor(offset / CHUNK);
      const start = offset - index * CHUNK;
      const part = Math.min(CHUNK - start, io.length - moved);
      const chunk = this.#chunk(index);
      if (chunk === null) io.data.fill(0, moved, part);
      else io.data.writeFrom(moved, chunk.memory, start, part);
      moved += part;
      offset += part;
    }
  }

  #tellExtents(io: BlockIo): void {
    const limit = io.offset + io.length;
    for (let at = io.offset, end: number; at < limit; at = end) {
      end = this.#thin ? Math.min(this.#runEnd(at), limit) : limit;
      if (!io.addExtent(end - at, !this.#thin || this.#mappedAt(at))) return;
    }
  }

  #write(io: BlockIo): void {
    const end = io.offset + io.length;
    const reached = this.#allocate(io.offset, io.length);
    if (reached < end || (io.isAtomic && !this.#renew(io.offset, io.length))) {
      io.fail(BlockStatus.NO_SPACE, Math.min(reached, end - 1));
      return;
    }
    let offset = io.offset;
    while (offset < end) {
      const index = Math.floor(offset / CHUNK);
      const start = offset - index * CHUNK;
      const part = Math.min(CHUNK - start, end - offset);
      const { bytes } = this.#chunk(index)!.memory;
      if (io.op === BlockOp.WRITE) io.data.read(offset - io.offset, bytes, start, part);
      else bytes.fill(0, start, start + part);
      offset += part;
    }
  }

  /** Give memory to the range and map its pages. Returns where it ended, or where memory ran out. */
  #allocate(offset: number, length: number): number {
    const end = offset + length;
    while (offset < end) {
      const index = Math.floor(offset / CHUNK);
      const start = offset - index * CHUNK;
      const part = Math.min(CHUNK - start, end - offset);
      const chunk = this.#chunk(index) ?? this.#newChunk(index);
      if (chunk === null) return offset;
      const before = chunk.mappedPages;
      chunk.map(Math.floor(start / this.#page), Math.ceil((start + part) / this.#page));
      this.#mappedPages += chunk.mappedPages - before;
      offset += part;
    }
    return end;
  }

  /** Give other memory with the same content to the range: what was lent of it stays as it is. False when memory has run out. */
  #renew(offset: number, length: number): boolean {
    const last = Math.floor((offset + length - 1) / CHUNK);
    for (let index = Math.floor(offset / CHUNK); index <= last; index++) {
      const chunk = this.#chunk(index)!;
      if (this.#newChunk(index)?.takeOver(chunk) !== true) return false;
    }
    return true;
  }

  /** Zero the range; pages that lie wholly in it are unmapped, and chunks without mapped pages freed. */
  #deallocate(offset: number, length: number): void {
    const end = offset + length;
    while (offset < end) {
      const index = Math.floor(offset / CHUNK);
      const directory = this.#directories[Math.floor(index / DIRECTORY_CHUNKS)] ?? null;
      if (directory === null) {
        offset = (Math.floor(offset / DIRECTORY) + 1) * DIRECTORY;
        continue;
      }
      const start = offset - index * CHUNK;
      const part = Math.min(CHUNK - start, end - offset);
      const chunk = directory[index % DIRECTORY_CHUNKS] ?? null;
      if (chunk !== null) {
        // The last page of the disk may be a part of one: reaching the end covers it.
        const covered = offset + part === this.#size ? CHUNK : start + part;
        const before = chunk.mappedPages;
        chunk.unmap(Math.ceil(start / this.#page), Math.floor(covered / this.#page));
        this.#mappedPages += chunk.mappedPages - before;
        if (chunk.mappedPages === 0) {
          directory[index % DIRECTORY_CHUNKS] = null;
          chunk.memory.retire();
        } else chunk.memory.bytes.fill(0, start, start + part);
      }
      offset += part;
    }
  }

  #chunk(index: number): Chunk | null {
    const directory = this.#directories[Math.floor(index / DIRECTORY_CHUNKS)] ?? null;
    return directory === null ? null : directory[index % DIRECTORY_CHUNKS]!;
  }

  /** Null when the process has no memory left to give. */
  #newChunk(index: number): Chunk | null {
    const at = Math.floor(index / DIRECTORY_CHUNKS);
    const directory = (this.#directories[at] ??= new Array<Chunk | null>(DIRECTORY_CHUNKS).fill(null));
    try {
      return (directory[index % DIRECTORY_CHUNKS] = new Chunk(CHUNK / this.#page));
    } catch (error) {
      if (error instanceof RangeError) return null;
      throw error;
    }
  }

  #mappedAt(offset: number): boolean {
    const index = Math.floor(offset / CHUNK);
    const chunk = this.#chunk(index);
    return chunk !== null && chunk.mapped[Math.floor((offset - index * CHUNK) / this.#page)] === 1;
  }

  /** End of the page, chunk or directory at `offset`: the widest run known to be in one state. */
  #runEnd(offset: number): number {
    const index = Math.floor(offset / CHUNK);
    const directory = this.#directories[Math.floor(index / DIRECTORY_CHUNKS)] ?? null;
    const chunk = directory?.[index % DIRECTORY_CHUNKS] ?? null;
    const run = directory === null ? DIRECTORY : chunk === null ? CHUNK : this.#page;
    return (Math.floor(offset / run) + 1) * run;
  }
}

function directoriesFor(size: number): (Directory | null)[] {
  return new Array<Directory | null>(Math.ceil(size / DIRECTORY)).fill(null);
}

function checkSize(size: number, blockSize: number): void {
  if (Number.isSafeInteger(size) && size > 0 && size % blockSize === 0) return;
  throw new RiserError('BAD_SIZE', `a disk of ${size} bytes with blocks of ${blockSize} is not possible`, {
    by: 'local',
    costs: 'process',
    remedy: `Choose a positive multiple of ${blockSize} bytes below 8 PiB.`,
  });
}
