/** What is posted and not over yet: rings of records that are used again. */

import { Memory, ScatterList } from '../../util/memory.js';
import { AccessFlag, type MemoryRegion } from '../verbs.js';
import { CompletionStatus, type ReceiveRequest, type SendRequest, SendOpcode, SgeList } from '../work.js';
import type { RoomOwner } from './completion-queue.js';
import type { IwarpMemoryRegion, IwarpMemoryWindow, IwarpProtectionDomain } from './protection-domain.js';
import { misuse } from '../misuse.js';
import type { Message } from './message.js';
import { COPIED } from './mpa/fpdu-writer.js';

/** Registered memory that work moves data from or to. */
export class WorkMemory {
  readonly list = new ScatterList();
  readonly #regions: IwarpMemoryRegion[] = [];
  #isInBounds = true;
  /** The list is of {@link #copy}. */
  #isCopy = false;
  /** For inline data that waits to be sent. */
  #copy: Memory | null = null;

  set(sges: SgeList): void {
    this.clear();
    for (let i = 0; i < sges.count; i++) this.add(sges.regions[i]!, sges.offsets[i]!, sges.lengths[i]!);
  }

  /** Copy what is there, if `domain` may use it: from then on it is this that is sent. */
  takeIn(domain: IwarpProtectionDomain): void {
    if (!this.isUsable(domain, false)) return;
    const { length } = this.list;
    const copy = (this.#copy ??= Memory.allocate(COPIED));
    this.list.readTo(0, copy, 0, length);
    this.list.clear();
    this.list.add(copy, 0, length);
    this.#isCopy = true;
  }

  clear(): void {
    this.list.clear();
    this.#isInBounds = true;
    this.#isCopy = false;
  }

  /** `length`: not 0. */
  add(region: MemoryRegion, offset: number, length: number): void {
    const { memory } = (this.#regions[this.list.count] = region as IwarpMemoryRegion);
    if (!(offset >= 0 && length >= 0 && offset + length <= memory.length)) this.#isInBounds = false;
    this.list.add(memory, offset, length);
  }

  /** Whether it may still be used, by `domain`, to write to or only to read from. */
  isUsable(domain: IwarpProtectionDomain, writes: boolean): boolean {
    if (!this.#isInBounds) return false;
    if (this.#isCopy) return true;
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

/** A posted receive, when its turn has come. */
export class ReceiveWork {
  readonly memory = new WorkMemory();
  id = 0;
}

/**
 * A receive queue, of one queue pair or shared. As many as may ever come are posted, and all of them take their turn: so each is a
 * few numbers, one behind the other, and no record of its own, which would have left the processor's cache meanwhile.
 */
export class ReceiveRing implements RoomOwner {
  readonly #capacity: number;
  readonly #ids: Float64Array;
  /** The first part of each, null for a receive of nothing. */
  readonly #regions: (MemoryRegion | null)[];
  readonly #offsets: Float64Array;
  readonly #lengths: Float64Array;
  /** All parts of those that have more than one. */
  readonly #lists: (SgeList | null)[];
  #first = 0;
  #count = 0;
  room: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#ids = new Float64Array(capacity);
    this.#regions = new Array<MemoryRegion | null>(capacity).fill(null);
    this.#offsets = new Float64Array(capacity);
    this.#lengths = new Float64Array(capacity);
    this.#lists = new Array<SgeList | null>(capacity).fill(null);
    this.room = capacity;
  }

  post({ id, sges }: ReceiveRequest): void {
    if (this.room === 0) throw misuse('the receive queue is full: poll completions before posting more');
    this.room--;
    const at = (this.#first + this.#count++) % this.#capacity;
    this.#ids[at] = id;
    if (sges.count > 0) {
      this.#regions[at] = sges.regions[0]!;
      this.#offsets[at] = sges.offsets[0]!;
      this.#lengths[at] = sges.lengths[0]!;
    }
    if (sges.count > 1) {
      const list = (this.#lists[at] = new SgeList());
      for (let i = 0; i < sges.count; i++) list.add(sges.regions[i]!, sges.offsets[i]!, sges.lengths[i]!);
    }
  }

  /** Take the oldest away: `work` becomes what was posted. False when nothing is. */
  take(work: ReceiveWork): boolean {
    if (this.#count === 0) return false;
    const at = this.#first;
    work.id = this.#ids[at]!;
    const list = this.#lists[at] ?? null;
    const region = this.#regions[at] ?? null;
    if (list !== null) work.memory.set(list);
    else {
      work.memory.clear();
      if (region !== null) work.memory.add(region, this.#offsets[at]!, this.#lengths[at]!);
    }
    this.#lists[at] = null;
    this.#regions[at] = null;
    this.#first = at + 1 === this.#capacity ? 0 : at + 1;
    this.#count--;
    return true;
  }

  giveRoomBack(requests: number): void {
    this.room += requests;
  }
}
