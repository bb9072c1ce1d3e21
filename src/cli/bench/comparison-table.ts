/** A comparison as text: a row for each URL, and below it what the letters and columns mean. */

import { table } from '../output.js';
import { formatSize } from '../size.js';
import { transportName } from '../transport.js';
import { formatMicroseconds } from './results.js';
import type { Comparison, Spread, SubjectResults } from './summary.js';

const HEAD = [
  ...['', 'TRANSPORT', 'IOPS', 'MIN', 'MAX', 'RATIO', 'MIB/S', 'P50', 'P99', 'P99.9'],
  ...['INITIATOR CPU', 'TARGET CPU', 'COPIED'],
];
const UNKNOWN = '-';

export function describeComparison(comparison: Comparison): string {
  const { subjects } = comparison;
  const legend = subjects.map(({ letter, url }) => [letter, url]);
  const remarks = remarksOf(comparison).map((line) => [line]);
  return `${table([HEAD, ...subjects.map(rowOf)])}\n${table(legend)}\n${table([[describeRuns(comparison)], ...remarks])}`;
}

function rowOf({ letter, transport, ratio, summary }: SubjectResults): string[] {
  const us = (spread: Spread | null): string => shown(spread?.median, formatMicroseconds);
  const cpu = (spread: Spread | null): string => shown(spread?.median, (value) => `${value.toFixed(1)} us`);
  const whole = (value: number): string => value.toFixed(0);
  const { iops } = summary;
  return [
    letter,
    transportName(transport, null),
    ...[iops?.median, iops?.minimum, iops?.maximum].map((value) => shown(value, whole)),
    shown(ratio, (value) => value.toFixed(2)),
    shown(summary.bytesPerSecond?.median, (value) => (value / 2 ** 20).toFixed(1)),
    ...[summary.p50Us, summary.p99Us, summary['p99.9Us']].map(us),
    ...[summary.initiatorCpuUs, summary.targetCpuUs].map(cpu),
    shown(summary.copiedBytes?.median, (value) => `${whole(value)} B`),
  ];
}

function shown(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? UNKNOWN : format(value);
}

/** `random reads of 4 KiB` */
export function describeIos({ order, readPercent, blockSize }: Comparison): string {
  const kind =
    readPercent === 100
      ? 'reads'
      : readPercent === 0
        ? 'writes'
        : `reads (${readPercent} %) and writes (${100 - readPercent} %)`;
  return `${order} ${kind} of ${formatSize(blockSize)}`;
}

/** `32 in flight in 1 session` */
export function describeDepth({ depth, sessions }: Comparison): string {
  return `${depth} in flight in ${sessions === 1 ? '1 session' : `each of ${sessions} sessions`}`;
}

/** What the numbers are. */
function describeRuns(comparison: Comparison): string {
  const { seconds, subjects } = comparison;
  const counts = subjects.map(({ runs }) => runs.length);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const runs = `${least === most ? '' : `${least} to `}${countOf(most, 'run')} of ${seconds} s`;
  return `${describeIos(comparison)}, ${describeDepth(comparison)}; medians of ${runs}. RATIO is that of IOPS to A in the same round, CPU the time per I/O, COPIED what the initiator copies in memory per I/O.`;
}

/** `1 run`, `2 runs` */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Whether it is one LUN, what is not known and why, and what else is to be said. */
export function remarksOf({ subjects, isSameLun, interruptedBy }: Comparison): string[] {
  const remarks: string[] = [];
  if (isSameLun === false) {
    const names = lettersBy(subjects, ({ lun }) => [`${lun.name} of ${formatSize(lun.size)}`]);
    remarks.push(`These are different LUNs: ${assigned(names)}.`);
  } else if (isSameLun === null) {
    const nameless = subjects.filter(({ lun }) => lun.name === null).map(({ letter }) => letter);
    remarks.push(`Whether it is one LUN is not known: no name of its own is told by ${nameless.join(', ')}.`);
  }
  for (const [reason, letters] of lettersBy(subjects, reasonsOf))
    remarks.push(`CPU time of the target of ${letters.join(', ')} is not known: ${reason}.`);
  const processes = lettersBy(subjects, ({ target }) =>
    (target?.processes ?? []).map(({ pid, name }) => `process ${pid} (${name})`),
  );
  if (processes.size > 0) remarks.push(`Targets, with all else that they do: ${assigned(processes)}.`);
  if (interruptedBy !== null) remarks.push(`${interruptedBy} ended it early.`);
  return remarks;
}

/** Why the CPU time of a target is not known. */
function reasonsOf({ target, summary }: SubjectResults): string[] {
  if (target === null || summary.targetCpuUs !== null) return [];
  return [target.reason ?? 'its process ended, or no I/O was done'];
}

/** Which subjects share what `keysOf` tells of them. */
function lettersBy(
  subjects: readonly SubjectResults[],
  keysOf: (subject: SubjectResults) => string[],
): Map<string, string[]> {
  const letters = new Map<string, string[]>();
  for (const subject of subjects)
    for (const key of keysOf(subject)) letters.set(key, [...(letters.get(key) ?? []), subject.letter]);
  return letters;
}

/** `A, B: this; C: that` */
function assigned(lettersOf: ReadonlyMap<string, readonly string[]>): string {
  return [...lettersOf].map(([key, letters]) => `${letters.join(', ')}: ${key}`).join('; ');
}
