/** Runs test files, each in a process of its own, and prints their results as they come. */

import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { finished } from 'node:stream/promises';

import { ROOT } from './files.js';

export interface Results {
  /** Names of the outermost tests and suites that failed, and of the files that could not be run. */
  failed: string[];
  /** A line for each test that was skipped, with its reason. */
  skipped: string[];
}

/**
 * Run `files`, paths from the root.
 *
 * @param concurrency how many at a time
 * @param limit milliseconds after which all of it is given up
 */
export async function runFiles(
  files: readonly string[],
  concurrency: number,
  limit: number,
): Promise<Results> {
  const results: Results = { failed: [], skipped: [] };
  const events = run({ files: files.map((file) => join(ROOT, file)), concurrency, timeout: limit });
  events.on('test:pass', ({ name, skip }) => {
    if (skip === undefined || skip === false) return;
    results.skipped.push(typeof skip === 'string' ? `${name}: ${skip}` : name);
  });
  events.on('test:fail', ({ name, nesting }) => {
    if (nesting === 0) results.failed.push(name);
  });
  const report = events.pipe(new spec());
  report.pipe(process.stdout, { end: false });
  await finished(report);
  return results;
}
