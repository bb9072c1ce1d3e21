/** How far a transfer is, on standard error: a bar on a terminal, else a line now and then. */

import { formatSize } from '../size.js';

const BAR_INTERVAL_MS = 200;
const LINE_INTERVAL_MS = 5000;
/** The rate is that of about so many milliseconds. */
const RATE_WINDOW_MS = 5000;

export interface Progress {
  stop(): void;
}

export interface ProgressOptions {
  /** What is done, such as `copying`. */
  label: string;
  /** Bytes that there are in all. */
  total: number;
  /** Bytes that are done now. */
  done: () => number;
  quiet: boolean;
}

export async function startProgress(options: ProgressOptions): Promise<Progress> {
  if (options.quiet) return { stop: () => undefined };
  return process.stderr.isTTY ? await startBar(options) : startLines(options);
}

async function startBar({ label, total, done }: ProgressOptions): Promise<Progress> {
  const { default: cliProgress } = await import('cli-progress');
  const rate = new Rate(total, done());
  const bar = new cliProgress.SingleBar({
    format: `${label} [{bar}] {percentage}% {state}`,
    stream: process.stderr,
    hideCursor: true,
    barsize: 30,
    // The cursor must come back whatever signal comes; the command has its own handlers.
    gracefulExit: false,
  });
  const state = (): { state: string } => ({ state: rate.describe(done(), performance.now()) });
  bar.start(total, done(), state());
  const timer = setInterval(() => {
    bar.update(done(), state());
  }, BAR_INTERVAL_MS);
  return {
    stop: () => {
      clearInterval(timer);
      bar.update(done(), state());
      bar.stop();
    },
  };
}

function startLines({ label, total, done }: ProgressOptions): Progress {
  const rate = new Rate(total, done());
  const timer = setInterval(() => {
    const percentage = Math.floor((done() / total) * 100);
    process.stderr.write(`${label} ${percentage}% ${rate.describe(done(), performance.now())}\n`);
  }, LINE_INTERVAL_MS);
  return {
    stop: () => {
      clearInterval(timer);
    },
  };
}

/** The rate of the last seconds, and the time that is left by it. */
export class Rate {
  readonly #total: number;
  readonly #samples: { time: number; done: number }[];

  /** `now`: milliseconds of any clock, the same as for `describe`. */
  constructor(total: number, done: number, now = performance.now()) {
    this.#total = total;
    this.#samples = [{ time: now, done }];
  }

  /** `3.7 GiB of 10 GiB, 250 MiB/s, 26 s left` */
  describe(done: number, now: number): string {
    const samples = this.#samples;
    samples.push({ time: now, done });
    while (samples.length > 2 && samples[1]!.time <= now - RATE_WINDOW_MS) samples.shift();
    const first = samples[0]!;
    const seconds = (now - first.time) / 1000;
    const perSecond = seconds > 0 ? (done - first.done) / seconds : 0;
    const text = `${formatSize(done)} of ${formatSize(this.#total)}`;
    if (perSecond <= 0) return text;
    const left = Math.ceil((this.#total - done) / perSecond);
    return `${text}, ${formatSize(Math.round(perSecond))}/s, ${formatDuration(left)} left`;
  }
}

/** `26 s`, `4 min 5 s`, `2 h 3 min` */
export function formatDuration(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
