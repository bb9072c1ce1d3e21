/** Receives of a queue pair, its own or those of a shared receive queue. */

import { checkParts, misuse } from '../misuse.js';
import {
  CompletionFlag,
  type CompletionOpcode,
  CompletionStatus,
  type ReceiveRequest,
  type WorkCompletion,
} from '../work.js';
import { receiveFault } from './check.js';
import type { NativeCompletionQueue, RoomOwner } from './completion-queue.js';
import { WcFlag } from './constants.js';
import { postReceivesLater } from './pending-receives.js';
import { ReceiveBatch } from './records.js';
import type { NativeSharedReceiveQueue } from './shared-receive-queue.js';
import { BATCH, ERRNO_UNIT, type WorkHost } from './work-host.js';
import { WorkRing } from './work-ring.js';

export class ReceiveQueue implements RoomOwner {
  readonly completions: NativeCompletionQueue;
  readonly capacity: number;
  readonly shared: NativeSharedReceiveQueue | null;
  readonly batch: ReceiveBatch;
  readonly #host: WorkHost;
  readonly #maxSges: number;
  /** Of its own. */
  readonly #ring: WorkRing | null;

  constructor(
    host: WorkHost,
    completions: NativeCompletionQueue,
    shared: NativeSharedReceiveQueue | null,
    capacity: number,
    maxSges: number,
  ) {
    this.completions = completions;
    this.capacity = shared?.capacity ?? capacity;
    this.shared = shared;
    this.batch = new ReceiveBatch(Math.min(BATCH, capacity), maxSges);
    this.#host = host;
    this.#maxSges = maxSges;
    this.#ring = shared === null ? new WorkRing(capacity) : null;
  }

  giveRoomBack(requests: number): void {
    this.#ring!.room += requests;
  }

  /** Of its own, what the device has. */
  get atDevice(): number {
    return this.#ring?.atDevice ?? 0;
  }

  /** One that is held stays here. @throws RiserError `RDMA_MISUSE` */
  post(request: ReceiveRequest, isHeld: boolean): void {
    const ring = this.#ring;
    if (ring === null) throw misuse('this queue pair takes its receives from a shared receive queue');
    checkParts(request.sges, this.#maxSges);
    if (ring.room === 0) throw misuse('the receive queue is full: poll completions before posting more');
    ring.room--;
    const fault = isHeld ? 0 : receiveFault(this.#host.domain, request);
    const number = ring.push(request.id, true, 0, 0, fault, isHeld);
    if (isHeld) return;
    // One call for all of this turn; before anything is sent, for the receiver may be in this process.
    if (this.batch.count === 0) postReceivesLater(this);
    this.batch.add(number, this.#host.key * 2 + 1, request);
    if (this.batch.isFull) this.flush();
  }

  /** To the device, with what is in the batch. */
  flush(): void {
    const { batch } = this;
    const { count } = batch;
    if (count === 0) return;
    const result = this.#host.handle.postReceives(count);
    batch.count = 0;
    const posted = result % ERRNO_UNIT;
    if (posted === count) return;
    this.#ring!.refused(count - posted);
    this.#host.hold();
  }

  /** What is in the batch does not go to the device any more. */
  forgetBatch(): void {
    this.#ring?.takeBack(this.batch.count);
    this.batch.count = 0;
  }

  /** `words`: of a record, as native/completion_queue.cc has them. */
  completed(words: Uint32Array, from: number, record: WorkCompletion, queue: NativeCompletionQueue): boolean {
    const number = words[from]!;
    const { shared } = this;
    const ring = this.#ring;
    let fault: number;
    if (ring === null) {
      if (number >= shared!.capacity) return false;
      fault = shared!.faults[number]!;
      record.id = shared!.ids[number]!;
      shared!.release(number);
      queue.owner = shared;
      queue.requests = 1;
    } else {
      if (!ring.hasAtDevice(number)) return false;
      const at = ring.at(number);
      fault = ring.faults[at]!;
      record.id = ring.ids[at]!;
      queue.owner = this;
      queue.requests = ring.complete(number);
      if (ring.atDevice === 0) this.#host.drained();
    }
    const status = statusOf(words[from + 2] as CompletionStatus, fault as CompletionStatus);
    if (status !== CompletionStatus.SUCCESS) this.#host.failed(status);
    const flags = words[from + 4]!;
    const hasImmediate = (flags & WcFlag.WITH_IMMEDIATE) !== 0;
    const hasInvalidated = (flags & WcFlag.WITH_INVALIDATE) !== 0;
    record.status = status;
    record.opcode = words[from + 3] as CompletionOpcode;
    record.flags =
      (hasImmediate ? CompletionFlag.WITH_IMMEDIATE : 0) |
      (hasInvalidated ? CompletionFlag.WITH_INVALIDATE : 0);
    record.byteLength = words[from + 5]!;
    record.queuePairNumber = this.#host.number;
    record.immediate = hasImmediate ? words[from + 7]! : 0;
    record.invalidatedKey = hasInvalidated ? words[from + 7]! : 0;
    return true;
  }

  /** Complete what the device never had, or does not complete itself. */
  flushHeld(): void {
    const ring = this.#ring;
    if (ring === null) return;
    while (ring.outstanding > 0) {
      const at = ring.at(ring.oldest);
      const requests = ring.complete(ring.oldest);
      this.completions.push(this, requests, this.#host.number, ring.ids[at]!, CompletionStatus.FLUSH_ERROR);
    }
  }
}

function statusOf(status: CompletionStatus, fault: CompletionStatus): CompletionStatus {
  if (status === CompletionStatus.SUCCESS) return status;
  if (fault !== CompletionStatus.SUCCESS && status !== CompletionStatus.FLUSH_ERROR) return fault;
  // rdma_rxe and siw have other names for a message that is too long.
  const isTooLong =
    status === CompletionStatus.LOCAL_QP_OPERATION_ERROR || status === CompletionStatus.GENERAL_ERROR;
  return isTooLong ? CompletionStatus.LOCAL_LENGTH_ERROR : status;
}
