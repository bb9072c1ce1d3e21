/** `riser bench`: what a LUN does under load, or several beside each other. */

import type { LunDevice } from '../../initiator/index.js';
import { ExitCode, usageError } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { openLunDevice, pathsOf } from '../open-device.js';
import { print, printJson, table } from '../output.js';
import { formatSize } from '../size.js';
import { Load } from './load.js';
import { type BenchFlags, checkDevice, describePlan, noteWrites, planOf } from './plan.js';
import { startPlot } from './plot.js';
import { formatMicroseconds, PERCENTILES, type Results, resultsOf } from './results.js';

/** As many as a picture can tell apart. */
const URL_LIMIT = 8;

/** @throws RiserError `USAGE`, `URL`, and what devices and their connections say */
export async function runBench(
  urls: readonly string[],
  flags: BenchFlags,
  interruption: Interruption,
): Promise<number> {
  if (urls.length > URL_LIMIT) throw usageError(`${urls.length} URLs are too many: at most ${URL_LIMIT}`);
  if (urls.length > 1) {
    const { runComparison } = await import('./comparison.js');
    return runComparison(urls, flags, interruption);
  }
  for (const option of ['rounds', 'svg'] as const)
    if (flags[option] !== undefined)
      throw usageError(`--${option} is for a comparison`, 'Name two URLs or more: riser bench URL URL.');
  return runSingle(urls[0]!, flags, interruption);
}

async function runSingle(url: string, flags: BenchFlags, interruption: Interruption): Promise<number> {
  const plan = planOf(flags);
  const { sessions, seconds, rampTime: rampSeconds } = flags;
  const devices: LunDevice[] = [];
  try {
    for (let i = 0; i < sessions; i++) devices.push(await openLunDevice(url, flags, interruption.signal));
    checkDevice(devices[0]!, plan);
    if (flags.quiet !== true) noteWrites(devices[0]!, plan);
    const load = new Load({ ...plan, devices, rampSeconds, seconds });
    await run(load, flags, interruption);
    const results = resultsOf(load);
    const paths = pathsOf(devices[0]!);
    if (flags.json === true) await printJson({ url, ...describePlan(plan), sessions, paths, ...results });
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

function describe(results: Results): string {
  const rows = [['', 'IOPS', 'BANDWIDTH', 'MIN', 'MEAN', ...PERCENTILES.map((p) => `P${p}`), 'MAX']];
  for (const [name, kind] of [
    ['read', results.reads],
    ['write', results.writes],
  ] as const) {
    if (kind === null) continue;
    const latencies = Object.values(kind.latencyUs).map(formatMicroseconds);
    rows.push([name, kind.iops.toFixed(0), `${formatSize(Math.round(kind.bytesPerSecond))}/s`, ...latencies]);
  }
  return table(rows);
}
