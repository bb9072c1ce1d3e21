/**
 * Where a session's data lies while it moves, on a device that has no memory windows: an application's memory would be
 * reached by whoever has its key, for as long as it is registered. So the session has a protection domain of its own, in
 * which its keys are good, and memory of its own, from and to which data is copied.
 *
 * A piece is registered for one direction and stays so, so that the target may reach it outside of a command, too. All that it
 * finds there is what it was to have, and all that it can spoil is what itself is to send.
 */

import { AccessFlag, type MemoryRegion, type ProtectionDomain, type RdmaDevice } from '../../rdma/verbs.js';
import { Memory } from '../../util/memory.js';
import { type DomainMemory, register } from './registered-memory.js';

interface Piece {
  readonly region: MemoryRegion;
  /** Those of its size and its rights that are idle. */
  readonly shelf: Piece[];
  users: number;
}

/** Sizes are powers of two from this one on. */
const SMALLEST_CLASS = 12;
const CLASSES = 32;

export class SessionPool implements DomainMemory {
  readonly domain: ProtectionDomain;
  readonly #limit: number;
  readonly #pieces = new Map<Memory, Piece>();
  /** Idle pieces, by rights and size. */
  readonly #shelves = new Map<number, Piece[]>();
  /** Bytes that are registered. */
  bytes = 0;
  #idleBytes = 0;

  /** `limit`: bytes that stay registered although no task uses them. */
  constructor(device: RdmaDevice, limit: number) {
    this.domain = device.allocateProtectionDomain();
    this.#limit = limit;
  }

  /** A piece with room for `length` bytes, held once. `access`: the remote rights, of {@link AccessFlag}. */
  take(length: number, access: number): MemoryRegion {
    const size = Math.max(SMALLEST_CLASS, 32 - Math.clz32(length - 1));
    const shelf = this.#shelfOf(access * CLASSES + size);
    let piece = shelf.pop();
    if (piece === undefined) {
      const rights = access | AccessFlag.LOCAL_WRITE;
      const region = register(this.domain, Memory.allocate(2 ** size), rights, () => {
        this.#letGoOfIdle(0);
      });
      piece = { region, shelf, users: 0 };
      this.#pieces.set(region.memory, piece);
      this.bytes += region.memory.length;
    } else this.#idleBytes -= piece.region.memory.length;
    piece.users = 1;
    return piece.region;
  }

  hold(memory: Memory): MemoryRegion {
    const piece = this.#pieces.get(memory)!;
    piece.users++;
    return piece.region;
  }

  release(memory: Memory): void {
    const piece = this.#pieces.get(memory)!;
    if (--piece.users > 0) return;
    piece.shelf.push(piece);
    this.#idleBytes += memory.length;
    if (this.#idleBytes > this.#limit) this.#letGoOfIdle(this.#limit);
  }

  /** Nothing must be held. */
  close(): void {
    this.#letGoOfIdle(0);
    this.domain.close();
  }

  #shelfOf(index: number): Piece[] {
    const known = this.#shelves.get(index);
    if (known !== undefined) return known;
    const shelf: Piece[] = [];
    this.#shelves.set(index, shelf);
    return shelf;
  }

  #letGoOfIdle(most: number): void {
    for (const shelf of this.#shelves.values()) {
      while (shelf.length > 0 && this.#idleBytes > most) {
        const { region } = shelf.pop()!;
        const { memory } = region;
        region.deregister();
        this.#pieces.delete(memory);
        this.bytes -= memory.length;
        this.#idleBytes -= memory.length;
      }
    }
  }
}
