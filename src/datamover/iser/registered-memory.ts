/**
 * Memory that is registered with a device, for all connections of one protection domain. What the buffer pool, block
 * devices and applications hand out is registered when it is first used, and stays so, since it will be used again: data
 * moves from and to where it lies. It is let go of when its owner retires it; and what is idle, the oldest first, when there
 * is too much.
 */

import type { Memory, MemoryWatcher, ScatterList } from '../../util/memory.js';
import { RiserError } from '../../util/errors.js';
import { AccessFlag, type MemoryRegion, type ProtectionDomain, type RdmaDevice } from '../../rdma/verbs.js';

/** What a connection knows of memory that is registered in its domain, whoever has it. */
export interface DomainMemory {
  readonly domain: ProtectionDomain;
  /** The region of `memory`, which stays until it is released as often as it was held. */
  hold(memory: Memory): MemoryRegion;
  release(memory: Memory): void;
}

/**
 * Register `memory`; if that fails, once more behind `makeRoom`: adapters pin it, for which there are limits.
 *
 * @throws RiserError `RDMA_MEMORY`
 */
export function register(
  domain: ProtectionDomain,
  memory: Memory,
  access: number,
  makeRoom: () => void,
): MemoryRegion {
  try {
    return domain.registerMemory(memory, access);
  } catch {
    makeRoom();
  }
  try {
    return domain.registerMemory(memory, access);
  } catch (cause) {
    throw new RiserError('RDMA_MEMORY', `${memory.length} bytes cannot be registered: ${String(cause)}`, {
      by: 'local',
      costs: 'connection',
      cause,
      remedy: '"riser doctor" tells how much memory may be locked, and how to have more.',
    });
  }
}

interface Entry {
  readonly region: MemoryRegion;
  /** Transfers that move data of it. */
  users: number;
  /** It may be used again. */
  isKept: boolean;
}

export class RegisteredMemory implements DomainMemory, MemoryWatcher {
  readonly domain: ProtectionDomain;
  readonly #access: number;
  #limit: number;
  /** The oldest registration first. */
  readonly #entries = new Map<Memory, Entry>();
  /** The one that was asked for last: as a rule it is asked for again. */
  #last: Memory | null = null;
  #lastEntry!: Entry;
  /** Bytes that are registered now. */
  bytes = 0;

  /** `limit`: with more bytes than this nothing that is idle stays registered. */
  constructor(device: RdmaDevice, limit: number) {
    const { hasMemoryWindows } = device.attributes;
    this.domain = device.allocateProtectionDomain();
    this.#limit = limit;
    this.#access = AccessFlag.LOCAL_WRITE | (hasMemoryWindows ? AccessFlag.WINDOW_BIND : 0);
  }

  /** With more bytes than this nothing that is idle stays registered; it shrinks when the system gives no more. */
  get limit(): number {
    return this.#limit;
  }

  /** Regions that are registered now. */
  get regions(): number {
    return this.#entries.size;
  }

  /** Whether more may stay registered. */
  get hasRoom(): boolean {
    return this.bytes < this.#limit;
  }

  /** Whether all of `list` can be registered. What is may be let go of again before it is held. */
  prepare({ regions, count }: ScatterList): boolean {
    if (this.#limit === Infinity) return true;
    let held = 0;
    try {
      while (held < count) {
        this.hold(regions[held]!);
        held++;
      }
      return true;
    } catch {
      return false;
    } finally {
      while (held > 0) this.release(regions[--held]!);
    }
  }

  /** A region that is nobody else's, which its user deregisters. @throws RiserError `RDMA_MEMORY` */
  registerBriefly(memory: Memory, access: number): MemoryRegion {
    return register(this.domain, memory, access, this.#makeRoom);
  }

  /**
   * The region of `memory`, which stays until it is released as often as it was held, and longer if it may be used again
   * (`isKept`, of whoever is the first).
   *
   * @throws RiserError `RDMA_MEMORY`
   */
  hold(memory: Memory, isKept = true): MemoryRegion {
    if (memory !== this.#last) {
      this.#lastEntry = this.#entries.get(memory) ?? this.#register(memory, isKept);
      this.#last = memory;
    }
    this.#lastEntry.users++;
    return this.#lastEntry.region;
  }

  release(memory: Memory): void {
    const entry = memory === this.#last ? this.#lastEntry : this.#entries.get(memory)!;
    entry.users--;
    if (entry.users === 0 && (!entry.isKept || this.bytes > this.#limit)) this.#deregister(memory, entry);
  }

  retired(memory: Memory): void {
    const entry = this.#entries.get(memory)!;
    entry.isKept = false;
    if (entry.users === 0) this.#deregister(memory, entry);
  }

  /** Let go of everything; nothing must be held. */
  close(): void {
    for (const [memory, entry] of this.#entries) this.#deregister(memory, entry);
    this.domain.close();
  }

  /** The system gives no more: what there is now is the limit. */
  readonly #makeRoom = (): void => {
    this.#limit = this.bytes;
    for (const [old, entry] of this.#entries) if (entry.users === 0) this.#deregister(old, entry);
  };

  #register(memory: Memory, isKept: boolean): Entry {
    for (const [old, entry] of this.#entries) {
      if (this.bytes + memory.length <= this.#limit) break;
      if (entry.users === 0) this.#deregister(old, entry);
    }
    const region = register(this.domain, memory, this.#access, this.#makeRoom);
    const entry = { region, users: 0, isKept: isKept && !memory.isRetired };
    this.#entries.set(memory, entry);
    if (entry.isKept) memory.watch(this);
    this.bytes += memory.length;
    return entry;
  }

  #deregister(memory: Memory, { region }: Entry): void {
    if (memory === this.#last) this.#last = null;
    region.deregister();
    memory.unwatch(this);
    this.#entries.delete(memory);
    this.bytes -= memory.length;
  }
}
