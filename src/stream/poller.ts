/**
 * Adaptive polling: while connections are busy their sockets are asked again and again from the event
 * loop instead of waiting for a wake-up, which on a virtual machine costs more than an I/O. A
 * connection that pauses, or whose traffic is too sparse for polling to pay, goes back to sleep in
 * the event loop and costs no CPU.
 *
 * All are asked by one `poll` call: unlike a `recv` that finds nothing, it does not take the sockets'
 * locks, which the peer's packets need.
 */

import { Memory } from '../util/memory.js';
import type { Libc } from '../util/posix/libc.js';

/** What a poller polls. */
export interface Polled {
  readonly fd: number;
  readonly isClosed: boolean;
  /** Whether bytes wait to be sent. */
  readonly isSending: boolean;
  /** Whether input is welcome; what is not would keep the socket ready, and us busy, for nothing. */
  readonly isReading: boolean;
  /** Move what can be moved. */
  poll(): void;
  /** Stop being polled: wait for the event loop. */
  sleep(): void;
}

/** After so many polls that found nothing, the event loop gets its turn; at once if what was found may have given it work. */
const EMPTY_POLLS = 32;
/** And at the latest after this time, milliseconds: others may be waiting. */
const LONGEST_TURN_MS = 0.2;
/** A connection that was silent for so long goes to sleep, milliseconds. */
const PATIENCE_MS = 1;
/** Polling pays for connections whose pauses are on average shorter than this, milliseconds. */
const DENSE_MS = 0.25;
/** A longer pause counts as this one, so that a burst is recognised soon after it begins, milliseconds. */
const LONGEST_PAUSE_MS = 2;
/** More connections are not kept awake at a time: the others sleep until they have input. */
const MOST_AWAKE = 64;

/** `struct pollfd`: fd, events, revents. */
const POLLFD_BYTES = 8;
const EVENTS = 4;
const REVENTS = 6;
const POLLIN = 1;
const POLLOUT = 4;

/** How dense a connection's traffic is; kept across sleep. */
export class TrafficMeter {
  lastProgress = 0;
  averagePause = LONGEST_PAUSE_MS;

  progress(now: number): void {
    const pause = Math.min(now - this.lastProgress, LONGEST_PAUSE_MS);
    this.averagePause += (pause - this.averagePause) / 8;
    this.lastProgress = now;
  }

  isPatient(now: number): boolean {
    return this.averagePause < DENSE_MS && now - this.lastProgress < PATIENCE_MS;
  }
}

export class Poller {
  readonly #libc: Libc;
  readonly #mayWait: boolean;
  readonly #awake: Polled[] = [];
  readonly #meters: TrafficMeter[] = [];
  readonly #table = Memory.allocate(MOST_AWAKE * POLLFD_BYTES);
  #isRunning = false;
  readonly #turn = (): void => {
    this.#run();
  };

  /** `mayWait`: whether to poll idly at all; false where server and client have to share one processor. */
  constructor(libc: Libc, mayWait: boolean) {
    this.#libc = libc;
    this.#mayWait = mayWait;
  }

  /** Begin to poll `polled`, which has just got input; false if it has to go on sleeping. */
  wake(polled: Polled, meter: TrafficMeter): boolean {
    meter.progress(performance.now());
    if (this.#awake.length === MOST_AWAKE) return false;
    this.#awake.push(polled);
    this.#meters.push(meter);
    if (!this.#isRunning) {
      this.#isRunning = true;
      setImmediate(this.#turn);
    }
    return true;
  }

  #run(): void {
    const start = performance.now();
    let now = start;
    for (
      let patience = EMPTY_POLLS;
      now - start < LONGEST_TURN_MS && this.#poll(patience) > 0;
      patience = 1
    ) {
      now = performance.now();
      this.#serve(now);
    }
    this.#putToSleep(now);
    if (this.#awake.length > 0) setImmediate(this.#turn);
    else this.#isRunning = false;
  }

  /** Ask all sockets until one is ready, `patience` times at most; how many are. */
  #poll(patience: number): number {
    const awake = this.#awake;
    const { view, address } = this.#table;
    for (let i = 0; i < awake.length; i++) {
      const polled = awake[i]!;
      view.setInt32(i * POLLFD_BYTES, polled.isClosed ? -1 : polled.fd, true);
      const events = (polled.isReading ? POLLIN : 0) | (polled.isSending ? POLLOUT : 0);
      view.setInt16(i * POLLFD_BYTES + EVENTS, events, true);
    }
    for (let left = patience; left > 0; left--) {
      const ready = this.#libc.poll(address, awake.length, 0);
      if (ready !== 0) return ready;
    }
    return 0;
  }

  #serve(now: number): void {
    // Those that wake up meanwhile are behind the ones that were asked.
    const count = this.#awake.length;
    for (let i = 0; i < count; i++) {
      if (this.#table.view.getInt16(i * POLLFD_BYTES + REVENTS, true) === 0) continue;
      this.#meters[i]!.progress(now);
      this.#awake[i]!.poll();
    }
  }

  #putToSleep(now: number): void {
    const awake = this.#awake;
    const meters = this.#meters;
    for (let i = awake.length - 1; i >= 0; i--) {
      const polled = awake[i]!;
      const meter = meters[i]!;
      if (!polled.isClosed && (meter.lastProgress >= now || (this.#mayWait && meter.isPatient(now))))
        continue;
      const last = awake.length - 1;
      awake[i] = awake[last]!;
      meters[i] = meters[last]!;
      awake.pop();
      meters.pop();
      if (!polled.isClosed) polled.sleep();
    }
  }
}
