/** `riser bench`: what a LUN does under load. */

import type { BlockDevice } from '../../block/index.js';
import type { LunDevice } from '../../initiator/index.js';
import { RiserError } from '../../util/errors.js';
import type { ClientFlags } from '../connection-flags.js';
import { ExitCode, usageError } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { openLunDevice, pathsOf } from '../open-device.js';
import { note, print, printJson, table } from '../output.js';
import { formatSize } from '../size.js';
import { Load, type Tally } from './load.js';
import { startPlot } from './plot.js';

export interface BenchFlags extends ClientFlags {
  seconds: number;
  rampTime: number;
  /** Bytes. */
  blockSize: number;
  /** In each session. */
  depth: number;
  sessions: number;
  sequential?: boolean;
  write?: boolean;
  readPercent?: number;
  destroyData?: boolean;
  quiet?: boolean;
}

/** Bytes of all buffers. */
const MEMORY_LIMIT = 2 ** 30;
const PERCENTILES = [50, 90, 99, 99.9] as const;

export async function runBench(url: string, flags: BenchFlags, interruption: Interruption): Promise<number> {
  const readPercent = flags.write === true ? 0 : (flags.readPercent ?? 100);
  const { blockSize, depth, sessions, seconds } = flags;
  if (readPercent < 100 && flags.destroyData !== true) {
    throw usageError(
      'writing destroys what is on the LUN',
      'If nothing on it is needed any more, say so: --destroy-data.',
    );
  }
  if (blockSize * depth * sessions > MEMORY_LIMIT)
    throw usageError(
      `that takes more than ${formatSize(MEMORY_LIMIT)} of memory`,
      'Choose a smaller --depth.',
    );
  const devices: LunDevice[] = [];
  try {
    for (let i = 0; i < sessions; i++) devices.push(await openLunDevice(url, flags, interruption.signal));
    check(devices[0]!, blockSize, readPercent);
    if (readPercent < 100 && flags.quiet !== true)
      note(
        `writing at ${flags.sequential === true ? 'every' : 'random'} place of ${devices[0]!.description}`,
      );
    const load = new Load({
      devices,
      blockSize,
      depth,
      isRandom: flags.sequential !== true,
      readPercent,
      // Several paths bring data side by side.
      sharesMemory: flags.multipath === undefined,
      rampSeconds: flags.rampTime,
      seconds,
    });
    await run(load, flags, interruption);
    const results = resultsOf(load);
    const paths = pathsOf(devices[0]!);
    if (flags.json === true) await printJson({ url, ...describeLoad(load), sessions, paths, ...results });
    else await print(describe(results));
    return ExitCode.SUCCESS;
  } finally {
    for (const device of devices) await device.close();
  }
}

async function run(load: Load, { quiet = false }: BenchFlags, interruption: Interruption): Promise<void> {
  const plot = quiet || !process.stderr.isTTY ? null : await startPlot(() => load.count);
  try {
    const finished = load.run();
    // It can be stopped when it runs, and not before.
    interruption.whenCame(() => {
      load.stop();
    });
    await finished;
  } finally {
    plot?.stop();
  }
}

function check(device: BlockDevice, blockSize: number, readPercent: number): void {
  if (blockSize % device.blockSize !== 0)
    throw usageError(`--block-size ${blockSize} is no whole number of ${device.blockSize}-byte blocks`);
  if (blockSize > device.size)
    throw usageError(`--block-size ${blockSize} is more than the LUN has: ${device.size} bytes`);
  if (readPercent < 100 && device.readOnly) {
    throw new RiserError('READ_ONLY', `${device.description} cannot be written to`, {
      by: 'device',
      costs: 'task',
    });
  }
}

function describeLoad({ options }: Load) {
  const { blockSize, depth, isRandom, readPercent } = options;
  return { blockSize, depth, order: isRandom ? 'random' : 'sequential', readPercent };
}

type Results = ReturnType<typeof resultsOf>;

/** Rates are a second; latencies are in microseconds. */
function resultsOf(load: Load) {
  const { seconds, reads, writes } = load;
  const { blockSize } = load.options;
  const rates = (count: number) => ({
    count,
    // Nothing was counted of what was interrupted while it ramped up.
    iops: count === 0 ? 0 : count / seconds,
    bytesPerSecond: count === 0 ? 0 : (count * blockSize) / seconds,
  });
  const kind = ({ count, latencies }: Tally) => {
    if (count === 0) return null;
    const us = (ns: number): number => ns / 1000;
    const percentiles = Object.fromEntries(
      PERCENTILES.map((percentile) => [`p${percentile}`, us(latencies.percentile(percentile))]),
    );
    const { min, mean, max } = latencies;
    return {
      ...rates(count),
      latencyUs: { minimum: us(min), mean: us(mean), ...percentiles, maximum: us(max) },
    };
  };
  return { seconds, ...rates(reads.count + writes.count), reads: kind(reads), writes: kind(writes) };
}

function describe(results: Results): string {
  const rows = [['', 'IOPS', 'BANDWIDTH', 'MIN', 'MEAN', ...PERCENTILES.map((p) => `P${p}`), 'MAX']];
  for (const [name, kind] of [
    ['read', results.reads],
    ['write', results.writes],
  ] as const) {
    if (kind === null) continue;
    const latencies = Object.values(kind.latencyUs as Record<string, number>).map(formatMicroseconds);
    rows.push([name, kind.iops.toFixed(0), `${formatSize(Math.round(kind.bytesPerSecond))}/s`, ...latencies]);
  }
  return table(rows);
}

function formatMicroseconds(us: number): string {
  return us < 1000 ? `${us.toFixed(0)} us` : `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms`;
}
