/** `riser bench URL URL ...`: several LUNs, or ways to one, under the same load in turn. */

import { access, constants, open, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { LunDevice } from '../../initiator/index.js';
import { RiserError, systemCode } from '../../util/errors.js';
import { parseUrl, requireLun } from '../connection-options.js';
import { ExitCode, messageOf } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { openLunDevice, pathsOf, portalsOf, transportOf, worldWideNameOf } from '../open-device.js';
import { note, print, printJson } from '../output.js';
import { formatDuration } from '../transfer/progress.js';
import { countOf, describeComparison } from './comparison-table.js';
import { drawPicture } from './picture.js';
import { type BenchFlags, checkDevice, describePlan, noteWrites, planOf } from './plan.js';
import { startPlot } from './plot.js';
import { findTarget } from './process-time.js';
import { Rounds, type RunWatcher, type Subject } from './rounds.js';
import { ratioOf, type SubjectResults, summaryOf } from './summary.js';

const DEFAULT_ROUNDS = 3;

/** A URL with its sessions. */
interface OpenedSubject extends Subject {
  readonly letter: string;
  readonly url: string;
  readonly devices: LunDevice[];
}

/** @throws RiserError as {@link runBench} */
export async function runComparison(
  urls: readonly string[],
  flags: BenchFlags,
  interruption: Interruption,
): Promise<number> {
  const plan = planOf(flags);
  const { rounds = DEFAULT_ROUNDS, seconds, rampTime: rampSeconds, sessions, svg, quiet = false } = flags;
  const date = new Date().toISOString();
  for (const url of urls) requireLun(parseUrl(url));
  if (svg !== undefined) await checkWritable(svg);
  const opened: OpenedSubject[] = [];
  try {
    for (const [i, url] of urls.entries()) {
      const subject = subjectOf(url, i);
      opened.push(subject);
      for (let j = 0; j < sessions; j++)
        subject.devices.push(await openLunDevice(url, flags, interruption.signal));
      checkDevice(subject.devices[0]!, plan);
    }
    if (!quiet) {
      for (const { devices } of opened) noteWrites(devices[0]!, plan);
      const total = urls.length * (rounds * seconds + (rounds + 1) * rampSeconds);
      note(`${urls.length} URLs, ${countOf(rounds, 'round')}: about ${formatDuration(Math.ceil(total))}`);
    }
    const measured = new Rounds(opened, { load: plan, rounds, seconds, rampSeconds });
    interruption.whenCame(() => {
      measured.stop();
    });
    await measured.run(progress(opened, rounds, quiet));
    if (opened.every((_, i) => measured.runsOf(i).length === 0)) throw interruption.signal.reason;
    const asked = { date, ...describePlan(plan), sessions, rounds, seconds, rampSeconds };
    const interruptedBy = interruption.came?.name ?? null;
    const subjects = resultsOf(opened, measured);
    const comparison = { ...asked, isSameLun: isSameLun(opened), interruptedBy, subjects };
    if (flags.json === true) await printJson(comparison);
    else await print(describeComparison(comparison));
    if (svg !== undefined) await write(svg, drawPicture(comparison));
    return ExitCode.SUCCESS;
  } finally {
    for (const { devices } of opened) for (const device of devices) await device.close();
  }
}

/** Its devices are yet to be opened. */
function subjectOf(url: string, index: number): OpenedSubject {
  const { portal } = parseUrl(url);
  const devices: LunDevice[] = [];
  return {
    letter: String.fromCharCode(65 + index),
    url,
    devices,
    findTarget: () => findTarget(portalsOf(devices[0]!) ?? [portal]),
  };
}

function resultsOf(opened: readonly OpenedSubject[], measured: Rounds): SubjectResults[] {
  const summaries = opened.map((_, i) => summaryOf(measured.runsOf(i)));
  return opened.map(({ letter, url, devices }, i) => {
    const device = devices[0]!;
    const runs = measured.runsOf(i);
    return {
      letter,
      url,
      transport: transportOf(device),
      lun: { name: worldWideNameOf(device), size: device.size, blockSize: device.blockSize },
      paths: pathsOf(device),
      target: runs.at(-1)?.target ?? null,
      ratio: ratioOf(runs, measured.runsOf(0)),
      summary: summaries[i]!,
      runs,
    };
  });
}

function isSameLun(opened: readonly OpenedSubject[]): boolean | null {
  const names = new Set(opened.map(({ devices }) => worldWideNameOf(devices[0]!)));
  if (names.has(null)) return null;
  return names.size === 1;
}

/** On standard error: the plot of a single LUN on a terminal, and a line after each run. */
function progress(opened: readonly OpenedSubject[], rounds: number, quiet: boolean): RunWatcher {
  let plot: { stop(): void } | null = null;
  return {
    begin: async (subject, round, load) => {
      if (quiet || !process.stderr.isTTY) return;
      note(`round ${round} of ${rounds}, ${opened[subject]!.letter}:`);
      plot = await startPlot(() => load.count);
    },
    end: (subject, run) => {
      plot?.stop();
      if (run !== null && !quiet)
        note(`round ${run.round} of ${rounds}, ${opened[subject]!.letter}: ${run.iops.toFixed(0)} IOPS`);
    },
    failed: (subject) => {
      const { letter, url } = opened[subject]!;
      note(`${letter} failed: ${url}`);
    },
  };
}

/** Before the load rather than after it. */
async function checkWritable(path: string): Promise<void> {
  try {
    const file = await open(path, 'r+');
    await file.close();
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw pictureError(path, error);
    await access(dirname(path), constants.W_OK).catch((cause: unknown) => {
      throw pictureError(path, cause);
    });
  }
}

async function write(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch (error) {
    throw pictureError(path, error);
  }
}

function pictureError(path: string, cause: unknown): RiserError {
  return new RiserError('PICTURE', `the picture cannot be written to ${path}: ${messageOf(cause)}`, {
    by: 'local',
    costs: 'process',
    remedy: 'Name a file in a folder that is there: --svg FILE.',
    cause,
  });
}
