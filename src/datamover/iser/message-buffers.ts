/** The registered memory that Sends leave from and arrive in. */

import { ReceiveRequest } from '../../rdma/work.js';
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

const TAKEN_AT_ONCE = 32;

/** Messages of `size` bytes each, as many as are needed at a time. */
export class OutgoingMessages {
  readonly all: OutgoingMessage[] = [];
  readonly #domain: ProtectionDomain;
  readonly #size: number;
  readonly #free: OutgoingMessage[] = [];
  readonly #slabs: MemoryRegion[] = [];

  constructor(domain: ProtectionDomain, size: number) {
    this.#domain = domain;
    this.#size = size;
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

/** A posted receive, posted again when what came is handled. */
export interface IncomingMessage {
  readonly memory: Memory;
  readonly offset: number;
  readonly request: ReceiveRequest;
}

export class IncomingMessages {
  readonly all: IncomingMessage[] = [];
  readonly #domain: ProtectionDomain;
  readonly #slabs: MemoryRegion[] = [];

  constructor(domain: ProtectionDomain) {
    this.#domain = domain;
  }

  /**
   * `count` more, of `length` bytes each, to be posted.
   *
   * @param idOf the request's id, from the index in `all`
   */
  add(count: number, length: number, idOf: (index: number) => number): IncomingMessage[] {
    const size = Math.ceil(length / ALIGNMENT) * ALIGNMENT;
    const slab = this.#domain.registerMemory(Memory.allocate(count * size), AccessFlag.LOCAL_WRITE);
    this.#slabs.push(slab);
    const added = Array.from({ length: count }, (_, i) => {
      const request = new ReceiveRequest();
      request.id = idOf(this.all.length + i);
      request.sges.add(slab, i * size, length);
      return { memory: slab.memory, offset: i * size, request };
    });
    this.all.push(...added);
    return added;
  }

  close(): void {
    for (const slab of this.#slabs) slab.deregister();
  }
}
