/** What the commands that ping have in common: one after the other, until a signal or a number, and statistics. */

import { setTimeout as delay } from 'node:timers/promises';
import { ExitCode, messageOf } from './failure.js';
import type { Interruption } from './interruption.js';
import { note, print } from './output.js';

export interface RoundTripFlags {
  /** How many; without end, until SIGINT, by default. */
  count?: number;
  /** Milliseconds from one to the next. */
  interval: number;
  json?: boolean;
}

/** What is measured. */
export interface RoundTrip {
  /** What comes, and from where: `56 bytes from 192.0.2.7:3260`. */
  answer: string;
  /** Throws when there is no answer, or another one than was due. */
  perform(): Promise<void>;
  /** Lines to print after the one of an answer, each with its line feed. */
  details?(): string;
  /** After one without answer: whether another one would be in vain. */
  isOver?(): boolean;
}

/** Measure round trips; each is a line unless `json` is set. A signal ends it in order. */
export async function measureRoundTrips(
  roundTrip: RoundTrip,
  { count = Infinity, interval, json = false }: RoundTripFlags,
  interruption: Interruption,
): Promise<RoundTripTimes> {
  const stop = new AbortController();
  interruption.whenCame(() => {
    stop.abort();
  });
  const times = new RoundTripTimes();
  const isGone = (): boolean => stop.signal.aborted;
  let isOver = false;
  while (!isOver) {
    const start = performance.now();
    times.sent++;
    try {
      await unlessAborted(roundTrip.perform(), stop.signal);
      const time = performance.now() - start;
      times.add(time);
      const line = `${roundTrip.answer}: seq=${times.sent} time=${ms(time)}\n`;
      if (!json && !(await print(line + (roundTrip.details?.() ?? '')))) stop.abort();
    } catch (error) {
      // A ping that a signal cut short is none.
      if (isGone()) times.sent--;
      else note(`no answer to seq=${times.sent}: ${messageOf(error)}`);
      isOver = roundTrip.isOver?.() ?? false;
    }
    isOver ||= isGone() || times.sent >= count;
    const rest = interval - (performance.now() - start);
    if (!isOver) await delay(Math.max(0, rest), undefined, stop).catch(() => undefined);
    isOver ||= isGone();
  }
  return times;
}

/** Milliseconds; null while there is none. */
export class RoundTripTimes {
  sent = 0;
  received = 0;
  minimumMs: number | null = null;
  maximumMs: number | null = null;
  #sum = 0;

  add(time: number): void {
    this.received++;
    this.#sum += time;
    this.minimumMs = Math.min(this.minimumMs ?? time, time);
    this.maximumMs = Math.max(this.maximumMs ?? time, time);
  }

  get averageMs(): number | null {
    return this.received === 0 ? null : this.#sum / this.received;
  }

  get exitCode(): number {
    return this.received === this.sent ? ExitCode.SUCCESS : ExitCode.FAILURE;
  }

  /** As members of a command's JSON. */
  toJSON(): object {
    const { sent, received, minimumMs, averageMs, maximumMs } = this;
    return { sent, received, minimumMs, averageMs, maximumMs };
  }

  /** One line for people. */
  summary(): string {
    const counts = `${this.sent} sent, ${this.received} received`;
    if (this.received === 0) return `${counts}\n`;
    return `${counts}; min/avg/max ${ms(this.minimumMs!)}/${ms(this.averageMs!)}/${ms(this.maximumMs!)}\n`;
  }
}

/** What `promise` comes to; throws the signal's reason when it is aborted before. */
async function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', onAbort);
    });
  });
}

function ms(time: number): string {
  return `${time.toFixed(3)} ms`;
}
