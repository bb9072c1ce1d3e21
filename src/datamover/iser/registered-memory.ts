/**
 * Memory that is registered with a device, for all connections of one protection domain. What the buffer pool, block
 * devices and applications hand out is registered when it is first used, and stays so, since it will be used again: data
 * moves from and to where it lies. It is let go of when its owner retires it; and what is idle, the oldest first, when there
 * is too much.
 */

import type { Memory, MemoryWatcher } from '../../util/memory.js';
import { AccessFlag, type MemoryRegion, type ProtectionDomain, type RdmaDevice } from '../../rdma/verbs.js';

interface Entry {
  readonly region: MemoryRegion;
  /** Transfers that move data of it. */
  users: number;
  /** It may be used again. */
  isKept: boolean;
}

export class RegisteredMemory implements MemoryWatcher {
  readonly domain: ProtectionDomain;
  readonly #access: number;
  readonly #limit: number;
  /** The oldest registration first. */
  readonly #entries = new Map<Memory, Entry>();
  /** The one that was asked for last: as a rule it is asked for again. */
  #last: Memory | null = null;
  #lastEntry!: Entry;
  /** Bytes that are registered now. */
  bytes = 0;

  /** `limit`: with more bytes than this nothing that is idle stays registered. */
  constructor(device: RdmaDevice, limit: number) {
    const { hasMemoryWindows, readNeedsRemoteWrite } = device.attributes;
    this.domain = device.allocateProtectionDomain();
    this.#limit = limit;
    this.#access =
      AccessFlag.LOCAL_WRITE |
      (hasMemoryWindows ? AccessFlag.WINDOW_BIND : 0) |
      (readNeedsRemoteWrite ? AccessFlag.REMOTE_WRITE : 0);
  }

  /** Regions that are registered now. */
  get regions(): number {
    return this.#entries.size;
  }

  /**
   * The region of `memory`, which stays until it is released as often as it was held, and longer if it may be used again
   * (`isKept`, of whoever is the first).
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

  #register(memory: Memory, isKept: boolean): Entry {
    for (const [old, entry] of this.#entries) {
      if (this.bytes + memory.length <= this.#limit) break;
      if (entry.users === 0) this.#deregister(old, entry);
    }
    const region = this.domain.registerMemory(memory, this.#access);
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
