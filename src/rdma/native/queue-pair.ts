/** Queue pairs of a device: what is posted goes to it in batches, and the end of a connection is the same on all devices. */

import { RiserError } from '../../util/errors.js';
import { checkParts, checkSend, misuse } from '../misuse.js';
import type { Notified } from '../notifier.js';
import { type ConnectionEvents, type QueuePair, type QueuePairOptions, QueuePairState } from '../verbs.js';
import {
  CompletionFlag,
  COMPLETION_OF,
  type CompletionOpcode,
  CompletionStatus,
  isAtomic,
  type ReceiveRequest,
  SendFlag,
  SendOpcode,
  type SendRequest,
  WorkCompletion,
} from '../work.js';
import { receiveFault, sendFault } from './check.js';
import type { NativeCompletionQueue, QueueUser, Releaser, RoomOwner } from './completion-queue.js';
import { WcFlag, WrFlag } from './constants.js';
import type { NativeDevice } from './device.js';
import { nativeError } from './errors.js';
import { addon, type NativePairHandle } from './library.js';
import type { NativeMemoryWindow, NativeProtectionDomain } from './memory.js';
import { postReceivesLater, postReceivesNow } from './pending-receives.js';
import { ReceiveBatch, SendBatch } from './records.js';
import type { NativeSharedReceiveQueue } from './shared-receive-queue.js';
import { WorkRing } from './work-ring.js';

/** Requests that go to the device with one call. */
const BATCH = 64;
/** Milliseconds that the device may take to flush what was posted; what is left then is flushed without it. */
const FLUSH_TIMEOUT = 1000;
/** The addon's calls that post tell how many were taken, and 65536 times an errno. */
const ERRNO_UNIT = 65_536;

/** What the queue pair is a part of. */
export interface QueuePairHost {
  /** The queue pair is in the error state: tell the peer, if it is still there. */
  queuePairEnded(): void;
}

/** Room of a receive queue, which is not that of the send queue. */
class ReceiveRoom implements RoomOwner {
  readonly ring: WorkRing;
  constructor(ring: WorkRing) {
    this.ring = ring;
  }
  giveRoomBack(requests: number): void {
    this.ring.room += requests;
  }
}

export class NativeQueuePair implements QueuePair, RoomOwner, QueueUser, Releaser, Notified {
  readonly number: number;
  readonly handle: NativePairHandle;
  /** By which its completions and events are known. */
  readonly key: number;
  state: QueuePairState = QueuePairState.INIT;
  /** RDMA Reads and atomics that may be under way; the connection sets it. */
  initiatorDepth = 0;
  /** Set while it is connected, for the device's events. */
  communicationEstablished: (() => void) | null = null;
  readonly #host: QueuePairHost;
  readonly #device: NativeDevice;
  readonly #domain: NativeProtectionDomain;
  readonly #events: ConnectionEvents;
  readonly #sendQueue: NativeCompletionQueue;
  readonly #receiveQueue: NativeCompletionQueue;
  readonly #shared: NativeSharedReceiveQueue | null;
  readonly #maxSges: number;
  readonly #maxInlineData: number;
  readonly #possible: readonly [number, number];
  readonly #sends: WorkRing;
  readonly #receives: WorkRing | null;
  readonly #receiveRoom: ReceiveRoom | null;
  readonly #sendBatch: SendBatch;
  readonly #receiveBatch: ReceiveBatch;
  readonly #released = new WorkCompletion();
  /** Requests that were successful without a completion for the user: their room comes back with the next. */
  #owedRoom = 0;
  /** What is posted does not go to the device any more: it has to end what it has, and then the connection ends. */
  #isHolding = false;
  /** This side has ended the connection: the peer need not have had a reason. */
  #endsByItself = false;
  #isWatching = false;
  #failure: CompletionStatus = CompletionStatus.SUCCESS;
  #error: Error | null = null;
  /** The device has nothing left of what was posted. */
  #isOver = false;
  #isTold = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    host: QueuePairHost,
    domain: NativeProtectionDomain,
    options: QueuePairOptions,
    events: ConnectionEvents,
  ) {
    const { device } = domain;
    const { maxSendRequests, maxReceiveRequests, maxSges = 1, maxInlineData = 0 } = options;
    this.#host = host;
    this.#device = device;
    this.#domain = domain;
    this.#events = events;
    this.#maxSges = maxSges;
    this.#maxInlineData = maxInlineData;
    this.#sendQueue = options.sendQueue as NativeCompletionQueue;
    this.#receiveQueue = options.receiveQueue as NativeCompletionQueue;
    this.#shared = (options.sharedReceiveQueue as NativeSharedReceiveQueue | undefined) ?? null;
    this.#sends = new WorkRing(maxSendRequests);
    this.#receives = this.#shared === null ? new WorkRing(maxReceiveRequests) : null;
    this.#receiveRoom = this.#receives === null ? null : new ReceiveRoom(this.#receives);
    this.#sendBatch = new SendBatch(Math.min(BATCH, maxSendRequests), maxSges);
    this.#receiveBatch = new ReceiveBatch(Math.min(BATCH, maxReceiveRequests), maxSges);
    this.key = device.newKey();
    this.handle = nativeError(
      'a queue pair',
      () =>
        new (addon().QueuePair)(
          domain.handle,
          this.#sendQueue.handle,
          this.#receiveQueue.handle,
          this.#shared?.handle ?? null,
          maxSendRequests,
          maxReceiveRequests,
          maxSges,
          this.key,
          this.#sendBatch.buffer,
          this.#receiveBatch.buffer,
        ),
    );
    this.number = this.handle.number();
    this.#possible = [maxSendRequests, this.#shared?.capacity ?? maxReceiveRequests];
    device.addQueuePair(this);
    domain.users++;
    this.#sendQueue.addUser(this, this.#possible[0]);
    this.#receiveQueue.addUser(this, this.#possible[1]);
    if (this.#shared !== null) this.#shared.users++;
  }

  get sendRoom(): number {
    return this.#sends.room;
  }

  giveRoomBack(requests: number): void {
    this.#sends.room += requests;
  }

  // ---- posting ----

  postSend(request: SendRequest): void {
    if (this.#isClosed) throw misuse('the queue pair is closed');
    if (this.state === QueuePairState.INIT) throw misuse('the queue pair is not connected');
    this.#checkPossible(request);
    const sends = this.#sends;
    if (sends.room === 0) throw misuse('the send queue is full: poll completions before posting more');
    const { id, opcode, flags } = request;
    let fault: CompletionStatus = CompletionStatus.SUCCESS;
    if (this.state === QueuePairState.RTS && !this.#isHolding) {
      fault = sendFault(this.#domain, request, this.initiatorDepth > 0);
      if (fault !== CompletionStatus.SUCCESS) this.#hold();
    }
    const isHeld = this.#isHolding || this.state !== QueuePairState.RTS;
    const isSignaled = (flags & SendFlag.SIGNALED) !== 0;
    sends.room--;
    const number = sends.push(id, isSignaled, opcode, request.sges.length, fault, isHeld);
    if (isHeld) {
      if (this.#isOver) this.#flushHeld();
      return;
    }
    if (opcode === SendOpcode.BIND_WINDOW) (request.window as NativeMemoryWindow).renewKey();
    // Reads are not done before the writes behind them everywhere: each has to say so.
    const wrFlags =
      (isSignaled || (this.#device.isIwarp && opcode === SendOpcode.RDMA_READ) ? WrFlag.SIGNALED : 0) |
      ((flags & SendFlag.FENCE) !== 0 ? WrFlag.FENCE : 0) |
      ((flags & SendFlag.SOLICITED) !== 0 ? WrFlag.SOLICITED : 0);
    this.#sendBatch.add(number, this.key * 2, wrFlags, request);
    if (this.#sendBatch.isFull) this.#postSends();
  }

  postReceive(request: ReceiveRequest): void {
    if (this.#isClosed) throw misuse('the queue pair is closed');
    const receives = this.#receives;
    if (receives === null) throw misuse('this queue pair takes its receives from a shared receive queue');
    checkParts(request.sges, this.#maxSges);
    if (receives.room === 0) throw misuse('the receive queue is full: poll completions before posting more');
    receives.room--;
    const isHeld = this.#isHolding || this.state === QueuePairState.ERROR;
    const fault = isHeld ? 0 : receiveFault(this.#domain, request);
    const number = receives.push(request.id, true, 0, 0, fault, isHeld);
    if (isHeld) {
      if (this.#isOver) this.#flushHeld();
      return;
    }
    // One call for all of this turn; before anything is sent, for the receiver may be in this process.
    if (this.#receiveBatch.count === 0) postReceivesLater(this);
    this.#receiveBatch.add(number, this.key * 2 + 1, request);
    if (this.#receiveBatch.isFull) this.postReceives();
  }

  flush(): void {
    this.postReceives();
    this.#postSends();
  }

  #checkPossible(request: SendRequest): void {
    const { opcode, sges } = request;
    const { attributes } = this.#device;
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
  }

  #postSends(): void {
    const batch = this.#sendBatch;
    const { count } = batch;
    if (count === 0) return;
    // So it is known of each when it is over, even if nobody wants to be told.
    batch.signalLast();
    postReceivesNow();
    const result = this.handle.postSends(count, batch.objects);
    batch.clear();
    const posted = result % ERRNO_UNIT;
    if (posted < count) this.#notTaken(this.#sends, count - posted);
    this.#device.sendsPosted();
  }

  postReceives(): void {
    const batch = this.#receiveBatch;
    const { count } = batch;
    if (count === 0 || this.#isClosed) return;
    const result = this.handle.postReceives(count);
    batch.count = 0;
    const posted = result % ERRNO_UNIT;
    if (posted < count) this.#notTaken(this.#receives!, count - posted);
  }

  /** The device has refused the last `count`. When it has ended the rest, the connection ends. */
  #notTaken(ring: WorkRing, count: number): void {
    ring.takeBack(count);
    // Unless the connection is ending, of which this side will hear, the first was to blame.
    const at = ring.at(ring.nativeEnd);
    ring.faults[at] ||= CompletionStatus.LOCAL_QP_OPERATION_ERROR;
    this.#hold();
  }

  // ---- completions: words of a record, as native/completion_queue.cc has them ----

  sendCompleted(
    words: Uint32Array,
    from: number,
    record: WorkCompletion,
    queue: NativeCompletionQueue,
  ): boolean {
    const sends = this.#sends;
    const number = words[from]!;
    if (!sends.hasAtDevice(number)) return false;
    let status = words[from + 2] as CompletionStatus;
    if (this.#device.isIwarp) {
      // What was written may be done before what was read earlier: that is told in the order of posting.
      sends.setDone(number, status);
      if (!sends.isNextDone(number)) return false;
      if (status === CompletionStatus.FLUSH_ERROR) status = this.#whyFlushed(number);
      if (sends.hasDoneBehind(number)) queue.follow(this);
    }
    return this.#sendDone(number, status, record, queue);
  }

  /** Of a device that does not say: a peer that ends the connection by itself, with a read unanswered, has refused to answer it. */
  #whyFlushed(number: number): CompletionStatus {
    const isRead = this.#sends.opcodes[this.#sends.at(number)] === SendOpcode.RDMA_READ;
    return this.#device.isSiw && isRead && !this.#endsByItself && this.#failure === CompletionStatus.SUCCESS
      ? CompletionStatus.REMOTE_ACCESS_ERROR
      : CompletionStatus.FLUSH_ERROR;
  }

  /** By a completion queue: tell of what was held back, too. */
  releaseNext(queue: NativeCompletionQueue): void {
    const sends = this.#sends;
    for (let number; (number = sends.nextDone) >= 0;) {
      const status = sends.doneStatus(number);
      if (this.#sendDone(number, status, this.#released, queue))
        queue.push(
          this,
          queue.requests,
          this.number,
          this.#released.id,
          status,
          this.#released.opcode,
          this.#released.byteLength,
        );
    }
  }

  #sendDone(
    number: number,
    status: CompletionStatus,
    record: WorkCompletion,
    queue: NativeCompletionQueue,
  ): boolean {
    const sends = this.#sends;
    const at = sends.at(number);
    const requests = sends.complete(number) + this.#owedRoom;
    if (this.#isWatching && sends.atDevice === 0) this.#device.notifier.add(this);
    if (status === CompletionStatus.SUCCESS && sends.areSignaled[at] === 0) {
      this.#owedRoom = requests;
      return false;
    }
    this.#owedRoom = 0;
    if (status !== CompletionStatus.SUCCESS) this.#failed(status);
    record.id = sends.ids[at]!;
    record.status = status;
    record.opcode = COMPLETION_OF[sends.opcodes[at]! as SendOpcode];
    record.flags = 0;
    record.byteLength = sends.lengths[at]!;
    record.queuePairNumber = this.number;
    record.immediate = 0;
    record.invalidatedKey = 0;
    queue.owner = this;
    queue.requests = requests;
    return true;
  }

  receiveCompleted(
    words: Uint32Array,
    from: number,
    record: WorkCompletion,
    queue: NativeCompletionQueue,
  ): boolean {
    const number = words[from]!;
    const ring = this.#receives;
    let fault: number;
    if (ring === null) {
      const shared = this.#shared!;
      if (number >= shared.capacity) return false;
      fault = shared.faults[number]!;
      record.id = shared.ids[number]!;
      shared.release(number);
      queue.owner = shared;
      queue.requests = 1;
    } else {
      if (!ring.hasAtDevice(number)) return false;
      const at = ring.at(number);
      fault = ring.faults[at]!;
      record.id = ring.ids[at]!;
      queue.owner = this.#receiveRoom;
      queue.requests = ring.complete(number);
      if (this.#isWatching && ring.atDevice === 0) this.#device.notifier.add(this);
    }
    let status = words[from + 2] as CompletionStatus;
    if (status !== CompletionStatus.SUCCESS) {
      if (fault !== 0 && status !== CompletionStatus.FLUSH_ERROR) status = fault as CompletionStatus;
      // rdma_rxe and siw have other names for a message that is too long.
      else if (
        status === CompletionStatus.LOCAL_QP_OPERATION_ERROR ||
        status === CompletionStatus.GENERAL_ERROR
      )
        status = CompletionStatus.LOCAL_LENGTH_ERROR;
      this.#failed(status);
    }
    const flags = words[from + 4]!;
    const hasImmediate = (flags & WcFlag.WITH_IMMEDIATE) !== 0;
    const hasInvalidated = (flags & WcFlag.WITH_INVALIDATE) !== 0;
    record.status = status;
    record.opcode = words[from + 3] as CompletionOpcode;
    record.flags =
      (hasImmediate ? CompletionFlag.WITH_IMMEDIATE : 0) |
      (hasInvalidated ? CompletionFlag.WITH_INVALIDATE : 0);
    record.byteLength = words[from + 5]!;
    record.queuePairNumber = this.number;
    record.immediate = hasImmediate ? words[from + 7]! : 0;
    record.invalidatedKey = hasInvalidated ? words[from + 7]! : 0;
    return true;
  }

  #failed(status: CompletionStatus): void {
    if (this.#failure === CompletionStatus.SUCCESS || this.#failure === CompletionStatus.FLUSH_ERROR)
      this.#failure = status;
    this.#device.notifier.add(this);
  }

  /** Sends that the device has, for who looks whether it gets on. */
  get sendsAtDevice(): number {
    return this.#sends.atDevice;
  }

  /** See what has completed, though nobody has asked. */
  look(): void {
    this.#sendQueue.drain();
  }

  /** From now on work may be posted. */
  connected(initiatorDepth: number): void {
    this.initiatorDepth = initiatorDepth;
    if (this.state === QueuePairState.INIT) this.state = QueuePairState.RTS;
  }

  // ---- the end ----

  /** Nothing more goes to the device; when it is done with what it has, the connection ends. */
  #hold(): void {
    if (this.#isHolding) return;
    this.#isHolding = true;
    this.#postSends();
    this.#watch();
    this.#device.notifier.add(this);
  }

  /** In good order: end when what was posted is done, or {@link abort} says that it takes too long. */
  disconnect(): void {
    this.#endsByItself = true;
    if (this.state !== QueuePairState.ERROR) this.#hold();
  }

  abort(error: Error): void {
    this.end(error);
  }

  /** The device tells of a fault that no completion may tell of. */
  faulted(): void {
    this.look();
    this.end(this.#hasFailed ? null : workError(CompletionStatus.FATAL_ERROR));
  }

  /** The peer has ended it, or the way to it: what its work has to say of that comes first. */
  peerEnded(error: Error | null): void {
    this.look();
    this.end(error, false);
  }

  /** To the error state. The rest follows. */
  end(error: Error | null, isByItself = true): void {
    this.#error ??= error;
    if (this.state === QueuePairState.ERROR || this.#isClosed) return;
    this.state = QueuePairState.ERROR;
    this.#forgetBatches();
    this.#watch();
    if (isByItself) this.#endsByItself = true;
    this.handle.fail();
    this.#host.queuePairEnded();
    this.#timer = setTimeout(() => this.#finish(), FLUSH_TIMEOUT);
    this.#device.notifier.add(this);
  }

  /** By the notifier: something has completed, failed or ended. */
  notify(): void {
    if (this.#isClosed) {
      this.#tell();
      return;
    }
    if (this.state !== QueuePairState.ERROR) {
      const isDone = this.#isHolding && this.#sends.atDevice === 0;
      if (!isDone && this.#failure === CompletionStatus.SUCCESS) return;
      this.end(null);
    }
    // A queue that has overrun does not tell any more.
    const isFlushed = this.#sends.atDevice === 0 && (this.#receives?.atDevice ?? 0) === 0;
    if (isFlushed || (this.#sendQueue.isOverrun && this.#receiveQueue.isOverrun)) this.#finish();
  }

  /** End it at once, and let go of everything. */
  close(): void {
    if (this.#isClosed) return;
    const wasOver = this.#isOver;
    clearTimeout(this.#timer);
    if (!wasOver) {
      this.#forgetBatches();
      this.handle.fail();
      this.state = QueuePairState.ERROR;
    }
    this.#sendQueue.drain();
    this.#receiveQueue.drain();
    this.#isClosed = true;
    this.#isOver = true;
    this.#unwatch();
    this.handle.close();
    // What the device has completed last is nobody's; a queue's places are given back by that.
    this.#sendQueue.drain();
    this.#receiveQueue.drain();
    this.#device.removeQueuePair(this);
    this.#domain.users--;
    this.#sendQueue.removeUser(this, this.#possible[0]);
    this.#receiveQueue.removeUser(this, this.#possible[1]);
    if (this.#shared !== null) this.#shared.users--;
    if (!this.#isTold) this.#device.notifier.add(this);
  }

  /** It has not come into being: nobody is told of its end. */
  discard(): void {
    this.#isTold = true;
    this.close();
  }

  #forgetBatches(): void {
    this.#sends.takeBack(this.#sendBatch.count);
    this.#sendBatch.clear();
    this.#receives?.takeBack(this.#receiveBatch.count);
    this.#receiveBatch.count = 0;
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#unwatch();
    this.#flushHeld();
    this.#tell();
  }

  #tell(): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#events.disconnected(this.#error ?? (this.#hasFailed ? workError(this.#failure) : null));
  }

  /** Some work has failed, and was not merely flushed. */
  get #hasFailed(): boolean {
    return this.#failure !== CompletionStatus.SUCCESS && this.#failure !== CompletionStatus.FLUSH_ERROR;
  }

  #watch(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    this.#sendQueue.watch();
    this.#receiveQueue.watch();
  }

  #unwatch(): void {
    if (!this.#isWatching) return;
    this.#isWatching = false;
    this.#sendQueue.unwatch();
    this.#receiveQueue.unwatch();
  }

  /** Complete what the device never had, or does not complete itself. */
  #flushHeld(): void {
    this.#flushRing(this.#sends, this.#sendQueue, this);
    if (this.#receives !== null) this.#flushRing(this.#receives, this.#receiveQueue, this.#receiveRoom!);
  }

  #flushRing(ring: WorkRing, queue: NativeCompletionQueue, owner: RoomOwner): void {
    while (ring.outstanding > 0) {
      const at = ring.at(ring.oldest);
      const isSend = ring === this.#sends;
      const fault = isSend ? ring.faults[at]! : 0;
      const status = fault === 0 ? CompletionStatus.FLUSH_ERROR : (fault as CompletionStatus);
      if (fault !== 0) this.#failed(status);
      let requests = ring.complete(ring.oldest);
      if (isSend) {
        requests += this.#owedRoom;
        this.#owedRoom = 0;
      }
      queue.push(owner, requests, this.number, ring.ids[at]!, status);
    }
  }
}

function workError(status: CompletionStatus): RiserError {
  const name = Object.entries(CompletionStatus).find(([, value]) => value === status)?.[0] ?? String(status);
  return new RiserError('RDMA_WORK_FAILED', `work on the connection has failed: ${name}`, {
    by: status >= CompletionStatus.BAD_RESPONSE_ERROR ? 'peer' : 'local',
    costs: 'connection',
  });
}
