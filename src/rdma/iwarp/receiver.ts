/**
 * What arrives on a queue pair: DDP segments are checked, and only then placed; whole messages are delivered
 * (RFC 5041 7.1, RFC 5040 7.2). The first fault ends it: see {@link ReceiverHost.violated}.
 *
 * TCP keeps the order, so that of each queue one message is under way, and the next segment's place is known.
 */

import { getU32 } from '../../util/fields.js';
import { copyBytes, copyMemory, Memory, ScatterList } from '../../util/memory.js';
import { AccessFlag } from '../verbs.js';
import { CompletionFlag, CompletionOpcode, CompletionStatus, isAtomic, SendOpcode } from '../work.js';
import { placeOriginal } from './atomics.js';
import type { IwarpCompletionQueue, RoomOwner } from './completion-queue.js';
import {
  ATOMIC_REQUEST_HEADER,
  ATOMIC_RESPONSE_HEADER,
  AtomicResponseHeader,
  controlOf,
  DDP_VERSION,
  DdpFlag,
  DdpQueue,
  ddpVersionOf,
  IMMEDIATE_DATA_HEADER,
  opcodeOf,
  RDMAP_VERSION,
  RdmapOpcode,
  rdmapVersionOf,
  TAGGED_HEADER,
  TaggedHeader,
  TERMINATE_HEADER,
  TerminateHeader,
  UNTAGGED_HEADER,
  UntaggedHeader,
} from './headers.js';
import { InboundRequests, type RequestHost } from './inbound-requests.js';
import { AccessFault, checkAccess, type Grant } from './keys.js';
import type { MpaError } from './mpa/errors.js';
import type { UlpduHandler, UlpduPlacement } from './mpa/fpdu-reader.js';
import { NOT_PLACING, type Placing } from './placements.js';
import type { Requester } from './requester.js';
import { reasonOf, Terminate, type TerminateReason } from './terminate.js';
import { type ReceiveRing, ReceiveWork } from './work-queue.js';

/** The queue pair behind it. */
export interface ReceiverHost extends RequestHost {
  readonly number: number;
  readonly requester: Requester;
  /** The peer broke a rule; what is quoted of it is in {@link Receiver.header}. `what`: what it sent, in words. */
  violated(reason: TerminateReason, what: string): void;
  /** MPA cannot follow the stream any more. */
  startOfFpduLost(error: MpaError): void;
  /** The peer terminated the connection. */
  terminated(reason: TerminateReason): void;
  /** What else comes of the ULPDU that is being placed goes nowhere. */
  dropPlacement(): void;
  /** All that one read brought has been handled. */
  batchEnded(): void;
}

/** Room for the longest header that is looked at; what a peer's Terminate quotes is not. */
const HEADER_ROOM = ATOMIC_REQUEST_HEADER;
/** A ULPDU begins behind MPA's length field, FPDUs at multiples of 4 as a rule: kept so, a header is copied by words. */
const HEADER_AT = 2;

const TAGGED_FAULT: Record<Exclude<AccessFault, 0>, TerminateReason> = {
  [AccessFault.INVALID_KEY]: Terminate.TAGGED_INVALID_STAG,
  [AccessFault.NOT_ASSOCIATED]: Terminate.TAGGED_NOT_ASSOCIATED,
  [AccessFault.ACCESS]: Terminate.ACCESS,
  [AccessFault.WRAP]: Terminate.TAGGED_WRAP,
  [AccessFault.BOUNDS]: Terminate.TAGGED_BOUNDS,
};

/** All of it is in the DDP header: what comes behind is its payload. */
function isPlainSend(header: Uint8Array): boolean {
  const opcode = opcodeOf(header);
  const isSend = opcode >= RdmapOpcode.SEND && opcode <= RdmapOpcode.SEND_WITH_SOLICITED_EVENT_AND_INVALIDATE;
  return isSend && UntaggedHeader.queueNumber.get(header) === DdpQueue.SEND;
}

function invalidates(opcode: number): boolean {
  return (
    opcode === RdmapOpcode.SEND_WITH_INVALIDATE ||
    opcode === RdmapOpcode.SEND_WITH_SOLICITED_EVENT_AND_INVALIDATE
  );
}

/** The first 16 bits of a segment that is a whole Write, or a whole Send of the first of four kinds. */
const ONLY_WRITE = controlOf(DdpFlag.TAGGED | DdpFlag.LAST, RdmapOpcode.WRITE);
const ONLY_SEND = controlOf(DdpFlag.LAST, RdmapOpcode.SEND);
const SENDS = RdmapOpcode.SEND_WITH_SOLICITED_EVENT_AND_INVALIDATE - RdmapOpcode.SEND;

/** What a Send has begun with holds for all of its segments. */
const NO_MESSAGE = -1;

export class Receiver implements UlpduHandler, UlpduPlacement, Placing {
  readonly #kept = Memory.allocate(HEADER_AT + HEADER_ROOM);
  /** The first bytes of the ULPDU that is handled: its DDP header, and all of RDMAP's where there is more. */
  readonly header = this.#kept.bytes.subarray(HEADER_AT);
  /** Of it, bytes in all. */
  ulpduLength = 0;
  /** {@link UlpduPlacement}: behind so many bytes of header the payload goes there. */
  headerLength = 0;
  readonly list = new ScatterList();
  /** Anything at all. */
  hasReceived = false;
  readonly #host: ReceiverHost;
  readonly #queue: IwarpCompletionQueue;
  readonly #ring: ReceiveRing;
  /** Of a Write that is handled: what its key stood for at first. */
  #grant: Grant | null = null;
  #payload = 0;
  /** Where the payload goes: to this list, so many bytes behind its first. */
  #target: ScatterList | null = null;
  #targetOffset = 0;
  placingIndex: number = NOT_PLACING;

  /** The Send that is being received. */
  readonly #work = new ReceiveWork();
  #sendOpcode = NO_MESSAGE;
  #sendOffset = 0;
  #sendNumber = 1;
  #atomicNumber = 1;
  readonly #requests: InboundRequests;

  constructor(host: ReceiverHost, queue: IwarpCompletionQueue, ring: ReceiveRing) {
    this.#host = host;
    this.#queue = queue;
    this.#ring = ring;
    this.#requests = new InboundRequests(host);
  }

  // ---- UlpduHandler ----

  ulpdu(region: Memory, offset: number, length: number): void {
    if (this.#takeUsual(region, offset, length)) return;
    if (!this.#begin(region, offset, length, length)) return;
    this.#target!.writeFrom(this.#targetOffset, region, offset + this.headerLength, this.#payload);
    this.placed();
  }

  beginPlacement(region: Memory, offset: number, available: number, length: number): UlpduPlacement | null {
    if (!this.#begin(region, offset, available, length)) return null;
    this.list.clear();
    this.list.addFrom(this.#target!, this.#targetOffset, this.#payload);
    this.#host.domain.keys.placements.add(this);
    return this;
  }

  /** The current segment is in its place. */
  placed(): void {
    const { header } = this;
    const isLast = (header[0]! & DdpFlag.LAST) !== 0;
    if (this.placingIndex !== NOT_PLACING) {
      this.#host.domain.keys.placements.remove(this);
      if (!this.#checkRights()) return;
    }
    if ((header[0]! & DdpFlag.TAGGED) === 0) {
      this.#sendOffset += this.#payload;
      if (isLast) this.#deliverSend();
    } else if (opcodeOf(header) === RdmapOpcode.READ_RESPONSE) {
      const { requester } = this.#host;
      requester.oldestRead!.received += this.#payload;
      if (isLast) requester.readAnswered();
    }
  }

  batchEnded(): void {
    this.#host.batchEnded();
  }

  violation(error: MpaError): void {
    this.#host.startOfFpduLost(error);
  }

  // ---- Placing ----

  rightsEnded(): void {
    if (!this.#hasRights) this.#host.dropPlacement();
  }

  /** Whether what the current segment is placed into may still be written to. */
  get #hasRights(): boolean {
    const { header } = this;
    const { domain, requester } = this.#host;
    if ((header[0]! & DdpFlag.TAGGED) === 0) return this.#work.memory.isUsable(domain, true);
    if (opcodeOf(header) === RdmapOpcode.READ_RESPONSE)
      return requester.oldestRead!.memory.isUsable(domain, true);
    return domain.keys.find(TaggedHeader.stag.get(header)) === this.#grant;
  }

  /** All of a segment has come, but rights may have ended meanwhile: then it is not all in its place. */
  #checkRights(): boolean {
    const { header } = this;
    if (this.#hasRights) return true;
    if ((header[0]! & DdpFlag.TAGGED) === 0) return this.#receiveUnusable();
    if (opcodeOf(header) === RdmapOpcode.READ_RESPONSE) return this.#readUnusable();
    return this.#fault(Terminate.TAGGED_INVALID_STAG, 'an RDMA Write that was taken back in its midst');
  }

  #receiveUnusable(): false {
    this.#completeReceive(CompletionStatus.LOCAL_PROTECTION_ERROR);
    return this.#fault(Terminate.STREAM_CATASTROPHIC, 'a Send for which a wrong receive was posted');
  }

  #readUnusable(): false {
    return this.#fault(Terminate.STREAM_CATASTROPHIC, 'a Read Response after its memory was deregistered');
  }

  // ---- what comes as a rule ----

  /**
   * Place a Write or a Send that is one segment and has nothing wrong about it. Everything else is as it was, for {@link #begin}
   * to see what it is: false.
   */
  #takeUsual(region: Memory, offset: number, length: number): boolean {
    if (length <= UNTAGGED_HEADER || this.#sendOpcode !== NO_MESSAGE) return false;
    const control = region.view.getUint16(offset);
    const wasTaken =
      control === ONLY_WRITE
        ? this.#takeWrite(region, offset, length)
        : control >= ONLY_SEND &&
          control <= ONLY_SEND + SENDS &&
          this.#takeSend(control & 0xf, region, offset, length);
    if (wasTaken) this.hasReceived = true;
    return wasTaken;
  }

  #takeWrite(region: Memory, offset: number, length: number): boolean {
    const { view } = region;
    const { domain } = this.#host;
    const grant = domain.keys.find(view.getUint32(offset + TaggedHeader.stag.offset));
    const high = view.getUint32(offset + TaggedHeader.taggedOffset.offset);
    const low = view.getUint32(offset + TaggedHeader.taggedOffset.offset + 4);
    const payload = length - TAGGED_HEADER;
    const fault = checkAccess(grant, domain, this.#host, AccessFlag.REMOTE_WRITE, high, low, payload);
    if (fault !== AccessFault.NONE) return false;
    grant!.list.writeFrom(high * 2 ** 32 + low - grant!.base, region, offset + TAGGED_HEADER, payload);
    return true;
  }

  #takeSend(opcode: number, region: Memory, offset: number, length: number): boolean {
    const { view } = region;
    const { domain } = this.#host;
    const isDue =
      view.getUint32(offset + UntaggedHeader.queueNumber.offset) === DdpQueue.SEND &&
      view.getUint32(offset + UntaggedHeader.messageSequenceNumber.offset) === this.#sendNumber &&
      view.getUint32(offset + UntaggedHeader.messageOffset.offset) === 0;
    if (!isDue) return false;
    const key = invalidates(opcode) ? view.getUint32(offset + UntaggedHeader.invalidateStag.offset) : 0;
    if (invalidates(opcode) && !this.#mayInvalidate(key)) return false;
    const work = this.#work;
    if (!this.#ring.take(work)) return false;
    // From here on it has begun.
    this.#sendOpcode = opcode;
    const { list } = work.memory;
    const payload = length - UNTAGGED_HEADER;
    if (payload > list.length || !work.memory.isUsable(domain, true)) return false;
    list.writeFrom(0, region, offset + UNTAGGED_HEADER, payload);
    this.#sendOffset = payload;
    this.#delivered(key);
    return true;
  }

  #mayInvalidate(key: number): boolean {
    const grant = this.#host.domain.keys.find(key);
    return grant?.queuePair === this.#host && grant.isInvalidable;
  }

  /** All of a Send is in its place: it ends `key`, if that is not 0. */
  #delivered(key: number): void {
    if (key !== 0) this.#host.domain.keys.remove(key);
    this.#sendNumber = (this.#sendNumber + 1) >>> 0;
    this.#completeReceive(CompletionStatus.SUCCESS, key);
  }

  // ---- checks ----

  /**
   * Look at a ULPDU's header: true when a payload is to be placed, where {@link #target} says. Else it was dealt with, or it
   * was a fault.
   */
  #begin(region: Memory, offset: number, available: number, length: number): boolean {
    const { header } = this;
    if ((offset & 3) === HEADER_AT && available >= UNTAGGED_HEADER)
      copyMemory(region, offset - HEADER_AT, this.#kept, 0, HEADER_AT + UNTAGGED_HEADER);
    else this.#keep(region, offset, available, UNTAGGED_HEADER);
    this.ulpduLength = length;
    this.hasReceived = true;
    // An FPDU of nothing is a peer's ready-to-receive message (RFC 6581 9).
    if (length === 0) return false;
    const isTagged = (header[0]! & DdpFlag.TAGGED) !== 0;
    this.headerLength = isTagged ? TAGGED_HEADER : UNTAGGED_HEADER;
    if (length < this.headerLength)
      return this.#fault(Terminate.DDP_CATASTROPHIC, 'a segment shorter than its header');
    if (ddpVersionOf(header) !== DDP_VERSION) {
      const reason = isTagged ? Terminate.TAGGED_VERSION : Terminate.UNTAGGED_VERSION;
      return this.#fault(reason, `DDP version ${ddpVersionOf(header)}`);
    }
    if (rdmapVersionOf(header) !== RDMAP_VERSION)
      return this.#fault(Terminate.RDMAP_VERSION, `RDMAP version ${rdmapVersionOf(header)}`);
    this.#payload = length - this.headerLength;
    if (isTagged) return this.#beginTagged();
    if (!isPlainSend(header)) this.#keep(region, offset, available, HEADER_ROOM);
    return this.#beginUntagged();
  }

  #keep(region: Memory, offset: number, available: number, most: number): void {
    const kept = Math.min(available, most);
    copyBytes(region.bytes, offset, this.header, 0, kept);
    this.header.fill(0, kept);
  }

  #beginTagged(): boolean {
    switch (opcodeOf(this.header)) {
      case RdmapOpcode.WRITE:
        return this.#beginWrite();
      case RdmapOpcode.READ_RESPONSE:
        return this.#beginReadResponse();
      default:
        return this.#fault(
          Terminate.UNEXPECTED_OPCODE,
          `opcode ${opcodeOf(this.header)} in a tagged segment`,
        );
    }
  }

  #beginWrite(): boolean {
    // Nothing is checked of a write of nothing (RFC 5041 7.1).
    if (this.#payload === 0) return false;
    const { header } = this;
    const { domain } = this.#host;
    const grant = domain.keys.find(TaggedHeader.stag.get(header));
    const high = getU32(header, TaggedHeader.taggedOffset.offset);
    const low = getU32(header, TaggedHeader.taggedOffset.offset + 4);
    const fault = checkAccess(grant, domain, this.#host, AccessFlag.REMOTE_WRITE, high, low, this.#payload);
    if (fault !== AccessFault.NONE)
      return this.#fault(TAGGED_FAULT[fault], 'an RDMA Write that is not granted');
    this.#grant = grant;
    this.#target = grant!.list;
    this.#targetOffset = high * 2 ** 32 + low - grant!.base;
    return true;
  }

  #beginReadResponse(): boolean {
    const { header } = this;
    const read = this.#host.requester.oldestRead;
    if (read?.opcode !== SendOpcode.RDMA_READ)
      return this.#fault(Terminate.UNEXPECTED_OPCODE, 'a Read Response that nothing asked for');
    const { list } = read.memory;
    const end = read.received + this.#payload;
    const isLast = (header[0]! & DdpFlag.LAST) !== 0;
    if (list.length > 0) {
      if (TaggedHeader.stag.get(header) !== read.sinkKey)
        return this.#fault(Terminate.TAGGED_INVALID_STAG, 'a Read Response for other memory than was named');
      if (TaggedHeader.taggedOffset.get(header) !== read.received || end > list.length)
        return this.#fault(Terminate.TAGGED_BOUNDS, 'a Read Response for other bytes than were asked for');
    }
    if (end > list.length || isLast !== (end === list.length))
      return this.#fault(Terminate.OPERATION, 'a Read Response of another length than was asked for');
    if (!read.memory.isUsable(this.#host.domain, true)) return this.#readUnusable();
    this.#target = list;
    this.#targetOffset = read.received;
    return true;
  }

  #beginUntagged(): boolean {
    switch (UntaggedHeader.queueNumber.get(this.header)) {
      case DdpQueue.SEND:
        return this.#beginSend();
      case DdpQueue.REQUEST:
        this.#requests.handle(this.header, this.ulpduLength);
        return false;
      case DdpQueue.TERMINATE:
        return this.#terminate();
      case DdpQueue.ATOMIC_RESPONSE:
        return this.#atomicResponse();
      default:
        return this.#fault(Terminate.INVALID_QUEUE, 'a message for a queue that does not exist');
    }
  }

  #beginSend(): boolean {
    const { header } = this;
    const opcode = opcodeOf(header);
    const isImmediate =
      opcode === RdmapOpcode.IMMEDIATE_DATA || opcode === RdmapOpcode.IMMEDIATE_DATA_WITH_SOLICITED_EVENT;
    const isSend =
      opcode >= RdmapOpcode.SEND && opcode <= RdmapOpcode.SEND_WITH_SOLICITED_EVENT_AND_INVALIDATE;
    if (!isSend && !isImmediate)
      return this.#fault(Terminate.UNEXPECTED_OPCODE, `opcode ${opcode} in the queue of Sends`);
    if (UntaggedHeader.messageSequenceNumber.get(header) !== this.#sendNumber)
      return this.#fault(Terminate.INVALID_MSN, 'a Send out of sequence');
    if (UntaggedHeader.messageOffset.get(header) !== this.#sendOffset)
      return this.#fault(Terminate.INVALID_MO, 'a segment of a Send that does not follow the one before');
    if (this.#sendOpcode === NO_MESSAGE) {
      if (!this.#ring.take(this.#work))
        return this.#fault(Terminate.NO_BUFFER, 'a Send for which no receive was posted');
      this.#sendOpcode = opcode;
    } else if (opcode !== this.#sendOpcode)
      return this.#fault(Terminate.UNEXPECTED_OPCODE, 'a Send whose opcode changes');
    if (isImmediate) return this.#immediateData();
    const { memory } = this.#work;
    if (!memory.isUsable(this.#host.domain, true)) return this.#receiveUnusable();
    if (this.#sendOffset + this.#payload > memory.list.length) {
      this.#completeReceive(CompletionStatus.LOCAL_LENGTH_ERROR);
      return this.#fault(
        Terminate.MESSAGE_TOO_LONG,
        `a Send longer than the ${memory.list.length} bytes posted for it`,
      );
    }
    this.#target = memory.list;
    this.#targetOffset = this.#sendOffset;
    return true;
  }

  /** RFC 7306 6.3: a receive is used up, its memory is not. */
  #immediateData(): boolean {
    const { header } = this;
    if (this.ulpduLength !== IMMEDIATE_DATA_HEADER || (header[0]! & DdpFlag.LAST) === 0)
      return this.#fault(Terminate.OPERATION, 'immediate data that is not 8 bytes');
    this.#sendNumber = (this.#sendNumber + 1) >>> 0;
    const isSolicited = this.#sendOpcode === RdmapOpcode.IMMEDIATE_DATA_WITH_SOLICITED_EVENT;
    this.#sendOpcode = NO_MESSAGE;
    this.#complete(
      this.#work.id,
      CompletionStatus.SUCCESS,
      CompletionOpcode.RECEIVE_RDMA_WITH_IMMEDIATE,
      0,
      CompletionFlag.WITH_IMMEDIATE,
      getU32(header, UNTAGGED_HEADER),
      isSolicited,
    );
    return false;
  }

  #deliverSend(): void {
    const key = invalidates(this.#sendOpcode) ? UntaggedHeader.invalidateStag.get(this.header) : 0;
    if (invalidates(this.#sendOpcode) && !this.#mayInvalidate(key))
      this.#fault(Terminate.CANNOT_INVALIDATE, 'a Send that invalidates what it must not');
    else this.#delivered(key);
  }

  #completeReceive(status: CompletionStatus, invalidatedKey = 0): void {
    const isSolicited = this.#sendOpcode >= RdmapOpcode.SEND_WITH_SOLICITED_EVENT;
    const flags = invalidatedKey === 0 ? 0 : CompletionFlag.WITH_INVALIDATE;
    const length = this.#sendOffset;
    this.#sendOpcode = NO_MESSAGE;
    this.#sendOffset = 0;
    this.#complete(
      this.#work.id,
      status,
      CompletionOpcode.RECEIVE,
      length,
      flags,
      invalidatedKey,
      isSolicited,
    );
  }

  #complete(
    id: number,
    status: CompletionStatus,
    opcode: CompletionOpcode,
    length: number,
    flags: number,
    datum: number,
    isSolicited: boolean,
  ): void {
    const owner: RoomOwner = this.#ring;
    this.#queue.push(owner, 1, this.#host.number, id, status, opcode, length, flags, datum, isSolicited);
  }

  /** RFC 7306 5.2.2 */
  #atomicResponse(): boolean {
    const { header } = this;
    const { requester, domain } = this.#host;
    const work = requester.oldestRead;
    if (opcodeOf(header) !== RdmapOpcode.ATOMIC_RESPONSE || work === null || !isAtomic(work.opcode))
      return this.#fault(Terminate.UNEXPECTED_OPCODE, 'an Atomic Response that nothing asked for');
    if (UntaggedHeader.messageSequenceNumber.get(header) !== this.#atomicNumber)
      return this.#fault(Terminate.INVALID_MSN, 'an Atomic Response out of sequence');
    if (UntaggedHeader.messageOffset.get(header) !== 0)
      return this.#fault(Terminate.INVALID_MO, 'an Atomic Response in several segments');
    const isWhole = this.ulpduLength === ATOMIC_RESPONSE_HEADER && (header[0]! & DdpFlag.LAST) !== 0;
    if (!isWhole || AtomicResponseHeader.requestIdentifier.get(header) !== work.sinkKey)
      return this.#fault(Terminate.OPERATION, 'an Atomic Response that is none to the request');
    if (!work.memory.isUsable(domain, true)) return this.#readUnusable();
    this.#atomicNumber = (this.#atomicNumber + 1) >>> 0;
    placeOriginal(header, work.memory.list);
    requester.readAnswered();
    return false;
  }

  #terminate(): boolean {
    const { header } = this;
    if (opcodeOf(header) !== RdmapOpcode.TERMINATE)
      return this.#fault(
        Terminate.UNEXPECTED_OPCODE,
        `opcode ${opcodeOf(header)} in the queue of Terminates`,
      );
    const layerAndType = TerminateHeader.layerAndType.get(header);
    const known =
      this.ulpduLength < TERMINATE_HEADER
        ? Terminate.LOCAL_CATASTROPHIC
        : reasonOf(layerAndType >>> 4, layerAndType & 0x0f, TerminateHeader.errorCode.get(header));
    this.#host.terminated(known);
    return false;
  }

  #fault(reason: TerminateReason, what: string): false {
    this.#host.violated(reason, what);
    return false;
  }

  /** The connection is over: what was posted to a receive queue of its own is flushed. */
  flush(isShared: boolean): void {
    if (this.placingIndex !== NOT_PLACING) this.#host.domain.keys.placements.remove(this);
    if (this.#sendOpcode !== NO_MESSAGE) this.#completeReceive(CompletionStatus.FLUSH_ERROR);
    if (isShared) return;
    while (this.#ring.take(this.#work)) {
      this.#complete(this.#work.id, CompletionStatus.FLUSH_ERROR, CompletionOpcode.RECEIVE, 0, 0, 0, false);
    }
  }
}
