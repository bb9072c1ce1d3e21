/** Completion queues: a ring of records, and the wake-up of who armed it. */

import type { CompletionEvents, CompletionQueue } from '../verbs.js';
import { CompletionFlag, type CompletionOpcode, type CompletionStatus, WorkCompletion } from '../work.js';
import { RiserError } from '../../util/errors.js';
import { misuse } from '../misuse.js';
import type { Notifier } from '../notifier.js';

/** A work queue whose room comes back when the completion is polled. */
export interface RoomOwner {
  giveRoomBack(requests: number): void;
}

/** A queue pair that completes here. */
export interface QueueUser {
  /** It cannot go on. */
  abort(error: Error): void;
}

function overrun(): RiserError {
  return new RiserError('RDMA_QUEUE_OVERRUN', 'a completion queue had no room for a completion', {
    by: 'local',
    costs: 'connection',
    remedy: 'Make it for all requests that its queue pairs may have outstanding.',
  });
}

class Entry extends WorkCompletion {
  owner: RoomOwner | null = null;
  requests = 0;
}

const Arming = { NO: 0, SOLICITED: 1, ANY: 2 } as const;

export class IwarpCompletionQueue implements CompletionQueue {
  readonly capacity: number;
  readonly #entries: Entry[] = [];
  readonly #notifier: Notifier;
  readonly #events: CompletionEvents;
  #first = 0;
  #count = 0;
  #armed: (typeof Arming)[keyof typeof Arming] = Arming.NO;
  #isOverrun = false;
  #isOverrunTold = false;
  #isOpen = true;
  /** Work queues that complete here. */
  readonly users = new Set<QueueUser>();

  constructor(capacity: number, events: CompletionEvents, notifier: Notifier) {
    this.capacity = capacity;
    this.#events = events;
    this.#notifier = notifier;
  }

  poll(records: WorkCompletion[]): number {
    const n = Math.min(this.#count, records.length);
    for (let i = 0; i < n; i++) {
      const entry = this.#entries[this.#first]!;
      records[i]!.set(entry);
      entry.owner?.giveRoomBack(entry.requests);
      entry.owner = null;
      this.#first = this.#first + 1 === this.capacity ? 0 : this.#first + 1;
    }
    this.#count -= n;
    // The first records are in the processor's cache still.
    if (this.#count === 0) this.#first = 0;
    return n;
  }

  arm(solicitedOnly = false): void {
    if (!solicitedOnly) this.#armed = Arming.ANY;
    else if (this.#armed === Arming.NO) this.#armed = Arming.SOLICITED;
  }

  close(): void {
    if (this.users.size > 0) throw misuse('a completion queue is closed while queue pairs use it');
    this.#isOpen = false;
  }

  /**
   * Queue a completion of `owner`'s, by which so many `requests` are over. `datum`: what `flags` say that it comes with, immediate
   * data or the key that was invalidated.
   * False when there is no room: the queue is lost, and whoever uses it.
   */
  push(
    owner: RoomOwner,
    requests: number,
    queuePairNumber: number,
    id: number,
    status: CompletionStatus,
    opcode: CompletionOpcode,
    byteLength: number,
    flags: number,
    datum: number,
    isSolicited: boolean,
  ): boolean {
    if (this.#isOverrun || this.#count === this.capacity) {
      this.#overrun();
      return false;
    }
    const at = (this.#first + this.#count++) % this.capacity;
    const entry = (this.#entries[at] ??= new Entry());
    entry.owner = owner;
    entry.requests = requests;
    entry.queuePairNumber = queuePairNumber;
    entry.id = id;
    entry.status = status;
    entry.opcode = opcode;
    entry.byteLength = byteLength;
    entry.flags = flags;
    entry.immediate = (flags & CompletionFlag.WITH_IMMEDIATE) !== 0 ? datum : 0;
    entry.invalidatedKey = (flags & CompletionFlag.WITH_INVALIDATE) !== 0 ? datum : 0;
    const wakes =
      this.#armed === Arming.ANY || (this.#armed === Arming.SOLICITED && (isSolicited || status !== 0));
    if (wakes) {
      this.#armed = Arming.NO;
      this.#notifier.add(this);
    }
    return true;
  }

  #overrun(): void {
    if (this.#isOverrun) return;
    this.#isOverrun = true;
    this.#notifier.add(this);
  }

  /** By the notifier. */
  notify(): void {
    // What its last queue pair has flushed may have woken it.
    if (!this.#isOpen) return;
    if (!this.#isOverrun) {
      this.#events.completed(this);
      return;
    }
    // A wake-up may have been on its way, too.
    if (this.#isOverrunTold) return;
    this.#isOverrunTold = true;
    for (const user of this.users) user.abort(overrun());
    this.#events.overrun?.(this);
  }
}
