/**
 * What a connection has to send: a ring of parts of memory regions in order, and a slab for the headers
 * among them, used from its start again whenever the queue has run empty. Headers that follow one another are one part.
 */

import { Memory, type ScatterList } from '../util/memory.js';
import type { IoVector } from '../util/posix/iovec.js';

const FIRST_CAPACITY = 256;
const HEADER_SLAB = 64 * 1024;

export class SendQueue<Owner extends object> {
  /** Segments queued. */
  count = 0;
  /** Bytes queued. */
  bytes = 0;
  #regions: (Memory | null)[] = new Array<Memory | null>(FIRST_CAPACITY).fill(null);
  #offsets = new Int32Array(FIRST_CAPACITY);
  #lengths = new Int32Array(FIRST_CAPACITY);
  #first = 0;
  #mask = FIRST_CAPACITY - 1;
  /** The last segment is of the slab, and what is reserved next may be part of it. */
  #isOpen = false;

  readonly #owners = new OwnerRing<Owner>();
  /** Bytes that were ever consumed. */
  #position = 0;

  #slab = Memory.allocate(HEADER_SLAB);
  #slabUsed = 0;

  /** Where {@link reserve} put the reservation. */
  region: Memory = this.#slab;
  offset = 0;

  /**
   * Queue `length` bytes of queue-owned memory for the caller to fill in at `region` and `offset`,
   * before the next call. `owner` is told when it is gone.
   */
  reserve(length: number, owner: Owner | null = null): void {
    if (length > HEADER_SLAB) {
      this.region = Memory.allocate(length);
      this.offset = 0;
      this.push(this.region, 0, length, owner);
      return;
    }
    if (this.#slabUsed + length > HEADER_SLAB) {
      // The peer reads slowly: the queue has not been empty for a slab's worth of headers.
      this.#slab = Memory.allocate(HEADER_SLAB);
      this.#slabUsed = 0;
      this.#isOpen = false;
    }
    this.region = this.#slab;
    this.offset = this.#slabUsed;
    this.#slabUsed += length;
    if (this.#isOpen) {
      const last = (this.#first + this.count - 1) & this.#mask;
      this.#lengths[last] = this.#lengths[last]! + length;
      this.bytes += length;
      if (owner !== null) this.#owners.push(owner, this.#position + this.bytes);
    } else {
      this.push(this.region, this.offset, length, owner);
      this.#isOpen = true;
    }
  }

  /** Queue `length` bytes of `list` from `skip` on; `owner` is told when the last of them is gone. */
  pushList(list: ScatterList, skip: number, length: number, owner: Owner | null): void {
    for (let i = 0; i < list.count && length > 0; i++) {
      const have = list.lengths[i]!;
      if (skip >= have) {
        skip -= have;
        continue;
      }
      const part = have - skip < length ? have - skip : length;
      length -= part;
      this.push(list.regions[i]!, list.offsets[i]! + skip, part, length === 0 ? owner : null);
      skip = 0;
    }
  }

  push(region: Memory, offset: number, length: number, owner: Owner | null): void {
    if (this.count > this.#mask) this.#grow();
    const at = (this.#first + this.count) & this.#mask;
    this.#regions[at] = region;
    this.#offsets[at] = offset;
    this.#lengths[at] = length;
    this.count++;
    this.bytes += length;
    this.#isOpen = false;
    if (owner !== null) this.#owners.push(owner, this.#position + this.bytes);
  }

  /** Whether somebody is to be told of what is queued. */
  get hasOwners(): boolean {
    return this.#owners.count > 0;
  }

  /** Aim `vector` at the first segments, as many as it has room for. Returns how many. */
  fillVector(vector: IoVector): number {
    const n = Math.min(this.count, vector.capacity);
    for (let i = 0; i < n; i++) {
      const at = (this.#first + i) & this.#mask;
      vector.set(i, this.#regions[at]!, this.#offsets[at]!, this.#lengths[at]!);
    }
    return n;
  }

  /** Views of segments from the `from`-th on, at most so many, for Node's own sockets. They stay as they are. */
  views(from: number, most = Infinity): Buffer[] {
    this.#isOpen = false;
    const views: Buffer[] = [];
    const end = Math.min(this.count, from + most);
    for (let i = from; i < end; i++) {
      const at = (this.#first + i) & this.#mask;
      const offset = this.#offsets[at]!;
      views.push(this.#regions[at]!.bytes.subarray(offset, offset + this.#lengths[at]!));
    }
    return views;
  }

  /** `sent` bytes are gone from the front; tells each owner whose last byte was among them. */
  consume(sent: number, released: (owner: Owner) => void): void {
    this.bytes -= sent;
    this.#position += sent;
    while (sent > 0) {
      const at = this.#first;
      const length = this.#lengths[at]!;
      if (sent < length) {
        this.#offsets[at] = this.#offsets[at]! + sent;
        this.#lengths[at] = length - sent;
        break;
      }
      sent -= length;
      this.#regions[at] = null;
      this.#first = (at + 1) & this.#mask;
      this.count--;
    }
    if (this.count === 0) this.#startAnew();
    this.#owners.release(this.#position, released);
  }

  /** Drop everything; owners are told. */
  clear(released: (owner: Owner) => void): void {
    this.consume(this.bytes, released);
  }

  #startAnew(): void {
    this.#slabUsed = 0;
    this.#isOpen = false;
  }

  #grow(): void {
    const size = this.#mask + 1;
    const regions = new Array<Memory | null>(2 * size).fill(null);
    const offsets = new Int32Array(2 * size);
    const lengths = new Int32Array(2 * size);
    for (let i = 0; i < this.count; i++) {
      const at = (this.#first + i) & this.#mask;
      regions[i] = this.#regions[at]!;
      offsets[i] = this.#offsets[at]!;
      lengths[i] = this.#lengths[at]!;
    }
    this.#regions = regions;
    this.#offsets = offsets;
    this.#lengths = lengths;
    this.#first = 0;
    this.#mask = 2 * size - 1;
  }
}

/** Who is to be told, and when: at which byte of all that were ever queued. */
class OwnerRing<Owner extends object> {
  count = 0;
  #owners: (Owner | null)[] = new Array<Owner | null>(FIRST_CAPACITY).fill(null);
  #ends = new Float64Array(FIRST_CAPACITY);
  #first = 0;
  #mask = FIRST_CAPACITY - 1;

  push(owner: Owner, end: number): void {
    if (this.count > this.#mask) this.#grow();
    const at = (this.#first + this.count++) & this.#mask;
    this.#owners[at] = owner;
    this.#ends[at] = end;
  }

  /** Tell all whose bytes end at `position` or before. What is told may queue more. */
  release(position: number, released: (owner: Owner) => void): void {
    while (this.count > 0 && this.#ends[this.#first]! <= position) {
      const at = this.#first;
      const owner = this.#owners[at]!;
      this.#owners[at] = null;
      this.#first = (at + 1) & this.#mask;
      this.count--;
      released(owner);
    }
  }

  #grow(): void {
    const size = this.#mask + 1;
    const owners = new Array<Owner | null>(2 * size).fill(null);
    const ends = new Float64Array(2 * size);
    for (let i = 0; i < this.count; i++) {
      const at = (this.#first + i) & this.#mask;
      owners[i] = this.#owners[at]!;
      ends[i] = this.#ends[at]!;
    }
    this.#owners = owners;
    this.#ends = ends;
    this.#first = 0;
    this.#mask = 2 * size - 1;
  }
}
