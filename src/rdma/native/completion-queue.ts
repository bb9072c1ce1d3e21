/**
 * Completion queues of a device, and a ring for what was taken out of them before the user has asked: to see what a connection that
 * ends still waits for, and whether a queue has too little room. Else completions go straight from the device to who polls.
 */

import { RiserError } from '../../util/errors.js';
import { misuse } from '../misuse.js';
import type { Notified } from '../notifier.js';
import type { CompletionEvents, CompletionQueue } from '../verbs.js';
import { type CompletionOpcode, type CompletionStatus, WorkCompletion } from '../work.js';
import type { NativeDevice } from './device.js';
import { nativeError } from './errors.js';
import { addon, type NativeQueueHandle } from './library.js';

/** Who gets room back when a completion is polled. */
export interface RoomOwner {
  giveRoomBack(requests: number): void;
}

/** Who has completions that were held back until an earlier one came. */
export interface Releaser {
  releaseNext(queue: NativeCompletionQueue): void;
}

/** A queue pair that completes here. */
export interface QueueUser {
  /** It cannot go on. */
  abort(error: Error): void;
}

/** Words of a record of the addon's, and how many are polled at a time. */
const WORDS = 8;
const BATCH = 64;

class Entry extends WorkCompletion {
  owner: RoomOwner | null = null;
  requests = 0;
}

const Arming = { NO: 0, SOLICITED: 1, ANY: 2 } as const;
type Arming = (typeof Arming)[keyof typeof Arming];

export class NativeCompletionQueue implements CompletionQueue, Notified {
  readonly capacity: number;
  readonly handle: NativeQueueHandle;
  /** By which its events are known. */
  readonly key: number;
  readonly users = new Set<QueueUser>();
  /** Who completed last, and how many requests are over by that: set by who is asked to interpret a record. */
  owner: RoomOwner | null = null;
  requests = 0;
  readonly #device: NativeDevice;
  readonly #events: CompletionEvents;
  readonly #words: Uint32Array;
  readonly #entries: Entry[] = [];
  readonly #dropped = new Entry();
  #first = 0;
  #count = 0;
  #armed: Arming = Arming.NO;
  #nativeArmed: Arming = Arming.NO;
  /** Who needs what comes to be seen at once. */
  #watchers = 0;
  /** Completions that may be there at a time. */
  #possible = 0;
  #released: Releaser | null = null;
  #isWoken = false;
  /** Something was polled since it was armed last. */
  #isBusy = false;
  #isPollDue = false;
  readonly #pollDue = (): void => this.#pollInsteadOfEvent();
  #isOverrun = false;
  #isOverrunTold = false;
  #isOpen = true;

  constructor(device: NativeDevice, capacity: number, events: CompletionEvents) {
    this.capacity = capacity;
    this.#device = device;
    this.#events = events;
    this.key = device.newKey();
    const records = new ArrayBuffer(BATCH * WORDS * 4);
    this.#words = new Uint32Array(records);
    this.handle = nativeError(
      'a completion queue',
      () => new (addon().CompletionQueue)(device.handle, capacity, this.key, records),
    );
    device.queues.set(this.key, this);
    device.users++;
  }

  /** It has had a completion that it had no room for. */
  get isOverrun(): boolean {
    return this.#isOverrun;
  }

  poll(records: WorkCompletion[]): number {
    const n = this.#poll(records);
    if (n > 0) this.#isBusy = true;
    return n;
  }

  #poll(records: WorkCompletion[]): number {
    let n = this.#takeFromRing(records, 0);
    while (n < records.length && this.#isOpen && !this.#isOverrun) {
      const asked = Math.min(records.length - n, BATCH);
      const polled = this.handle.poll(asked);
      for (let i = 0; i < polled; i++) {
        // One may bring others along, which go before the next.
        if (this.#count > 0) this.#intoRing(i);
        else if (this.#interpret(i, records[n]!)) {
          const { owner, requests } = this;
          n++;
          owner!.giveRoomBack(requests);
          this.#released?.releaseNext(this);
        }
      }
      if (this.#count > 0) return n + this.#takeFromRing(records, n);
      if (polled < asked) break;
    }
    return n;
  }

  arm(solicitedOnly = false): void {
    if (!this.#isOpen) throw misuse('the completion queue is closed');
    if (!solicitedOnly) this.#armed = Arming.ANY;
    else if (this.#armed === Arming.NO) this.#armed = Arming.SOLICITED;
    if (this.#isBusy && this.#armed === Arming.ANY && this.#watchers === 0) this.#pollInNextTurn();
    else this.#armDevice(this.#armed);
    this.#isBusy = false;
  }

  close(): void {
    if (this.users.size > 0) throw misuse('a completion queue is closed while queue pairs use it');
    if (!this.#isOpen) return;
    this.handle.close();
    this.#isOpen = false;
    this.#device.queues.delete(this.key);
    this.#device.users--;
  }

  // ---- its queue pairs ----

  /** `requests`: the most that the queue pair may complete here and nobody has polled. */
  addUser(user: QueueUser, requests: number): void {
    this.users.add(user);
    const wasEnough = this.#possible <= this.capacity;
    this.#possible += requests;
    // Whether there is room has to be seen when it comes, not when it is asked for.
    if (wasEnough && this.#possible > this.capacity) this.watch();
  }

  removeUser(user: QueueUser, requests: number): void {
    this.users.delete(user);
    const wasEnough = this.#possible <= this.capacity;
    this.#possible -= requests;
    if (!wasEnough && this.#possible <= this.capacity) this.unwatch();
  }

  /** From now on each completion is seen as soon as it comes. */
  watch(): void {
    if (++this.#watchers > 1) return;
    this.#armDevice(Arming.ANY);
    this.drain();
  }

  unwatch(): void {
    this.#watchers--;
  }

  /** Take all that the device has completed into the ring. */
  drain(): void {
    if (!this.#isOpen) return;
    for (let polled = BATCH; polled === BATCH;) {
      polled = this.handle.poll(BATCH);
      for (let i = 0; i < polled; i++) this.#intoRing(i);
    }
  }

  #intoRing(i: number): void {
    const entry = this.#freeEntry();
    if (!this.#interpret(i, entry ?? this.#dropped)) return;
    if (entry === null) this.overrun();
    else this.#add(entry, this.owner!, this.requests);
    this.#released?.releaseNext(this);
  }

  /** Called while a record is interpreted: behind its completion `releaser` has others. */
  follow(releaser: Releaser): void {
    this.#released = releaser;
  }

  /** A completion that is not the device's. */
  push(
    owner: RoomOwner,
    requests: number,
    number: number,
    id: number,
    status: CompletionStatus,
    opcode: CompletionOpcode = 0,
    byteLength = 0,
  ): void {
    const entry = this.#freeEntry();
    if (entry === null) {
      this.overrun();
      return;
    }
    entry.id = id;
    entry.status = status;
    entry.opcode = opcode;
    entry.flags = 0;
    entry.byteLength = byteLength;
    entry.queuePairNumber = number;
    entry.immediate = 0;
    entry.invalidatedKey = 0;
    this.#add(entry, owner, requests);
  }

  #freeEntry(): Entry | null {
    if (this.#isOverrun || this.#count === this.capacity) return null;
    return (this.#entries[(this.#first + this.#count) % this.capacity] ??= new Entry());
  }

  #add(entry: Entry, owner: RoomOwner, requests: number): void {
    entry.owner = owner;
    entry.requests = requests;
    this.#count++;
    // The device has told that there is one that counts; which one it is it does not tell.
    if (this.#armed !== Arming.NO) this.#wake();
  }

  #takeFromRing(records: WorkCompletion[], from: number): number {
    const n = Math.min(this.#count, records.length - from);
    for (let i = 0; i < n; i++) {
      const entry = this.#entries[this.#first]!;
      records[from + i]!.set(entry);
      entry.owner!.giveRoomBack(entry.requests);
      entry.owner = null;
      this.#first = this.#first + 1 === this.capacity ? 0 : this.#first + 1;
    }
    this.#count -= n;
    if (this.#count === 0) this.#first = 0;
    return n;
  }

  /** Record `i` of what was polled, as its queue pair has it; false when the user is not to see it. */
  #interpret(i: number, record: WorkCompletion): boolean {
    this.#released = null;
    const words = this.#words;
    const at = i * WORDS;
    const high = words[at + 1]!;
    const key = high >>> 1;
    // A shared queue's receive is known by its place, and its queue pair by the number.
    const pair =
      key === 0 ? this.#device.queuePairsByNumber.get(words[at + 6]!) : this.#device.queuePairs.get(key);
    if (pair === undefined) return false;
    const isReceive = (high & 1) !== 0;
    return isReceive
      ? pair.receives.completed(words, at, record, this)
      : pair.sends.completed(words, at, record, this);
  }

  // ---- events ----

  /** The device has told of a completion, which it does once for each arming. */
  deviceCompleted(): void {
    this.#nativeArmed = Arming.NO;
    if (this.#watchers > 0) {
      this.#armDevice(Arming.ANY);
      this.drain();
    } else if (this.#armed !== Arming.NO) this.#wake();
  }

  /** While completions come, looking once in each turn of the event loop costs less than an event of each; it lets others have theirs. */
  #pollInNextTurn(): void {
    if (this.#isPollDue) return;
    this.#isPollDue = true;
    setImmediate(this.#pollDue);
  }

  #pollInsteadOfEvent(): void {
    this.#isPollDue = false;
    if (!this.#isOpen || !this.#isArmed()) return;
    const { notifier } = this.#device;
    notifier.enter();
    this.drain();
    if (this.#isArmed()) {
      this.#armDevice(this.#armed);
      // Of what has come meanwhile there is no event.
      this.drain();
    }
    notifier.leave();
  }

  #isArmed(): boolean {
    return this.#armed !== Arming.NO;
  }

  #armDevice(arming: Arming): void {
    // siw tells of all completions or of none: better too often than never.
    if (this.#device.isSiw) arming = Arming.ANY;
    if (this.#nativeArmed >= arming) return;
    this.#nativeArmed = arming;
    this.handle.arm(arming === Arming.SOLICITED);
  }

  #wake(): void {
    this.#armed = Arming.NO;
    this.#isWoken = true;
    this.#device.notifier.add(this);
  }

  /** There was no room for a completion: the queue is lost, and whoever uses it. */
  overrun(): void {
    if (this.#isOverrun) return;
    this.#isOverrun = true;
    this.#device.notifier.add(this);
  }

  /** By the notifier. */
  notify(): void {
    // What its last queue pair has flushed may have woken it.
    if (!this.#isOpen) return;
    if (this.#isOverrun && !this.#isOverrunTold) {
      this.#isOverrunTold = true;
      this.drain();
      for (const user of this.users) user.abort(overrunError());
      this.#events.overrun?.(this);
    }
    if (!this.#isWoken) return;
    this.#isWoken = false;
    this.#events.completed(this);
  }
}

function overrunError(): RiserError {
  return new RiserError('RDMA_QUEUE_OVERRUN', 'a completion queue had no room for a completion', {
    by: 'local',
    costs: 'connection',
    remedy: 'Make it for all requests that its queue pairs may have outstanding.',
  });
}
