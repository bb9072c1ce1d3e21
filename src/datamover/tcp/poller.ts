/**
 * Adaptive polling: while connections are busy their sockets are asked again and again from the event
 * loop instead of waiting for a wake-up, which on a virtual machine costs more than an I/O. A
 * connection that pauses, or whose traffic is too sparse for polling to pay, goes back to sleep in
 * the event loop and costs no CPU.
 */

/** What a poller polls. */
export interface Polled {
  /** Move whatever can be moved; whether anything was. */
  poll(): boolean;
  /** Stop being polled: wait for the event loop. */
  sleep(): void;
  readonly isClosed: boolean;
}

/** Empty polls in one turn of the event loop, shared by all that are awake. */
const POLLS_PER_TURN = 32;
/** A connection that was silent for so long goes to sleep, milliseconds. */
const PATIENCE_MS = 1;
/** Polling pays for connections whose pauses are on average shorter than this, milliseconds. */
const DENSE_MS = 0.25;
/** A longer pause counts as this one, so that a burst is recognised soon after it begins, milliseconds. */
const LONGEST_PAUSE_MS = 2;
/** With more connections awake than this, a turn's own length is pause enough: none is polled idly. */
const MOST_IDLY_POLLED = 16;

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
  readonly #awake: Polled[] = [];
  readonly #meters: TrafficMeter[] = [];
  readonly #mayWait: boolean;
  #isRunning = false;
  readonly #turn = (): void => {
    this.#run();
  };

  /** `mayWait`: whether to poll idly at all; false where server and client have to share one processor. */
  constructor(mayWait: boolean) {
    this.#mayWait = mayWait;
  }

  /** Begin to poll `polled`, which has just made progress. */
  wake(polled: Polled, meter: TrafficMeter): void {
    meter.progress(performance.now());
    this.#awake.push(polled);
    this.#meters.push(meter);
    if (!this.#isRunning) {
      this.#isRunning = true;
      setImmediate(this.#turn);
    }
  }

  #run(): void {
    const awake = this.#awake;
    const meters = this.#meters;
    const now = performance.now();
    let hasProgress = false;
    for (let left = POLLS_PER_TURN; left > 0 && !hasProgress; left -= awake.length) {
      for (let i = 0; i < awake.length; i++) {
        if (awake[i]!.poll()) {
          hasProgress = true;
          meters[i]!.progress(now);
        }
      }
      if (awake.length === 0) break;
    }
    const idlyPolled = this.#mayWait && awake.length <= MOST_IDLY_POLLED;
    for (let i = awake.length - 1; i >= 0; i--) {
      const polled = awake[i]!;
      const meter = meters[i]!;
      if (!polled.isClosed && (meter.lastProgress === now || (idlyPolled && meter.isPatient(now)))) continue;
      const last = awake.length - 1;
      awake[i] = awake[last]!;
      meters[i] = meters[last]!;
      awake.pop();
      meters.pop();
      if (!polled.isClosed) polled.sleep();
    }
    if (awake.length > 0) setImmediate(this.#turn);
    else this.#isRunning = false;
  }
}
