/**
 * Runs the tests: all of them, or those whose path contains one of the arguments.
 *
 *     npm test                      everything
 *     npm test -- src/scsi cli      only files with `src/scsi` or `cli` in their path
 *
 * Node 20 has no globs for `--test`, so the files are collected here. With RISER_REQUIRE_PEERS=1 a
 * skipped test fails the run.
 */

import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { filesBelow, ROOT } from './support/files.js';
import { peersRequired } from './support/peers.js';

/** Milliseconds after which a run that hangs is given up. */
const LONGEST_RUN = 25 * 60_000;

const wanted = process.argv.slice(2);
const files = ['src', 'test']
  .flatMap((folder) => filesBelow(folder, '.test.ts'))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)));
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(' ')}`);
  process.exit(1);
}

process.chdir(ROOT);
const skipped: string[] = [];
const results = run({ files: files.map((file) => join(ROOT, file)), concurrency: 2, timeout: LONGEST_RUN });
results.on('test:pass', ({ name, skip }) => {
  if (skip === undefined || skip === false) return;
  skipped.push(typeof skip === 'string' ? `${name}: ${skip}` : name);
});
results.on('test:fail', () => (process.exitCode = 1));
results.on('end', () => {
  if (!peersRequired || skipped.length === 0) return;
  process.exitCode = 1;
  process.on('exit', () => {
    console.error(`RISER_REQUIRE_PEERS=1 forbids skipping, but ${skipped.length} tests were skipped:`);
    for (const line of skipped) console.error(`  ${line}`);
  });
});
results.pipe(new spec()).pipe(process.stdout);
