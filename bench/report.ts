/** From samples to the table. */

import type { Case } from './cases.js';
import type { Sample } from './client.js';
import type { HeapSample } from './riser-only.js';
import type { ServerName } from './servers.js';

/** All that one run of the benchmark found; what the JSON file holds. */
export interface Results {
  date: string;
  machine: { cpu: string; kernel: string; node: string; tgt: string };
  options: { rounds: number; seconds: number; imageBytes: number };
  cases: CaseResult[];
  heap: HeapSample[];
  /** Share of a core; null when Riser did not run. */
  idleCpu: number | null;
}

export interface CaseResult extends Case {
  samples: Partial<Record<ServerName, Sample[]>>;
}

/** The middle value; of an even number, the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** The results as Markdown. */
export function toMarkdown(results: Results): string {
  const { machine, options } = results;
  const lines = [
    `${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}, tgt ${machine.tgt}; ` +
      `medians of ${options.rounds} rounds of ${options.seconds} s.`,
    '',
    '| case | Riser IOPS | tgt IOPS | ratio | Riser spread | tgt spread | Riser CPU s/M I/O | tgt CPU s/M I/O |',
    '|---|--:|--:|--:|--:|--:|--:|--:|',
    ...results.cases.map(caseRow),
  ];
  if (results.heap.length > 0) {
    lines.push('', '| case | Riser heap bytes/I/O | Riser buffer bytes/I/O |', '|---|--:|--:|');
    for (const { name, heapBytesPerIo, externalBytesPerIo } of results.heap) {
      lines.push(`| ${name} | ${heapBytesPerIo.toFixed(1)} | ${externalBytesPerIo.toFixed(1)} |`);
    }
  }
  if (results.idleCpu !== null) {
    lines.push('', `Riser with one idle session: ${(results.idleCpu * 100).toFixed(1)} % of a core.`);
  }
  return lines.join('\n') + '\n';
}

function caseRow({ name, samples: { riser, tgt } }: CaseResult): string {
  const iops = (samples?: Sample[]): number | null => middle(samples, (sample) => sample.iops);
  const cpu = (samples?: Sample[]): number | null => middle(samples, (sample) => sample.cpuPerMillion);
  const [ours, theirs] = [iops(riser), iops(tgt)];
  const ratio = ours === null || theirs === null ? '-' : `${(ours / theirs).toFixed(2)}x`;
  const cells = [name, cell(ours, 0), cell(theirs, 0), ratio, spread(riser), spread(tgt)];
  return `| ${[...cells, cell(cpu(riser), 2), cell(cpu(tgt), 2)].join(' | ')} |`;
}

function middle(samples: Sample[] | undefined, value: (sample: Sample) => number): number | null {
  return samples === undefined ? null : median(samples.map(value));
}

function cell(value: number | null, digits: number): string {
  return value === null ? '-' : value.toFixed(digits);
}

/** Lowest and highest IOPS as a share of the median: how far to trust it. */
function spread(samples: Sample[] | undefined): string {
  if (samples === undefined) return '-';
  const iops = samples.map((sample) => sample.iops);
  const percent = (value: number): string => `${Math.round((value / median(iops) - 1) * 100)}`;
  return `${percent(Math.min(...iops))}/+${percent(Math.max(...iops))} %`;
}
