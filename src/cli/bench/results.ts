/** The numbers of a load: rates are a second, latencies in microseconds. */

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { Load, Tally } from './load.js';

export const PERCENTILES = [50, 90, 99, 99.9] as const;

type Percentile = `p${(typeof PERCENTILES)[number]}`;

/** In the order in which they are shown. */
export type Latencies = Record<'minimum' | 'mean' | Percentile | 'maximum', number>;

export interface Rates {
  count: number;
  iops: number;
  bytesPerSecond: number;
}

export interface KindResults extends Rates {
  latencyUs: Latencies;
}

export interface Results extends Rates {
  /** How long it counted. */
  seconds: number;
  /** Null when there was none. */
  reads: KindResults | null;
  writes: KindResults | null;
}

export function resultsOf(load: Load): Results {
  const { seconds, reads, writes } = load;
  const { blockSize } = load.options;
  const rates = (count: number): Rates => ({
    count,
    // Nothing was counted of what was interrupted while it ramped up.
    iops: count === 0 ? 0 : count / seconds,
    bytesPerSecond: count === 0 ? 0 : (count * blockSize) / seconds,
  });
  const kind = ({ count, latencies }: Tally): KindResults | null =>
    count === 0 ? null : { ...rates(count), latencyUs: latenciesOf(latencies) };
  return { seconds, ...rates(reads.count + writes.count), reads: kind(reads), writes: kind(writes) };
}

/** Of reads and writes together; null when there was none. */
export function allLatenciesOf({ reads, writes }: Load): Latencies | null {
  if (reads.count + writes.count === 0) return null;
  const all = createHistogram({ figures: 3 });
  for (const { count, latencies } of [reads, writes]) if (count > 0) all.add(latencies);
  return latenciesOf(all);
}

function latenciesOf(latencies: RecordableHistogram): Latencies {
  const us = (ns: number): number => ns / 1000;
  const percentiles = Object.fromEntries(
    PERCENTILES.map((percentile) => [`p${percentile}`, us(latencies.percentile(percentile))]),
  ) as Record<Percentile, number>;
  const { min, mean, max } = latencies;
  return { minimum: us(min), mean: us(mean), ...percentiles, maximum: us(max) };
}

export function formatMicroseconds(us: number): string {
  return us < 1000 ? `${us.toFixed(0)} us` : `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms`;
}
