/** The one clock and timer of a server; everything below is told the time. */

export class MonotonicClock {
  readonly #intervalMs: number;
  readonly #tick: (now: number) => void;
  #timer: NodeJS.Timeout | null = null;

  constructor(intervalMs: number, tick: (now: number) => void) {
    this.#intervalMs = intervalMs;
    this.#tick = tick;
  }

  /** Milliseconds since some moment; only ever forward. */
  now(): number {
    return performance.now();
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.#tick(this.now());
    }, this.#intervalMs);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
