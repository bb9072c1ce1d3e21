/** Protection domains, regions and windows of adapters. */

import { markAsUntransferable } from 'node:worker_threads';

import { RiserError } from '../../util/errors.js';
import { Memory } from '../../util/memory.js';
import { misuse } from '../misuse.js';
import { AccessFlag, type MemoryRegion, type MemoryWindow, type ProtectionDomain } from '../verbs.js';
import { addon, type NativeHandle, type NativeRegionHandle, type NativeWindowHandle } from './library.js';
import { errnoName, nativeError } from './errors.js';
import type { NativeDevice } from './device.js';
import { NativeSharedReceiveQueue } from './shared-receive-queue.js';

const REMOTE_RIGHTS = AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE | AccessFlag.REMOTE_ATOMIC;
const NEEDS_LOCAL_WRITE = AccessFlag.REMOTE_WRITE | AccessFlag.REMOTE_ATOMIC;

/**
 * Memory for regions on pages of its own: nothing else is on the pages that a device reaches, and they are not given back while a
 * device or JavaScript has them. `isHuge`: on huge pages, of which the system has to have some free (`vm.nr_hugepages`).
 *
 * @throws RiserError `OUT_OF_MEMORY`
 */
export function allocatePages(length: number, isHuge = false): Memory {
  try {
    return new Memory(Buffer.from(addon().allocate(length, isHuge)));
  } catch (cause) {
    throw new RiserError('OUT_OF_MEMORY', `there are no ${length} bytes of memory: ${String(cause)}`, {
      by: 'local',
      costs: 'task',
      cause,
      ...(isHuge ? { remedy: 'Raise vm.nr_hugepages, or do without huge pages.' } : {}),
    });
  }
}

export class NativeProtectionDomain implements ProtectionDomain {
  readonly device: NativeDevice;
  readonly handle: NativeHandle;
  /** Regions, windows, shared receive queues and queue pairs in it. */
  users = 0;
  #isOpen = true;

  constructor(device: NativeDevice) {
    this.device = device;
    this.handle = nativeError('a protection domain', () => new (addon().ProtectionDomain)(device.handle));
    device.users++;
  }

  registerMemory(memory: Memory, access: number): NativeMemoryRegion {
    if ((access & NEEDS_LOCAL_WRITE) !== 0 && (access & AccessFlag.LOCAL_WRITE) === 0)
      throw misuse('memory that a peer may write to must be registered with LOCAL_WRITE, too');
    return new NativeMemoryRegion(this, memory, access);
  }

  allocateWindow(): NativeMemoryWindow {
    return new NativeMemoryWindow(this);
  }

  createSharedReceiveQueue(maxReceiveRequests: number, maxSges: number): NativeSharedReceiveQueue {
    return new NativeSharedReceiveQueue(this, maxReceiveRequests, maxSges);
  }

  close(): void {
    if (this.users > 0) throw misuse('a protection domain is closed while something is left in it');
    if (!this.#isOpen) return;
    this.handle.close();
    this.#isOpen = false;
    this.device.users--;
  }
}

export class NativeMemoryRegion implements MemoryRegion {
  readonly domain: NativeProtectionDomain;
  readonly memory: Memory;
  readonly access: number;
  readonly address: number;
  readonly localKey: number;
  readonly remoteKey: number;
  readonly handle: NativeRegionHandle;
  isRegistered = true;

  constructor(domain: NativeProtectionDomain, memory: Memory, access: number) {
    this.domain = domain;
    this.memory = memory;
    this.access = access;
    const { hasMemoryWindows, hasAtomics } = domain.device.attributes;
    let rights = access;
    // Where there are none of these, a device may refuse to grant them.
    if (!hasMemoryWindows) rights &= ~AccessFlag.WINDOW_BIND;
    if (!hasAtomics) rights &= ~AccessFlag.REMOTE_ATOMIC;
    this.handle = register(domain, memory, rights);
    const [address, localKey, remoteKey] = this.handle.keys();
    this.address = address;
    this.localKey = localKey;
    this.remoteKey = (access & REMOTE_RIGHTS) === 0 ? 0 : remoteKey;
    domain.users++;
  }

  deregister(): void {
    if (!this.isRegistered) return;
    this.handle.deregister();
    this.isRegistered = false;
    this.domain.users--;
  }
}

function register(domain: NativeProtectionDomain, memory: Memory, access: number): NativeRegionHandle {
  try {
    const handle = new (addon().MemoryRegion)(domain.handle, memory.bytes, access);
    // Whoever it was given to might free it, and the device would go on to write there.
    markAsUntransferable(memory.bytes.buffer);
    return handle;
  } catch (cause) {
    const name = errnoName(cause);
    if (name === null) throw misuse(`memory cannot be registered: ${String(cause)}`);
    const isLimit = name === 'ENOMEM' || name === 'EAGAIN';
    throw new RiserError(
      isLimit ? 'OUT_OF_MEMORY' : 'RDMA_REGISTRATION',
      `the device cannot register ${memory.length} bytes of memory (${name})`,
      {
        by: 'local',
        costs: 'task',
        cause,
        ...(isLimit
          ? { remedy: 'Raise the limit of locked memory: "ulimit -l", or LimitMEMLOCK= of the service.' }
          : {}),
      },
    );
  }
}

export class NativeMemoryWindow implements MemoryWindow {
  readonly domain: NativeProtectionDomain;
  /** Of the last binding that was posted. */
  remoteKey = 0;
  /** Of the queue pair to which that was posted. */
  queuePairKey = 0;
  /** Null when the queue pair was closed, until the next binding. */
  #handle: NativeWindowHandle | null;
  #isOpen = true;

  constructor(domain: NativeProtectionDomain) {
    this.domain = domain;
    this.#handle = newWindow(domain);
    domain.users++;
  }

  get handle(): NativeWindowHandle {
    return (this.#handle ??= newWindow(this.domain));
  }

  /** The key for the next binding: the index stays, and the 8 bits that are the user's count on (ibv_inc_rkey(3)). */
  renewKey(queuePairKey: number): void {
    const last = this.remoteKey === 0 ? this.handle.key() : this.remoteKey;
    const { windows } = this.domain.device;
    windows.delete(this.remoteKey);
    this.remoteKey = ((last & 0xffff_ff00) | ((last + 1) & 0xff)) >>> 0;
    this.queuePairKey = queuePairKey;
    windows.set(this.remoteKey, this);
  }

  /** The queue pair is going to be closed, which the user may do before: rdma_rxe would wait for its windows. */
  unbind(): void {
    const handle = this.#handle;
    this.#handle = null;
    this.domain.device.windows.delete(this.remoteKey);
    this.remoteKey = 0;
    handle?.close();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.domain.users--;
    this.unbind();
  }
}

function newWindow({ handle }: NativeProtectionDomain): NativeWindowHandle {
  return nativeError('a memory window', () => new (addon().MemoryWindow)(handle));
}
