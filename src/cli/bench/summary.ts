/** What a comparison comes to. */

import type { PlanDescription } from './plan.js';
import type { TargetProcesses } from './process-time.js';
import type { Run } from './rounds.js';

/** All that is known when it is over, and how it stands in JSON. */
export interface Comparison extends PlanDescription {
  /** When it began, as ISO 8601 has it. */
  readonly date: string;
  readonly sessions: number;
  /** What was asked for. */
  readonly rounds: number;
  readonly seconds: number;
  readonly rampSeconds: number;
  /** Null when a LUN tells no name that is its own in the world. */
  readonly isSameLun: boolean | null;
  /** The name of the signal that ended it. */
  readonly interruptedBy: string | null;
  readonly subjects: readonly SubjectResults[];
}

export interface SubjectResults {
  /** A, B, ... in the order of the command line. */
  readonly letter: string;
  readonly url: string;
  readonly transport: 'tcp' | 'iser';
  readonly lun: { readonly name: string | null; readonly size: number; readonly blockSize: number };
  readonly paths: number;
  /** At the last run. */
  readonly target: TargetProcesses | null;
  /** Of its IOPS to those of the first subject in the same round; the median. What slows the machine slows a round's runs alike. */
  readonly ratio: number | null;
  readonly summary: Summary;
  readonly runs: readonly Run[];
}

/** What is compared: a number of each run, or null. CPU time is that of one I/O; `Us` is microseconds. */
export const METRICS = {
  iops: (run: Run) => run.iops,
  bytesPerSecond: (run: Run) => run.bytesPerSecond,
  p50Us: (run: Run) => run.latencyUs?.p50 ?? null,
  p90Us: (run: Run) => run.latencyUs?.p90 ?? null,
  p99Us: (run: Run) => run.latencyUs?.p99 ?? null,
  'p99.9Us': (run: Run) => run.latencyUs?.['p99.9'] ?? null,
  initiatorCpuUs: (run: Run) => run.cpuUs.initiator,
  targetCpuUs: (run: Run) => run.cpuUs.target,
  copiedBytes: (run: Run) => run.copiedBytes,
} as const satisfies Record<string, (run: Run) => number | null>;

export type MetricKey = keyof typeof METRICS;

export interface Spread {
  readonly median: number;
  readonly minimum: number;
  readonly maximum: number;
}

/** Null where no run has the number. */
export type Summary = Record<MetricKey, Spread | null>;

export function summaryOf(runs: readonly Run[]): Summary {
  const spreads = Object.entries(METRICS).map(([key, of]) => [key, spreadOf(runs.map(of))]);
  return Object.fromEntries(spreads) as Summary;
}

/** The median of the `runs`' IOPS, each to those of `first` in the same round; null where there are none. */
export function ratioOf(runs: readonly IopsOfRound[], first: readonly IopsOfRound[]): number | null {
  const iopsOf = new Map(first.map(({ round, iops }) => [round, iops]));
  const ratios = runs.map(({ round, iops }) => iops / (iopsOf.get(round) ?? 0));
  return spreadOf(ratios.filter(Number.isFinite))?.median ?? null;
}

type IopsOfRound = Pick<Run, 'round' | 'iops'>;

/** Of the values that are known. The median of an even number of them is the mean of the two in the middle. */
export function spreadOf(values: readonly (number | null)[]): Spread | null {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (known.length === 0) return null;
  const middle = (known.length - 1) / 2;
  return {
    median: (known[Math.floor(middle)]! + known[Math.ceil(middle)]!) / 2,
    minimum: known[0]!,
    maximum: known.at(-1)!,
  };
}
