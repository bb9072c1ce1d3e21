/**
 * Runs the tests: all of them, or those whose path contains one of the arguments.
 *
 *     npm test                      everything but scenarios on demand; the lab's last
 *     npm test -- src/scsi cli      only files with `src/scsi` or `cli` in their path
 *
 * Node 20 has no globs for `--test`, so the files are collected here. With RISER_REQUIRE_PEERS=1 a
 * skipped test fails the run.
 */

import { ON_DEMAND, runScenarios, scenarioName, SCENARIOS } from '../lab/run-scenarios.js';
import { build } from './support/build.js';
import { filesBelow, ROOT } from './support/files.js';
import { peersRequired } from './support/peers.js';
import { runFiles, type Results } from './support/run-files.js';

/** Milliseconds after which tests that hang are given up. */
const LONGEST_RUN = 15 * 60_000;

process.chdir(ROOT);
const wanted = process.argv.slice(2);
const files = ['src', 'native', 'test', 'lab']
  .flatMap((folder) => filesBelow(folder, '.test.ts'))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)));
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(' ')}`);
  process.exit(1);
}

const isWanted = (file: string): boolean => wanted.length > 0 || !ON_DEMAND.has(scenarioName(file));
const scenarios = files.filter((file) => file.startsWith(SCENARIOS) && isWanted(file));
const others = files.filter((file) => !file.startsWith(SCENARIOS));
const results: Results[] = [];
await build();
if (others.length > 0) results.push(await runFiles(others, 2, LONGEST_RUN));
if (scenarios.length > 0) results.push(await runScenarios(scenarios));

const skipped = results.flatMap((result) => result.skipped);
if (peersRequired && skipped.length > 0) {
  console.error(`RISER_REQUIRE_PEERS=1 forbids skipping, but ${skipped.length} tests were skipped:`);
  for (const line of skipped) console.error(`  ${line}`);
}
if (results.some(({ failed }) => failed.length > 0) || (peersRequired && skipped.length > 0))
  process.exitCode = 1;
