/** The active half of a queue pair: what is posted to its send queue becomes messages, and then completions. */

import {
  COMPLETION_OF,
  CompletionStatus,
  isAtomic,
  SendFlag,
  SendOpcode,
  type SendRequest,
} from '../work.js';
import { AccessFlag, type QueuePairOptions } from '../verbs.js';
import { ATOMIC_LENGTH } from './atomics.js';
import type { IwarpCompletionQueue } from './completion-queue.js';
import { DdpQueue, putUntaggedHeader, UNTAGGED_HEADER } from './headers.js';
import type { Message } from './message.js';
import { checkSend, misuse } from '../misuse.js';
import { COPIED, type FpduWriter } from './mpa/fpdu-writer.js';
import {
  type IwarpMemoryRegion,
  type IwarpMemoryWindow,
  type IwarpProtectionDomain,
  REMOTE_RIGHTS,
} from './protection-domain.js';
import { isAnsweredByPeer, sendOpcodeOf, WorkMessage } from './work-message.js';
import { SendRing, type SendWork, WorkMemory } from './work-queue.js';

/** The queue pair that it is half of. */
export interface RequesterHost {
  readonly number: number;
  readonly domain: IwarpProtectionDomain;
  /** A request was wrong: the connection cannot go on. */
  requestFailed(error: Error): void;
}

export class Requester {
  /** MSN of the Send that is being sent (RFC 5041 4.3: counted from 1 in each queue). */
  sendSequenceNumber = 0;
  /** MSN of the Read Request or Atomic Request that is being sent. */
  requestSequenceNumber = 0;
  /** RDMA Reads and atomics that may be outstanding. */
  initiatorDepth = 0;
  readonly #host: RequesterHost;
  readonly #queue: IwarpCompletionQueue;
  readonly #ring: SendRing;
  readonly #maxSges: number;
  readonly #maxInlineData: number;
  /** Of what {@link postNow} sends. */
  readonly #shortMemory = new WorkMemory();
  /** Reads that wait for their response, oldest first, in a ring. */
  readonly #reads: (SendWork | null)[] = [];
  readonly #maxRequests: number;
  #firstRead = 0;
  #readCount = 0;
  /** Successes without completion since the last completion. */
  #unsignaled = 0;
  /** Work has failed that was posted before all that is left. */
  #isFlushing = false;

  constructor(
    host: RequesterHost,
    queue: IwarpCompletionQueue,
    { maxSendRequests, maxSges, maxInlineData }: QueuePairOptions,
  ) {
    this.#host = host;
    this.#queue = queue;
    this.#maxSges = maxSges ?? 1;
    this.#maxInlineData = maxInlineData ?? 0;
    this.#ring = new SendRing(maxSendRequests, (work) => new WorkMessage(this, work));
    this.#maxRequests = maxSendRequests;
  }

  get room(): number {
    return this.#ring.room;
  }

  /** Put a request that was checked into the queue. @throws RiserError `RDMA_MISUSE`: there is no room */
  post(request: SendRequest): void {
    const work = this.#ring.post();
    if (request.opcode === SendOpcode.BIND_WINDOW) {
      // Known to the caller at once, valid when its turn has come.
      (request.window as IwarpMemoryWindow).remoteKey = this.#host.domain.keys.draw();
    }
    work.set(request);
    if ((request.flags & SendFlag.INLINE) !== 0) work.memory.takeIn(this.#host.domain);
  }

  /**
   * What takes no time is done at once, without a record: a Send so short that its FPDU has a copy of it, and a binding. Nothing
   * that was posted before may wait, and no completion is due. False when it has to be posted.
   */
  postNow(request: SendRequest, writer: FpduWriter<Message>): boolean {
    const { opcode, flags } = request;
    if ((flags & (SendFlag.SIGNALED | SendFlag.FENCE)) !== 0 || this.#ring.next !== null) return false;
    switch (opcode) {
      case SendOpcode.SEND:
        return this.#sendNow(request, 0, writer);
      case SendOpcode.SEND_WITH_INVALIDATE:
        return this.#sendNow(request, request.invalidateKey, writer);
      case SendOpcode.BIND_WINDOW:
        return this.#bindNow(request);
      default:
        return false;
    }
  }

  #sendNow({ opcode, flags, sges }: SendRequest, invalidates: number, writer: FpduWriter<Message>): boolean {
    const { length } = sges;
    if (length > COPIED || length > writer.maxUlpdu - UNTAGGED_HEADER || !writer.copiesShort) return false;
    const memory = this.#shortMemory;
    memory.set(sges);
    if (!memory.isUsable(this.#host.domain, false)) return false;
    const number = (this.sendSequenceNumber = (this.sendSequenceNumber + 1) >>> 0);
    writer.begin(UNTAGGED_HEADER);
    const { region, offset } = writer;
    const { SEND } = DdpQueue;
    putUntaggedHeader(region.view, offset, sendOpcodeOf(opcode, flags), true, SEND, number, 0, invalidates);
    writer.finish(memory.list, 0, length, null);
    return true;
  }

  #bindNow({ window, bindRegion, bindOffset, bindLength, bindAccess }: SendRequest): boolean {
    const own = window as IwarpMemoryWindow;
    const region = bindRegion as IwarpMemoryRegion;
    if (!this.#mayBind(own, region, bindOffset, bindLength, bindAccess)) return false;
    own.remoteKey = this.#host.domain.keys.draw();
    own.bind(own.remoteKey, this.#host, region, bindOffset, bindLength, bindAccess);
    return true;
  }

  /** @throws RiserError `RDMA_MISUSE`: nothing like it can be posted */
  check(request: SendRequest): void {
    checkSend(request, this.#maxSges, this.#maxInlineData);
    const { opcode, window, bindRegion } = request;
    switch (opcode) {
      case SendOpcode.SEND:
      case SendOpcode.SEND_WITH_INVALIDATE:
      case SendOpcode.RDMA_WRITE:
      case SendOpcode.RDMA_WRITE_WITH_IMMEDIATE:
      case SendOpcode.RDMA_READ:
      case SendOpcode.ATOMIC_FETCH_ADD:
      case SendOpcode.ATOMIC_COMPARE_SWAP:
      case SendOpcode.LOCAL_INVALIDATE:
        return;
      case SendOpcode.BIND_WINDOW:
        if (window === null || bindRegion === null) throw misuse('a binding without window or region');
        return;
      default:
        throw misuse('Sends with immediate data are not among the abilities of this device');
    }
  }

  /** The next message that may leave; null when there is none, or when it has to wait. */
  next(): Message | null {
    for (;;) {
      const work = this.#ring.next;
      if (work === null) return null;
      if ((work.flags & SendFlag.FENCE) !== 0 && this.#readCount > 0) return null;
      if (isAnsweredByPeer(work.opcode) && this.#readCount > 0 && this.#readCount >= this.initiatorDepth)
        return null;
      this.#ring.advance();
      const status = this.#begin(work);
      if (status !== CompletionStatus.SUCCESS) {
        work.status = status;
        work.isDone = true;
        this.retire();
        this.#host.requestFailed(misuse('a work request was wrong; its completion says how'));
        return null;
      }
      if (work.isDone) this.retire();
      else return work.message;
    }
  }

  #begin(work: SendWork): CompletionStatus {
    const { domain } = this.#host;
    switch (work.opcode) {
      case SendOpcode.LOCAL_INVALIDATE: {
        const grant = domain.keys.find(work.invalidateKey);
        if (grant?.domain !== domain || !grant.isInvalidable) return CompletionStatus.LOCAL_PROTECTION_ERROR;
        domain.keys.remove(work.invalidateKey);
        work.isDone = true;
        return CompletionStatus.SUCCESS;
      }
      case SendOpcode.BIND_WINDOW:
        return this.#bind(work);
      case SendOpcode.RDMA_READ:
      case SendOpcode.ATOMIC_FETCH_ADD:
      case SendOpcode.ATOMIC_COMPARE_SWAP:
        if (this.initiatorDepth === 0) return CompletionStatus.LOCAL_QP_OPERATION_ERROR;
        if (!work.memory.isUsable(domain, true)) return CompletionStatus.LOCAL_PROTECTION_ERROR;
        if (isAtomic(work.opcode) && work.memory.list.length !== ATOMIC_LENGTH)
          return CompletionStatus.LOCAL_LENGTH_ERROR;
        work.sinkKey = domain.keys.draw();
        this.requestSequenceNumber = (this.requestSequenceNumber + 1) >>> 0;
        this.#reads[(this.#firstRead + this.#readCount++) % this.#maxRequests] = work;
        return CompletionStatus.SUCCESS;
      default:
        if (!work.memory.isUsable(domain, false)) return CompletionStatus.LOCAL_PROTECTION_ERROR;
        if (work.opcode !== SendOpcode.RDMA_WRITE)
          this.sendSequenceNumber = (this.sendSequenceNumber + 1) >>> 0;
        return CompletionStatus.SUCCESS;
    }
  }

  #bind(work: SendWork): CompletionStatus {
    const { window, bindRegion: region, bindOffset, bindLength, bindAccess } = work;
    if (!this.#mayBind(window!, region!, bindOffset, bindLength, bindAccess))
      return CompletionStatus.WINDOW_BIND_ERROR;
    window!.bind(work.bindKey, this.#host, region!, bindOffset, bindLength, bindAccess);
    work.isDone = true;
    return CompletionStatus.SUCCESS;
  }

  #mayBind(
    window: IwarpMemoryWindow,
    region: IwarpMemoryRegion,
    offset: number,
    length: number,
    access: number,
  ): boolean {
    const { domain } = this.#host;
    return (
      window.domain === domain &&
      !window.isBound &&
      region.domain === domain &&
      region.isRegistered &&
      (region.access & AccessFlag.WINDOW_BIND) !== 0 &&
      (access & ~REMOTE_RIGHTS) === 0 &&
      ((access & ~AccessFlag.REMOTE_READ) === 0 || (region.access & AccessFlag.LOCAL_WRITE) !== 0) &&
      offset >= 0 &&
      length >= 0 &&
      offset + length <= region.memory.length
    );
  }

  /** Whether the memory of a message that has begun may still be sent. */
  checkWork(work: SendWork): CompletionStatus {
    return work.memory.isUsable(this.#host.domain, false)
      ? CompletionStatus.SUCCESS
      : CompletionStatus.LOCAL_PROTECTION_ERROR;
  }

  /** All FPDUs of it have left. */
  sent(work: SendWork): void {
    work.isSent = true;
    if (isAnsweredByPeer(work.opcode) && !work.isAnswered) return;
    work.isDone = true;
    this.retire();
  }

  /** The RDMA Read or atomic whose response is due; null when none is. */
  get oldestRead(): SendWork | null {
    return this.#readCount === 0 ? null : this.#reads[this.#firstRead]!;
  }

  /** The response to the oldest read is complete. */
  readAnswered(): void {
    const work = this.#reads[this.#firstRead]!;
    this.#reads[this.#firstRead] = null;
    this.#firstRead = this.#firstRead + 1 === this.#maxRequests ? 0 : this.#firstRead + 1;
    this.#readCount--;
    work.isAnswered = true;
    // A stream that is Node's tells late that bytes have left: later than the answer to them may come.
    if (!work.isSent) return;
    work.isDone = true;
    this.retire();
  }

  /** Complete what is over, in the order in which it was posted (RFC 5040 5.5, rule 15). */
  retire(): void {
    for (let work = this.#ring.oldest; work?.isDone === true; work = this.#ring.oldest) {
      this.#ring.shift();
      // It has left, but what was posted before it failed: no success follows that.
      if (this.#isFlushing && work.status === CompletionStatus.SUCCESS)
        work.status = CompletionStatus.FLUSH_ERROR;
      if (work.status === CompletionStatus.SUCCESS && (work.flags & SendFlag.SIGNALED) === 0)
        this.#unsignaled++;
      else this.#complete(work);
    }
  }

  #complete(work: SendWork): void {
    const requests = this.#unsignaled + 1;
    this.#unsignaled = 0;
    const opcode = COMPLETION_OF[work.opcode];
    const length = work.memory.list.length;
    this.#queue.push(
      this.#ring,
      requests,
      this.#host.number,
      work.id,
      work.status,
      opcode,
      length,
      0,
      0,
      false,
    );
  }

  /**
   * The connection is over, and nothing of it is in the stream's queue any more: complete all that is posted. The
   * oldest that had begun and was not done gets `status`, all behind it are flushed.
   */
  flush(status: CompletionStatus): void {
    this.#readCount = 0;
    this.#reads.fill(null);
    let isFirst = true;
    for (let work = this.#ring.oldest; work !== null; work = this.#ring.oldest) {
      if (!work.isDone) {
        work.status = isFirst && this.#ring.next !== work ? status : CompletionStatus.FLUSH_ERROR;
        work.isDone = true;
        isFirst = false;
        this.#isFlushing = true;
      }
      this.retire();
    }
  }
}
