/** Queue pairs of a device: two queues, and the end of a connection, which is the same on all devices. */

import { RiserError } from '../../util/errors.js';
import { misuse } from '../misuse.js';
import type { Notified } from '../notifier.js';
import { type ConnectionEvents, type QueuePair, type QueuePairOptions, QueuePairState } from '../verbs.js';
import { CompletionStatus, type ReceiveRequest, type SendRequest } from '../work.js';
import { sendFault } from './check.js';
import type { NativeCompletionQueue, QueueUser } from './completion-queue.js';
import type { NativeDevice } from './device.js';
import { nativeError } from './errors.js';
import { addon, type NativePairHandle } from './library.js';
import type { NativeProtectionDomain } from './memory.js';
import { ReceiveQueue } from './receive-queue.js';
import { SendQueue } from './send-queue.js';
import type { NativeSharedReceiveQueue } from './shared-receive-queue.js';
import type { WorkHost } from './work-host.js';

/** Milliseconds that the device may take to flush what was posted; what is left then is flushed without it. */
const FLUSH_TIMEOUT = 1000;
/** What the queue pair is a part of. */
export interface QueuePairHost {
  /** The queue pair is in the error state: tell the peer, if it is still there. */
  queuePairEnded(): void;
}

export class NativeQueuePair implements QueuePair, QueueUser, WorkHost, Notified {
  readonly number: number;
  readonly handle: NativePairHandle;
  /** By which its completions and events are known. */
  readonly key: number;
  state: QueuePairState = QueuePairState.INIT;
  /** RDMA Reads and atomics that may be under way; the connection sets it. */
  initiatorDepth = 0;
  /** Set while it is connected, for the device's events. */
  communicationEstablished: (() => void) | null = null;
  readonly device: NativeDevice;
  readonly domain: NativeProtectionDomain;
  readonly sends: SendQueue;
  readonly receives: ReceiveQueue;
  readonly #host: QueuePairHost;
  readonly #events: ConnectionEvents;
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
    const { sendQueue, receiveQueue, sharedReceiveQueue } = options;
    const { maxSendRequests, maxReceiveRequests, maxSges = 1, maxInlineData = 0 } = options;
    this.#host = host;
    this.device = device;
    this.domain = domain;
    this.#events = events;
    this.sends = new SendQueue(
      this,
      sendQueue as NativeCompletionQueue,
      maxSendRequests,
      maxSges,
      maxInlineData,
    );
    this.receives = new ReceiveQueue(
      this,
      receiveQueue as NativeCompletionQueue,
      (sharedReceiveQueue as NativeSharedReceiveQueue | undefined) ?? null,
      maxReceiveRequests,
      maxSges,
    );
    const { sends, receives } = this;
    this.key = device.newKey();
    this.handle = nativeError(
      'a queue pair',
      () =>
        new (addon().QueuePair)(
          domain.handle,
          sends.completions.handle,
          receives.completions.handle,
          receives.shared?.handle ?? null,
          maxSendRequests,
          maxReceiveRequests,
          maxSges,
          this.key,
          sends.batch.buffer,
          receives.batch.buffer,
        ),
    );
    this.number = this.handle.number();
    device.addQueuePair(this);
    domain.users++;
    for (const { completions, capacity } of [sends, receives]) completions.addUser(this, capacity);
    if (receives.shared !== null) receives.shared.users++;
  }

  get sendRoom(): number {
    return this.sends.room;
  }

  /** Sends that the device has, for who looks whether it gets on. */
  get sendsAtDevice(): number {
    return this.sends.atDevice;
  }

  // ---- work ----

  postSend(request: SendRequest): void {
    if (this.#isClosed) throw misuse('the queue pair is closed');
    if (this.state === QueuePairState.INIT) throw misuse('the queue pair is not connected');
    this.sends.check(request);
    let fault: CompletionStatus = CompletionStatus.SUCCESS;
    if (this.#takesSends) {
      fault = sendFault(this.domain, request, this.initiatorDepth > 0);
      if (fault !== CompletionStatus.SUCCESS) this.hold();
    }
    this.sends.post(request, fault, !this.#takesSends);
    if (this.#isOver) this.#flushHeld();
  }

  postReceive(request: ReceiveRequest): void {
    if (this.#isClosed) throw misuse('the queue pair is closed');
    this.receives.post(request, this.#isHolding || this.state === QueuePairState.ERROR);
    if (this.#isOver) this.#flushHeld();
  }

  flush(): void {
    this.receives.flush();
    this.sends.flush();
  }

  get #takesSends(): boolean {
    return this.state === QueuePairState.RTS && !this.#isHolding;
  }

  failed(status: CompletionStatus): void {
    if (!this.#hasFailed) this.#failure = status;
    this.device.notifier.add(this);
  }

  drained(): void {
    if (this.#isWatching) this.device.notifier.add(this);
  }

  /** See what has completed, though nobody has asked. */
  look(): void {
    this.sends.completions.drain();
  }

  /** From now on work may be posted. */
  connected(initiatorDepth: number): void {
    this.initiatorDepth = initiatorDepth;
    if (this.state === QueuePairState.INIT) this.state = QueuePairState.RTS;
  }

  // ---- the end ----

  hold(): void {
    if (this.#isHolding) return;
    this.#isHolding = true;
    this.sends.flush();
    this.#watch();
    this.device.notifier.add(this);
  }

  /** In good order: end when what was posted is done, or {@link abort} says that it takes too long. */
  disconnect(): void {
    this.#endsByItself = true;
    if (this.state !== QueuePairState.ERROR) this.hold();
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
    this.device.notifier.add(this);
  }

  /** By the notifier: something has completed, failed or ended. */
  notify(): void {
    if (this.#isClosed) {
      this.#tell();
      return;
    }
    if (this.state !== QueuePairState.ERROR) {
      const isDone = this.#isHolding && this.sends.atDevice === 0;
      if (!isDone && this.#failure === CompletionStatus.SUCCESS) return;
      this.end(null);
    }
    // A queue that has overrun does not tell any more.
    const isFlushed = this.sends.atDevice === 0 && this.receives.atDevice === 0;
    if (isFlushed || (this.sends.completions.isOverrun && this.receives.completions.isOverrun))
      this.#finish();
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
    this.sends.completions.drain();
    this.receives.completions.drain();
    this.#isClosed = true;
    this.#isOver = true;
    this.#unwatch();
    for (const window of this.device.windows.values()) if (window.queuePairKey === this.key) window.unbind();
    this.handle.close();
    // What the device has completed last is nobody's; a queue's places are given back by that.
    this.sends.completions.drain();
    this.receives.completions.drain();
    this.device.removeQueuePair(this);
    this.domain.users--;
    for (const { completions, capacity } of [this.sends, this.receives])
      completions.removeUser(this, capacity);
    if (this.receives.shared !== null) this.receives.shared.users--;
    if (!this.#isTold) this.device.notifier.add(this);
  }

  /** It has not come into being: nobody is told of its end. */
  discard(): void {
    this.#isTold = true;
    this.close();
  }

  #forgetBatches(): void {
    this.sends.forgetBatch();
    this.receives.forgetBatch();
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

  get isEndOfPeer(): boolean {
    return !this.#endsByItself && this.#failure === CompletionStatus.SUCCESS;
  }

  /** Some work has failed, and was not merely flushed. */
  get #hasFailed(): boolean {
    return this.#failure !== CompletionStatus.SUCCESS && this.#failure !== CompletionStatus.FLUSH_ERROR;
  }

  #watch(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    this.sends.completions.watch();
    this.receives.completions.watch();
  }

  #unwatch(): void {
    if (!this.#isWatching) return;
    this.#isWatching = false;
    this.sends.completions.unwatch();
    this.receives.completions.unwatch();
  }

  /** Complete what the device never had, or does not complete itself. */
  #flushHeld(): void {
    this.sends.flushHeld();
    this.receives.flushHeld();
  }
}

function workError(status: CompletionStatus): RiserError {
  const name = Object.entries(CompletionStatus).find(([, value]) => value === status)?.[0] ?? String(status);
  return new RiserError('RDMA_WORK_FAILED', `work on the connection has failed: ${name}`, {
    by: status >= CompletionStatus.BAD_RESPONSE_ERROR ? 'peer' : 'local',
    costs: 'connection',
  });
}
