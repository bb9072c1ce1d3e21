/** Cases in files, one a line: those that showed something new, and those that once failed. */

import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ROOT } from '../../support/files.js';
import type { AnyCase } from './surface.js';

export const corpusOf = (surface: string): string => join(ROOT, 'test/fuzz/corpus', `${surface}.jsonl`);
export const failuresOf = (surface: string): string => join(ROOT, 'test/fuzz/failures', `${surface}.jsonl`);

/** The cases of `file`; none when there is no such file. */
export function readCases(file: string): AnyCase[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as AnyCase);
}

export function writeCases(file: string, cases: readonly AnyCase[]): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, cases.map((fuzzCase) => `${JSON.stringify(fuzzCase)}\n`).join(''));
}

export function appendCase(file: string, fuzzCase: AnyCase): void {
  mkdirSync(dirname(file), { recursive: true });
  appendFileSync(file, `${JSON.stringify(fuzzCase)}\n`);
}
