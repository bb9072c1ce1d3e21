/** The registered memory that Sends leave from and arrive in. */

import { AccessFlag, type MemoryRegion, type ProtectionDomain } from '../../rdma/verbs.js';
import { Memory } from '../../util/memory.js';
import type { DataTransfer } from '../datamover.js';

/** A posted Send: what it says, and whose buffer it has data of. */
export class OutgoingMessage {
  readonly index: number;
  region: MemoryRegion;
  offset: number;
  transfer: DataTransfer | null = null;
  /** Held until it has left: its data lies there. */
  held: Memory | null = null;
  /** Posted before it, without a completion of its own: when this one has left, that one has, too. */
  before: OutgoingMessage | null = null;
  isInUse = false;
  readonly #usual: MemoryRegion;
  readonly #usualOffset: number;

  constructor(index: number, region: MemoryRegion, offset: number) {
    this.index = index;
    this.region = this.#usual = region;
    this.offset = this.#usualOffset = offset;
  }

  get memory(): Memory {
    return this.region.memory;
  }

  get bytes(): Buffer {
    return this.region.memory.bytes;
  }

  /** It has memory of its own. */
  get isLong(): boolean {
    return this.region !== this.#usual;
  }

  /** For a message that is longer than the usual ones. */
  lengthen(domain: ProtectionDomain, length: number): void {
    this.region = domain.registerMemory(Memory.allocate(length), AccessFlag.LOCAL_WRITE);
    this.offset = 0;
  }

  shorten(): void {
    if (!this.isLong) return;
    this.region.deregister();
    this.region = this.#usual;
    this.offset = this.#usualOffset;
  }
}

/** One that nobody sends, to be written all the same. */
export function lostMessage(length: number): OutgoingMessage {
  const region = {
    memory: Memory.allocate(length),
    access: 0,
    remoteKey: 0,
    address: 0,
    deregister: () => undefined,
  };
  return new OutgoingMessage(-1, region, 0);
}

const TAKEN_AT_ONCE = 32;

/** Messages of `size` bytes each, as many as are needed at a time. */
export class OutgoingMessages {
  readonly all: OutgoingMessage[] = [];
  /** Bytes of the longest that can be posted inline; 0: none. */
  readonly inlineLength: number;
  readonly #domain: ProtectionDomain;
  readonly #size: number;
  readonly #free: OutgoingMessage[] = [];
  #inline: OutgoingMessage | null = null;
  readonly #slabs: MemoryRegion[] = [];

  constructor(domain: ProtectionDomain, size: number, inlineLength: number) {
    this.#domain = domain;
    this.#size = size;
    this.inlineLength = inlineLength;
  }

  /** The one for what is posted inline: the next may take its place right away. */
  get inline(): OutgoingMessage {
    return (this.#inline ??= this.take(this.inlineLength));
  }

  isInline(message: OutgoingMessage): boolean {
    return message === this.#inline;
  }

  /** One with room for `length` bytes. */
  take(length: number): OutgoingMessage {
    if (this.#free.length === 0) this.#grow();
    const message = this.#free.pop()!;
    message.isInUse = true;
    if (length > this.#size) message.lengthen(this.#domain, length);
    return message;
  }

  give(message: OutgoingMessage): void {
    message.isInUse = false;
    message.transfer = null;
    message.shorten();
    this.#free.push(message);
  }

  close(): void {
    for (const message of this.all) message.shorten();
    for (const slab of this.#slabs) slab.deregister();
  }

  #grow(): void {
    const slab = this.#domain.registerMemory(
      Memory.allocate(this.#size * TAKEN_AT_ONCE),
      AccessFlag.LOCAL_WRITE,
    );
    this.#slabs.push(slab);
    for (let i = TAKEN_AT_ONCE - 1; i >= 0; i--) {
      const message = new OutgoingMessage(this.all.length, slab, i * this.#size);
      this.all.push(message);
      this.#free.push(message);
    }
  }
}

/** Bytes of a line in the processor's cache. What is at multiples of 4 is copied by words, too. */
const ALIGNMENT = 64;

/**
 * The memory of receives, each of which is posted again when what came is handled. There are as many as the peer may send
 * messages, so none has a record of its own that would have to be fetched from memory.
 */
export class IncomingMessages {
  count = 0;
  readonly #domain: ProtectionDomain;
  readonly #slabs: Slab[] = [];

  constructor(domain: ProtectionDomain) {
    this.#domain = domain;
  }

  /** `count` more, of `length` bytes each. They have the next indexes. */
  add(count: number, length: number): void {
    const size = Math.ceil(length / ALIGNMENT) * ALIGNMENT;
    const region = this.#domain.registerMemory(Memory.allocate(count * size), AccessFlag.LOCAL_WRITE);
    this.#slabs.push({ region, first: this.count, size, length });
    this.count += count;
  }

  /** Where the message `index` is. */
  slabOf(index: number): Slab {
    let i = this.#slabs.length - 1;
    while (this.#slabs[i]!.first > index) i--;
    return this.#slabs[i]!;
  }

  close(): void {
    for (const { region } of this.#slabs) region.deregister();
  }
}

/** Messages from the index `first` on, `size` bytes from one to the next, `length` of them for each. */
interface Slab {
  readonly region: MemoryRegion;
  readonly first: number;
  readonly size: number;
  readonly length: number;
}
