/** Prepares what the scenarios need, runs them, and says where a failed one left its logs. */

import { rmSync } from 'node:fs';
import { basename, join } from 'node:path';

import { build } from '../test/support/build.js';
import { ROOT } from '../test/support/files.js';
import { type Results, runFiles } from '../test/support/run-files.js';
import { buildGuest, whatIsMissing } from './guest-image.js';
import { RESULTS } from './harness/scenario.js';

/** The folder of the scenarios' files, `NAME.test.ts`, from the root. */
export const SCENARIOS = 'lab/scenarios/';

/** A guest has two processors and keeps about one busy: two guests fill a machine of two cores. */
const GUESTS_AT_A_TIME = 2;

/** Milliseconds after which the scenarios together are given up. */
const LONGEST_RUN = 20 * 60_000;

/** Scenarios that run when they are asked for by name, and not with all tests: these are to take no more than half an hour. */
export const ON_DEMAND: ReadonlySet<string> = new Set([
  'alua',
  'conformance',
  'iser-io',
  'iser-peers',
  'iser-targets',
  'multipath',
  'native-addresses',
  'native-bench',
  'native-initiator',
  'native-iwarp',
  'native-loss',
  'native-siw',
  'native-target',
  'native-tools',
  'verbs-asan',
  'verbs-native',
]);

/** The name of a scenario, which is its file's. */
export function scenarioName(file: string): string {
  return basename(file, '.test.ts');
}

/**
 * Run the scenarios in `files`. The guest is built first if need be, and Riser too: the
 * host and the guest run it as users do. Where packages are missing each scenario is skipped with the reason.
 */
export async function runScenarios(files: readonly string[], { keep = false } = {}): Promise<Results> {
  if (whatIsMissing() === null) {
    await buildGuest();
    await build();
  }
  const results = await runFiles(files, GUESTS_AT_A_TIME, LONGEST_RUN);
  for (const file of files) {
    const name = scenarioName(file);
    if (results.failed.length === 0 && !keep) rmSync(join(RESULTS, name), { recursive: true, force: true });
  }
  for (const name of results.failed)
    console.error(`${name} left its logs in ${join(RESULTS, name).replace(ROOT, '')}`);
  return results;
}
