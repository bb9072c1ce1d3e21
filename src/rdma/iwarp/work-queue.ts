/** What is posted and not over yet: rings of records that are used again. */

import { ScatterList } from '../../util/memory.js';
import { AccessFlag } from '../verbs.js';
import {
  CompletionStatus,
  type ReceiveRequest,
  type SendRequest,
  SendOpcode,
  type SgeList,
} from '../work.js';
import type { RoomOwner } from './completion-queue.js';
import type { IwarpMemoryRegion, IwarpMemoryWindow, IwarpProtectionDomain } from './protection-domain.js';
import { misuse } from './misuse.js';
import type { Message } from './message.js';

/** Registered memory that work moves data from or to. */
export class WorkMemory {
  readonly list = new ScatterList();
  readonly #regions: IwarpMemoryRegion[] = [];
  #isInBounds = true;

  set(sges: SgeList): void {
    this.list.clear();
    this.#isInBounds = true;
    for (let i = 0; i < sges.count; i++) {
      const region = sges.regions[i] as IwarpMemoryRegion;
      const offset = sges.offsets[i]!;
      const length = sges.lengths[i]!;
      this.#regions[i] = region;
      if (!(offset >= 0 && length >= 0 && offset + length <= region.memory.length)) this.#isInBounds = false;
      this.list.add(region.memory, offset, length);
    }
  }

  /** Whether it may still be used, by `domain`, to write to or only to read from. */
  isUsable(domain: IwarpProtectionDomain, writes: boolean): boolean {
    if (!this.#isInBounds) return false;
    for (let i = 0; i < this.list.count; i++) {
      const region = this.#regions[i]!;
      if (!region.isRegistered || region.domain !== domain) return false;
      if (writes && (region.access & AccessFlag.LOCAL_WRITE) === 0) return false;
    }
    return true;
  }
}

/** A posted send request. */
export class SendWork {
  readonly memory = new WorkMemory();
  id = 0;
  opcode: SendOpcode = SendOpcode.SEND;
  flags = 0;
  remoteAddressHigh = 0;
  remoteAddressLow = 0;
  remoteKey = 0;
  immediate = 0;
  invalidateKey = 0;
  compare = 0n;
  operand = 0n;
  window: IwarpMemoryWindow | null = null;
  bindRegion: IwarpMemoryRegion | null = null;
  bindOffset = 0;
  bindLength = 0;
  bindAccess = 0;
  /** The window's key once it is bound. */
  bindKey = 0;
  /** It is over; `status` says how. */
  isDone = false;
  status: CompletionStatus = CompletionStatus.SUCCESS;
  /** All of it has left; for an RDMA Read or an atomic, its response has come. */
  isSent = false;
  isAnswered = false;
  /** What puts it on the wire. */
  readonly message: Message;
  /** For an RDMA Read: the key by which the response comes, and the bytes that have come. For an atomic: its identifier. */
  sinkKey = 0;
  received = 0;

  constructor(makeMessage: (work: SendWork) => Message) {
    this.message = makeMessage(this);
  }

  set(request: SendRequest): void {
    this.memory.set(request.sges);
    this.id = request.id;
    this.opcode = request.opcode;
    this.flags = request.flags;
    this.remoteAddressHigh = request.remoteAddressHigh;
    this.remoteAddressLow = request.remoteAddressLow;
    this.remoteKey = request.remoteKey;
    this.immediate = request.immediate;
    this.invalidateKey = request.invalidateKey;
    this.compare = request.compare;
    this.operand = request.operand;
    this.window = request.window as IwarpMemoryWindow | null;
    this.bindRegion = request.bindRegion as IwarpMemoryRegion | null;
    this.bindOffset = request.bindOffset;
    this.bindLength = request.bindLength;
    this.bindAccess = request.bindAccess;
    this.bindKey = this.window?.remoteKey ?? 0;
    this.isDone = false;
    this.isSent = false;
    this.isAnswered = false;
    this.status = CompletionStatus.SUCCESS;
    this.received = 0;
  }
}

/**
 * A send queue: work from `oldest` to `next` is under way, from there on it waits. The record that was used last is used
 * next: it is in the processor's cache still, where all that a queue may have at most would not be.
 */
export class SendRing implements RoomOwner {
  readonly #slots: (SendWork | null)[];
  readonly #spare: SendWork[] = [];
  readonly #makeMessage: (work: SendWork) => Message;
  readonly #capacity: number;
  #first = 0;
  #count = 0;
  #begun = 0;
  room: number;

  constructor(capacity: number, makeMessage: (work: SendWork) => Message) {
    this.#capacity = capacity;
    this.#slots = new Array<SendWork | null>(capacity).fill(null);
    this.room = capacity;
    this.#makeMessage = makeMessage;
  }

  /** The slot of a new request; the caller fills it in. */
  post(): SendWork {
    if (this.room === 0) throw misuse('the send queue is full: poll completions before posting more');
    this.room--;
    const work = this.#spare.pop() ?? new SendWork(this.#makeMessage);
    this.#slots[(this.#first + this.#count++) % this.#capacity] = work;
    return work;
  }

  /** The first that has not begun; null when all have. */
  get next(): SendWork | null {
    return this.#begun === this.#count ? null : this.#slots[(this.#first + this.#begun) % this.#capacity]!;
  }

  /** What {@link next} is has begun. */
  advance(): void {
    this.#begun++;
  }

  /** The oldest that is not taken away; null when there is none. */
  get oldest(): SendWork | null {
    return this.#count === 0 ? null : this.#slots[this.#first]!;
  }

  /** Take the oldest away: its record may be used again from the next {@link post} on. Its room comes back when its completion is polled. */
  shift(): void {
    this.#spare.push(this.#slots[this.#first]!);
    this.#slots[this.#first] = null;
    this.#first = this.#first + 1 === this.#capacity ? 0 : this.#first + 1;
    this.#count--;
    if (this.#begun > 0) this.#begun--;
  }

  giveRoomBack(requests: number): void {
    this.room += requests;
  }
}

/** A posted receive. */
export class ReceiveWork {
  readonly memory = new WorkMemory();
  id = 0;

  set(request: ReceiveRequest): void {
    this.memory.set(request.sges);
    this.id = request.id;
  }
}

/** A receive queue, of one queue pair or shared. Records are used again as those of a {@link SendRing}. */
export class ReceiveRing implements RoomOwner {
  readonly #slots: (ReceiveWork | null)[];
  readonly #spare: ReceiveWork[] = [];
  readonly #capacity: number;
  #first = 0;
  #count = 0;
  room: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#slots = new Array<ReceiveWork | null>(capacity).fill(null);
    this.room = capacity;
  }

  post(request: ReceiveRequest): void {
    if (this.room === 0) throw misuse('the receive queue is full: poll completions before posting more');
    this.room--;
    const work = this.#spare.pop() ?? new ReceiveWork();
    work.set(request);
    this.#slots[(this.#first + this.#count++) % this.#capacity] = work;
  }

  /** The oldest, for which the caller leaves a `spare` one. Null, and nothing is left, when none is posted. */
  take(spare: ReceiveWork): ReceiveWork | null {
    if (this.#count === 0) return null;
    const work = this.#slots[this.#first]!;
    this.#slots[this.#first] = null;
    this.#spare.push(spare);
    this.#first = this.#first + 1 === this.#capacity ? 0 : this.#first + 1;
    this.#count--;
    return work;
  }

  giveRoomBack(requests: number): void {
    this.room += requests;
  }
}
