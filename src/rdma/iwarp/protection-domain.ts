/** Protection domains, and the memory in them. */

import { type Memory, ScatterList } from '../../util/memory.js';
import {
  AccessFlag,
  type MemoryRegion,
  type MemoryWindow,
  type ProtectionDomain,
  type SharedReceiveQueue,
} from '../verbs.js';
import type { ReceiveRequest } from '../work.js';
import type { Grant, KeyTable } from './keys.js';
import { misuse } from '../misuse.js';
import { ReceiveRing } from './work-queue.js';

export const REMOTE_RIGHTS = AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE | AccessFlag.REMOTE_ATOMIC;
const NEEDS_LOCAL_WRITE = AccessFlag.REMOTE_WRITE | AccessFlag.REMOTE_ATOMIC;

export class IwarpProtectionDomain implements ProtectionDomain {
  readonly keys: KeyTable;
  /** Regions, windows, shared receive queues and queue pairs in it. */
  users = 0;

  constructor(keys: KeyTable) {
    this.keys = keys;
  }

  registerMemory(memory: Memory, access: number): IwarpMemoryRegion {
    if ((access & NEEDS_LOCAL_WRITE) !== 0 && (access & AccessFlag.LOCAL_WRITE) === 0)
      throw misuse('memory that a peer may write to must be registered with LOCAL_WRITE, too');
    return new IwarpMemoryRegion(this, memory, access);
  }

  allocateWindow(): IwarpMemoryWindow {
    return new IwarpMemoryWindow(this);
  }

  createSharedReceiveQueue(maxReceiveRequests: number): IwarpSharedReceiveQueue {
    return new IwarpSharedReceiveQueue(this, maxReceiveRequests);
  }

  close(): void {
    if (this.users > 0) throw misuse('a protection domain is closed while something is left in it');
  }
}

/** Addresses count from 0 in each region: a peer learns nothing of this process's own. */
const BASE = 0;

export class IwarpMemoryRegion implements MemoryRegion, Grant {
  readonly domain: IwarpProtectionDomain;
  readonly memory: Memory;
  readonly access: number;
  readonly queuePair = null;
  readonly base = BASE;
  readonly address = BASE;
  readonly list = new ScatterList();
  readonly isInvalidable = false;
  readonly remoteKey: number;
  isRegistered = true;
  /** Windows that are bound to it; each knows its index. */
  readonly windows: IwarpMemoryWindow[] = [];

  constructor(domain: IwarpProtectionDomain, memory: Memory, access: number) {
    this.domain = domain;
    this.memory = memory;
    this.access = access;
    this.list.add(memory, 0, memory.length);
    this.remoteKey = (access & REMOTE_RIGHTS) === 0 ? 0 : domain.keys.add(this);
    domain.users++;
  }

  deregister(): void {
    if (!this.isRegistered) return;
    this.isRegistered = false;
    this.domain.users--;
    this.domain.keys.remove(this.remoteKey);
    while (this.windows.length > 0) this.windows.at(-1)!.invalidate();
    // It may have been memory of posted work, too.
    this.domain.keys.placements.rightsEnded();
  }

  invalidated(): void {
    // Only by deregistering: no peer may end it.
  }
}

/** A window; from one binding to its invalidation it grants a part of a region to one queue pair's peer. */
export class IwarpMemoryWindow implements MemoryWindow, Grant {
  readonly domain: IwarpProtectionDomain;
  readonly list = new ScatterList();
  readonly isInvalidable = true;
  /** Of the last binding that was posted. */
  remoteKey = 0;
  queuePair: object | null = null;
  access = 0;
  base = 0;
  #region: IwarpMemoryRegion | null = null;
  /** Among the region's windows. */
  #index = 0;
  /** By which it is reached now. */
  #boundKey = 0;
  #isOpen = true;

  constructor(domain: IwarpProtectionDomain) {
    this.domain = domain;
    domain.users++;
  }

  get isBound(): boolean {
    return this.#region !== null;
  }

  bind(
    key: number,
    queuePair: object,
    region: IwarpMemoryRegion,
    offset: number,
    length: number,
    access: number,
  ): void {
    this.queuePair = queuePair;
    this.access = access;
    this.base = region.address + offset;
    this.list.add(region.memory, offset, length);
    this.#region = region;
    this.#boundKey = key;
    this.#index = region.windows.push(this) - 1;
    this.domain.keys.set(key, this);
  }

  invalidate(): void {
    this.domain.keys.remove(this.#boundKey);
  }

  invalidated(): void {
    if (this.#region !== null) {
      const last = this.#region.windows.pop()!;
      if (last !== this) this.#region.windows[(last.#index = this.#index)] = last;
    }
    this.#region = null;
    this.queuePair = null;
    this.list.clear();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.domain.users--;
    this.invalidate();
  }
}

export class IwarpSharedReceiveQueue implements SharedReceiveQueue {
  readonly domain: IwarpProtectionDomain;
  readonly ring: ReceiveRing;
  /** Queue pairs that take from it. */
  users = 0;
  #isOpen = true;

  constructor(domain: IwarpProtectionDomain, maxReceiveRequests: number) {
    this.domain = domain;
    this.ring = new ReceiveRing(maxReceiveRequests);
    domain.users++;
  }

  postReceive(request: ReceiveRequest): void {
    this.ring.post(request);
  }

  close(): void {
    if (this.users > 0) throw misuse('a shared receive queue is closed while queue pairs use it');
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.domain.users--;
  }
}
