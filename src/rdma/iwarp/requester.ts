/** The active half of a queue pair: what is posted to its send queue becomes messages, and then completions. */

import { CompletionOpcode, CompletionStatus, SendFlag, SendOpcode, type SendRequest } from '../work.js';
import { AccessFlag } from '../verbs.js';
import { ATOMIC_LENGTH, isAtomic, isAtomicNumber, writeAtomicRequest } from './atomics.js';
import type { IwarpCompletionQueue } from './completion-queue.js';
import {
  DdpQueue,
  IMMEDIATE_DATA_HEADER,
  putUntaggedHeader,
  RdmapOpcode,
  READ_REQUEST_HEADER,
  ReadRequestHeader as Header,
  UNTAGGED_HEADER,
} from './headers.js';
import { Message } from './message.js';
import { misuse } from '../misuse.js';
import type { FpduWriter } from './mpa/fpdu-writer.js';
import { type IwarpMemoryWindow, type IwarpProtectionDomain, REMOTE_RIGHTS } from './protection-domain.js';
import { SendRing, type SendWork } from './work-queue.js';
import { putU32 } from '../../util/fields.js';

const COMPLETION_OF: Record<SendOpcode, CompletionOpcode> = {
  [SendOpcode.SEND]: CompletionOpcode.SEND,
  [SendOpcode.SEND_WITH_IMMEDIATE]: CompletionOpcode.SEND,
  [SendOpcode.SEND_WITH_INVALIDATE]: CompletionOpcode.SEND,
  [SendOpcode.RDMA_WRITE]: CompletionOpcode.RDMA_WRITE,
  [SendOpcode.RDMA_WRITE_WITH_IMMEDIATE]: CompletionOpcode.RDMA_WRITE,
  [SendOpcode.RDMA_READ]: CompletionOpcode.RDMA_READ,
  [SendOpcode.ATOMIC_FETCH_ADD]: CompletionOpcode.ATOMIC_FETCH_ADD,
  [SendOpcode.ATOMIC_COMPARE_SWAP]: CompletionOpcode.ATOMIC_COMPARE_SWAP,
  [SendOpcode.BIND_WINDOW]: CompletionOpcode.BIND_WINDOW,
  [SendOpcode.LOCAL_INVALIDATE]: CompletionOpcode.LOCAL_INVALIDATE,
};

/** Whether the peer answers: these share depth, queue and numbers (RFC 7306 5.2). */
function isAnsweredByPeer(opcode: SendOpcode): boolean {
  return opcode === SendOpcode.RDMA_READ || isAtomic(opcode);
}

/** The queue pair that it is half of. */
export interface RequesterHost {
  readonly number: number;
  readonly domain: IwarpProtectionDomain;
  /** A request was wrong: the connection cannot go on. */
  requestFailed(error: Error): void;
}

/** A posted request as it goes on the wire. */
class WorkMessage extends Message {
  readonly #requester: Requester;
  readonly #work: SendWork;

  constructor(requester: Requester, work: SendWork) {
    super();
    this.#requester = requester;
    this.#work = work;
  }

  check(): CompletionStatus {
    const work = this.#work;
    // Of what an answer brings nothing is sent; it is looked at when the data comes.
    if (isAnsweredByPeer(work.opcode)) return CompletionStatus.SUCCESS;
    return this.#requester.check(work);
  }

  protected segment(writer: FpduWriter<Message>): boolean {
    const work = this.#work;
    const { list } = work.memory;
    switch (work.opcode) {
      case SendOpcode.RDMA_WRITE:
        return this.#write(writer, work);
      case SendOpcode.RDMA_WRITE_WITH_IMMEDIATE:
        // A write of nothing is not sent.
        if (this.position < list.length) {
          this.#write(writer, work);
          return false;
        }
        this.#requester.writeImmediateData(writer, work, this);
        return true;
      case SendOpcode.ATOMIC_FETCH_ADD:
      case SendOpcode.ATOMIC_COMPARE_SWAP:
        writeAtomicRequest(writer, work, this.#requester.requestSequenceNumber, this);
        return true;
      case SendOpcode.RDMA_READ:
        this.#requester.writeReadRequest(writer, work, this);
        return true;
      default: {
        const invalidates = work.opcode === SendOpcode.SEND_WITH_INVALIDATE;
        const opcode =
          (invalidates ? RdmapOpcode.SEND_WITH_INVALIDATE : RdmapOpcode.SEND) +
          // The opcodes with solicited event are two above those without (RFC 5040 4.1).
          ((work.flags & SendFlag.SOLICITED) !== 0 ? 2 : 0);
        return this.untagged(
          writer,
          opcode as RdmapOpcode,
          DdpQueue.SEND,
          this.#requester.sendSequenceNumber,
          invalidates ? work.invalidateKey : 0,
          list,
        );
      }
    }
  }

  #write(writer: FpduWriter<Message>, work: SendWork): boolean {
    const { list } = work.memory;
    return this.tagged(
      writer,
      RdmapOpcode.WRITE,
      list,
      0,
      list.length,
      work.remoteKey,
      work.remoteAddressHigh,
      work.remoteAddressLow,
    );
  }

  protected sent(): void {
    this.#requester.sent(this.#work);
  }
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
  /** Reads that wait for their response, oldest first, in a ring. */
  readonly #reads: (SendWork | null)[] = [];
  readonly #maxRequests: number;
  #firstRead = 0;
  #readCount = 0;
  /** Successes without completion since the last completion. */
  #unsignaled = 0;
  /** Work has failed that was posted before all that is left. */
  #isFlushing = false;

  constructor(host: RequesterHost, queue: IwarpCompletionQueue, maxRequests: number, maxSges: number) {
    this.#host = host;
    this.#queue = queue;
    this.#maxSges = maxSges;
    this.#ring = new SendRing(maxRequests, (work) => new WorkMessage(this, work));
    this.#maxRequests = maxRequests;
  }

  get room(): number {
    return this.#ring.room;
  }

  /** @throws RiserError `RDMA_MISUSE` */
  post(request: SendRequest): void {
    if (request.sges.count > this.#maxSges)
      throw misuse(`a request of ${request.sges.count} parts on a queue pair made for ${this.#maxSges}`);
    this.#checkKind(request);
    const work = this.#ring.post();
    if (request.opcode === SendOpcode.BIND_WINDOW) {
      // Known to the caller at once, valid when its turn has come.
      (request.window as IwarpMemoryWindow).remoteKey = this.#host.domain.keys.draw();
    }
    work.set(request);
  }

  #checkKind({ opcode, window, bindRegion, operand, compare }: SendRequest): void {
    switch (opcode) {
      case SendOpcode.SEND:
      case SendOpcode.SEND_WITH_INVALIDATE:
      case SendOpcode.RDMA_WRITE:
      case SendOpcode.RDMA_WRITE_WITH_IMMEDIATE:
      case SendOpcode.RDMA_READ:
      case SendOpcode.LOCAL_INVALIDATE:
        return;
      case SendOpcode.ATOMIC_FETCH_ADD:
      case SendOpcode.ATOMIC_COMPARE_SWAP:
        if (!isAtomicNumber(operand) || !isAtomicNumber(compare))
          throw misuse('an atomic operation with a number outside 0 to 2^64 - 1');
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
    const { domain } = this.#host;
    const { window, bindRegion: region, bindOffset, bindLength, bindAccess } = work;
    const isAllowed =
      window!.domain === domain &&
      !window!.isBound &&
      region!.domain === domain &&
      region!.isRegistered &&
      (region!.access & AccessFlag.WINDOW_BIND) !== 0 &&
      (bindAccess & ~REMOTE_RIGHTS) === 0 &&
      ((bindAccess & ~AccessFlag.REMOTE_READ) === 0 || (region!.access & AccessFlag.LOCAL_WRITE) !== 0) &&
      bindOffset >= 0 &&
      bindLength >= 0 &&
      bindOffset + bindLength <= region!.memory.length;
    if (!isAllowed) return CompletionStatus.WINDOW_BIND_ERROR;
    window!.bind(work.bindKey, this.#host, region!, bindOffset, bindLength, bindAccess);
    work.isDone = true;
    return CompletionStatus.SUCCESS;
  }

  /** RFC 5040 4.4 */
  writeReadRequest(writer: FpduWriter<Message>, work: SendWork, message: Message): void {
    writer.begin(READ_REQUEST_HEADER);
    const bytes = writer.region.bytes;
    const at = writer.offset;
    putUntaggedHeader(
      bytes,
      at,
      RdmapOpcode.READ_REQUEST,
      true,
      DdpQueue.REQUEST,
      this.requestSequenceNumber,
      0,
      0,
    );
    putU32(bytes, at + Header.sinkStag.offset, work.sinkKey);
    putU32(bytes, at + Header.sinkTaggedOffset.offset, 0);
    putU32(bytes, at + Header.sinkTaggedOffset.offset + 4, 0);
    putU32(bytes, at + Header.readMessageSize.offset, work.memory.list.length);
    putU32(bytes, at + Header.sourceStag.offset, work.remoteKey);
    putU32(bytes, at + Header.sourceTaggedOffset.offset, work.remoteAddressHigh);
    putU32(bytes, at + Header.sourceTaggedOffset.offset + 4, work.remoteAddressLow);
    writer.finish(null, 0, 0, message);
  }

  /**
   * RFC 7306 6.3. Of the 8 bytes verbs have the first four, as Chelsio's adapters have it (`imm_data32` in Linux'
   * drivers/infiniband/hw/cxgb4/t4fw_ri_api.h).
   */
  writeImmediateData(writer: FpduWriter<Message>, work: SendWork, message: Message): void {
    writer.begin(IMMEDIATE_DATA_HEADER);
    const { bytes } = writer.region;
    const at = writer.offset;
    const isSolicited = (work.flags & SendFlag.SOLICITED) !== 0;
    const opcode = isSolicited ? RdmapOpcode.IMMEDIATE_DATA_WITH_SOLICITED_EVENT : RdmapOpcode.IMMEDIATE_DATA;
    putUntaggedHeader(bytes, at, opcode, true, DdpQueue.SEND, this.sendSequenceNumber, 0, 0);
    putU32(bytes, at + UNTAGGED_HEADER, work.immediate);
    putU32(bytes, at + UNTAGGED_HEADER + 4, 0);
    writer.finish(null, 0, 0, message);
  }

  /** Whether the memory of a message that has begun may still be sent. */
  check(work: SendWork): CompletionStatus {
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
