/** From times to what is reported. Times are in milliseconds of `performance.now`. */

import type { Plan } from './plan.js';
import type { BandwidthReport } from './wire.js';

const MIB = 1 << 20;
/** For longer runs no peak is looked for: it takes the square of them. As perftest has it. */
export const MOST_WITH_PEAK = 20_000;

export interface Bandwidth {
  kind: 'bandwidth';
  size: number;
  iterations: number;
  /** Bytes a second; the best that any part of the run had, or 0 where it was not looked for. */
  peak: number;
  average: number;
  messagesPerSecond: number;
}

export interface Latency {
  kind: 'latency';
  size: number;
  iterations: number;
  /** Microseconds: of a read as a whole; of a write or a send, half of a round trip. */
  minimum: number;
  /** The median. */
  typical: number;
  average: number;
  deviation: number;
  p99: number;
  p999: number;
  maximum: number;
}

/** When each message was posted and completed; both are empty for runs without peak. */
export interface BandwidthTimes {
  begin: number;
  end: number;
  posted: Float64Array;
  completed: Float64Array;
}

export function bandwidthOf({ size, iterations }: Plan, times: BandwidthTimes): Bandwidth {
  const messagesPerSecond = (iterations / (times.end - times.begin)) * 1000;
  const peak = (1000 / shortestTime(times)) * size;
  return {
    kind: 'bandwidth',
    size,
    iterations,
    peak: Number.isFinite(peak) ? peak : 0,
    average: messagesPerSecond * size,
    messagesPerSecond,
  };
}

/** A message's time in the part of the run, from one posting to one completion, where it is the shortest. */
function shortestTime({ begin, end, posted, completed }: BandwidthTimes): number {
  if (posted.length === 0) return Infinity;
  let shortest = (end - begin) / posted.length;
  for (let i = 0; i < posted.length; i++) {
    for (let j = i; j < posted.length; j++) {
      const time = (completed[j]! - posted[i]!) / (j - i + 1);
      if (time < shortest) shortest = time;
    }
  }
  return shortest;
}

/** `posted`: when each of the run's messages was. */
export function latencyOf({ operation, size, iterations }: Plan, posted: Float64Array): Latency {
  const trips = operation === 'read' ? 1 : 2;
  const times = new Float64Array(posted.length - 1);
  for (let i = 0; i < times.length; i++) times[i] = ((posted[i + 1]! - posted[i]!) * 1000) / trips;
  times.sort();
  const average = times.reduce((sum, time) => sum + time, 0) / times.length;
  const variance = times.reduce((sum, time) => sum + (time - average) ** 2, 0) / times.length;
  const at = (share: number): number => times[Math.min(times.length - 1, Math.ceil(times.length * share))]!;
  const half = times.length >> 1;
  return {
    kind: 'latency',
    size,
    iterations,
    minimum: times[0]!,
    typical: times.length % 2 === 1 ? times[half]! : (times[half - 1]! + times[half]!) / 2,
    average,
    deviation: Math.sqrt(variance),
    p99: at(0.99),
    p999: at(0.999),
    maximum: times.at(-1)!,
  };
}

export function reportOf({ size, iterations, peak, average, messagesPerSecond }: Bandwidth): BandwidthReport {
  return {
    size,
    iterations,
    peak: peak / MIB,
    average: average / MIB,
    messageRate: messagesPerSecond / 1e6,
  };
}

export function resultOf({ size, iterations, peak, average, messageRate }: BandwidthReport): Bandwidth {
  return {
    kind: 'bandwidth',
    size,
    iterations,
    peak: peak * MIB,
    average: average * MIB,
    messagesPerSecond: messageRate * 1e6,
  };
}
