/** Sends of a queue pair: they go to the device in batches, and complete in the order of posting on all devices. */

import { checkSend, misuse } from '../misuse.js';
import {
  COMPLETION_OF,
  CompletionStatus,
  isAtomic,
  SendFlag,
  SendOpcode,
  type SendRequest,
  WorkCompletion,
} from '../work.js';
import type { NativeCompletionQueue, Releaser, RoomOwner } from './completion-queue.js';
import { WrFlag } from './constants.js';
import type { NativeMemoryWindow } from './memory.js';
import { postReceivesNow } from './pending-receives.js';
import { SendBatch } from './records.js';
import { BATCH, ERRNO_UNIT, type WorkHost } from './work-host.js';
import { WorkRing } from './work-ring.js';

export class SendQueue implements RoomOwner, Releaser {
  readonly completions: NativeCompletionQueue;
  readonly capacity: number;
  readonly batch: SendBatch;
  readonly #host: WorkHost;
  readonly #maxSges: number;
  readonly #maxInlineData: number;
  readonly #ring: WorkRing;
  readonly #released = new WorkCompletion();
  /** Requests that were successful without a completion for the user: their room comes back with the next. */
  #owedRoom = 0;

  constructor(
    host: WorkHost,
    completions: NativeCompletionQueue,
    capacity: number,
    maxSges: number,
    maxInlineData: number,
  ) {
    this.completions = completions;
    this.capacity = capacity;
    this.batch = new SendBatch(Math.min(BATCH, capacity), maxSges);
    this.#host = host;
    this.#maxSges = maxSges;
    this.#maxInlineData = maxInlineData;
    this.#ring = new WorkRing(capacity);
  }

  get room(): number {
    return this.#ring.room;
  }

  giveRoomBack(requests: number): void {
    this.#ring.room += requests;
  }

  /** Of those that are not over, what the device has. */
  get atDevice(): number {
    return this.#ring.atDevice;
  }

  // ---- posting ----

  /** @throws RiserError `RDMA_MISUSE` */
  check(request: SendRequest): void {
    const { opcode, sges } = request;
    const { attributes } = this.#host.device;
    checkSend(request, this.#maxSges, this.#maxInlineData);
    if (opcode === SendOpcode.RDMA_READ && sges.count > attributes.maxReadSges)
      throw misuse(`an RDMA Read of ${sges.count} parts, where the device takes ${attributes.maxReadSges}`);
    const isMissing =
      (opcode === SendOpcode.SEND_WITH_IMMEDIATE && !attributes.hasSendWithImmediate) ||
      (opcode === SendOpcode.RDMA_WRITE_WITH_IMMEDIATE && !attributes.hasWriteWithImmediate) ||
      (opcode === SendOpcode.SEND_WITH_INVALIDATE && !attributes.hasSendWithInvalidate) ||
      (opcode === SendOpcode.BIND_WINDOW && !attributes.hasMemoryWindows) ||
      (isAtomic(opcode) && !attributes.hasAtomics);
    if (isMissing) throw misuse('the device does not have this operation');
    if (this.#ring.room === 0) throw misuse('the send queue is full: poll completions before posting more');
  }

  /** What was checked; `fault`: how it is going to end, SUCCESS if it may not fail. One that is held stays here. */
  post(request: SendRequest, fault: CompletionStatus, isHeld: boolean): void {
    const { id, opcode, flags } = request;
    const { device, key } = this.#host;
    const isSignaled = (flags & SendFlag.SIGNALED) !== 0;
    this.#ring.room--;
    const number = this.#ring.push(id, isSignaled, opcode, request.sges.length, fault, isHeld);
    if (isHeld) return;
    if (opcode === SendOpcode.BIND_WINDOW) (request.window as NativeMemoryWindow).renewKey(key);
    // Reads are not done before the writes behind them everywhere: each has to say so.
    const wrFlags =
      (isSignaled || (device.isIwarp && opcode === SendOpcode.RDMA_READ) ? WrFlag.SIGNALED : 0) |
      ((flags & SendFlag.FENCE) !== 0 ? WrFlag.FENCE : 0) |
      ((flags & SendFlag.SOLICITED) !== 0 ? WrFlag.SOLICITED : 0);
    this.batch.add(number, key * 2, wrFlags, request);
    if (this.batch.isFull) this.flush();
  }

  /** To the device, with what is in the batch. */
  flush(): void {
    const { batch } = this;
    const { count } = batch;
    if (count === 0) return;
    // So it is known of each when it is over, even if nobody wants to be told.
    batch.signalLast();
    postReceivesNow();
    const result = this.#host.handle.postSends(count, batch.objects);
    batch.clear();
    const posted = result % ERRNO_UNIT;
    if (posted < count) {
      this.#ring.refused(count - posted);
      this.#host.hold();
    }
    this.#host.device.sendsPosted();
  }

  /** What is in the batch does not go to the device any more. */
  forgetBatch(): void {
    this.#ring.takeBack(this.batch.count);
    this.batch.clear();
  }

  // ---- completions: words of a record, as native/completion_queue.cc has them ----

  completed(words: Uint32Array, from: number, record: WorkCompletion, queue: NativeCompletionQueue): boolean {
    const ring = this.#ring;
    const number = words[from]!;
    if (!ring.hasAtDevice(number)) return false;
    let status = words[from + 2] as CompletionStatus;
    if (this.#host.device.isIwarp) {
      // What was written may be done before what was read earlier: that is told in the order of posting.
      ring.setDone(number, status);
      if (!ring.isNextDone(number)) return false;
      if (status === CompletionStatus.FLUSH_ERROR) status = this.#whyFlushed(number);
      if (ring.hasDoneBehind(number)) queue.follow(this);
    }
    return this.#done(number, status, record, queue);
  }

  /** Of a device that does not say: a peer that ends the connection by itself, with a read unanswered, has refused to answer it. */
  #whyFlushed(number: number): CompletionStatus {
    const isRead = this.#ring.opcodes[this.#ring.at(number)] === SendOpcode.RDMA_READ;
    return this.#host.device.isSiw && isRead && this.#host.isEndOfPeer
      ? CompletionStatus.REMOTE_ACCESS_ERROR
      : CompletionStatus.FLUSH_ERROR;
  }

  /** By a completion queue: tell of what was held back, too. */
  releaseNext(queue: NativeCompletionQueue): void {
    const ring = this.#ring;
    const record = this.#released;
    for (let number; (number = ring.nextDone) >= 0;) {
      const status = ring.doneStatus(number);
      if (this.#done(number, status, record, queue))
        queue.push(
          this,
          queue.requests,
          this.#host.number,
          record.id,
          status,
          record.opcode,
          record.byteLength,
        );
    }
  }

  #done(
    number: number,
    status: CompletionStatus,
    record: WorkCompletion,
    queue: NativeCompletionQueue,
  ): boolean {
    const ring = this.#ring;
    const at = ring.at(number);
    const requests = ring.complete(number) + this.#owedRoom;
    if (ring.atDevice === 0) this.#host.drained();
    if (status === CompletionStatus.SUCCESS && ring.areSignaled[at] === 0) {
      this.#owedRoom = requests;
      return false;
    }
    this.#owedRoom = 0;
    if (status !== CompletionStatus.SUCCESS) this.#host.failed(status);
    record.id = ring.ids[at]!;
    record.status = status;
    record.opcode = COMPLETION_OF[ring.opcodes[at]! as SendOpcode];
    record.flags = 0;
    record.byteLength = ring.lengths[at]!;
    record.queuePairNumber = this.#host.number;
    record.immediate = 0;
    record.invalidatedKey = 0;
    queue.owner = this;
    queue.requests = requests;
    return true;
  }

  /** Complete what the device never had, or does not complete itself. */
  flushHeld(): void {
    const ring = this.#ring;
    while (ring.outstanding > 0) {
      const at = ring.at(ring.oldest);
      const fault = ring.faults[at]! as CompletionStatus;
      const status = fault === CompletionStatus.SUCCESS ? CompletionStatus.FLUSH_ERROR : fault;
      if (fault !== CompletionStatus.SUCCESS) this.#host.failed(status);
      const requests = ring.complete(ring.oldest) + this.#owedRoom;
      this.#owedRoom = 0;
      this.completions.push(this, requests, this.#host.number, ring.ids[at]!, status);
    }
  }
}
