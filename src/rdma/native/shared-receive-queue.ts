/** Receives that several queue pairs share. */

import { misuse } from '../misuse.js';
import type { SharedReceiveQueue } from '../verbs.js';
import type { ReceiveRequest } from '../work.js';
import type { RoomOwner } from './completion-queue.js';
import { nativeError } from './errors.js';
import { addon, type NativeSharedQueueHandle } from './library.js';
import type { NativeProtectionDomain } from './memory.js';
import { receiveFault } from './check.js';
import { ReceiveBatch } from './records.js';

export class NativeSharedReceiveQueue implements SharedReceiveQueue, RoomOwner {
  readonly domain: NativeProtectionDomain;
  readonly handle: NativeSharedQueueHandle;
  readonly capacity: number;
  /** Queue pairs that take from it. */
  users = 0;
  readonly ids: Float64Array;
  readonly faults: Uint8Array;
  readonly #maxSges: number;
  readonly #batch: ReceiveBatch;
  /** Places without a receive; they complete in any order. */
  readonly #free: Uint32Array;
  #freeCount: number;
  #room: number;
  #isOpen = true;

  constructor(domain: NativeProtectionDomain, maxReceiveRequests: number, maxSges: number) {
    this.domain = domain;
    this.capacity = maxReceiveRequests;
    this.#room = maxReceiveRequests;
    this.#maxSges = maxSges;
    this.ids = new Float64Array(maxReceiveRequests);
    this.faults = new Uint8Array(maxReceiveRequests);
    this.#free = Uint32Array.from({ length: maxReceiveRequests }, (_, i) => i);
    this.#freeCount = maxReceiveRequests;
    this.#batch = new ReceiveBatch(1, maxSges);
    this.handle = nativeError(
      'a shared receive queue',
      () => new (addon().SharedReceiveQueue)(domain.handle, maxReceiveRequests, maxSges, this.#batch.buffer),
    );
    domain.users++;
  }

  postReceive(request: ReceiveRequest): void {
    if (!this.#isOpen) throw misuse('the shared receive queue is closed');
    if (this.#room === 0 || this.#freeCount === 0)
      throw misuse('the shared receive queue is full: poll completions before posting more');
    if (request.sges.count > this.#maxSges)
      throw misuse(`a receive of ${request.sges.count} parts on a queue made for ${this.#maxSges}`);
    const fault = receiveFault(this.domain, request);
    const slot = this.#free[this.#freeCount - 1]!;
    // No queue pair's key: which one takes it, its completion tells.
    this.#batch.add(slot, 1, request);
    const result = this.handle.postReceives(this.#batch.count);
    this.#batch.count = 0;
    if (result % 65_536 !== 1) throw misuse(`the device has not taken a receive (errno ${result / 65_536})`);
    this.#freeCount--;
    this.#room--;
    this.ids[slot] = request.id;
    this.faults[slot] = fault;
  }

  /** The receive at `slot` is over; its room comes back when its completion is polled. */
  release(slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }

  giveRoomBack(requests: number): void {
    this.#room += requests;
  }

  close(): void {
    if (this.users > 0) throw misuse('a shared receive queue is closed while queue pairs use it');
    if (!this.#isOpen) return;
    this.handle.close();
    this.#isOpen = false;
    this.domain.users--;
  }
}
