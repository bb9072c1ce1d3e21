/**
 * Fuzzes for as long as one likes:
 *
 *     npm run fuzz                              every surface for a minute
 *     npm run fuzz -- --hours 2 session         one surface for two hours
 *     npm run fuzz -- --cases 1000000           so many cases in all
 *
 * Cases that show something new join test/fuzz/corpus; a case that fails joins test/fuzz/failures, is printed, and ends the run.
 * At the end memory and handles have to be back where they began.
 */

import { Command, InvalidArgumentError } from 'commander';
import { setImmediate as nextTurn } from 'node:timers/promises';
import cliProgress from 'cli-progress';
import { randomFrom } from '../support/random.js';
import { appendCase, corpusOf, failuresOf, readCases, writeCases } from './engine/corpus.js';
import { FuzzFailure, Fuzzer } from './engine/fuzzer.js';
import { Leftovers } from './engine/leftovers.js';
import type { AnyCase, Surface } from './engine/surface.js';
import { surfaces } from './surfaces.js';

interface Options {
  hours: number;
  cases?: number;
  seed: number;
}

const REPORT_MS = 5000;

const positive = (text: string): number => {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('give a number above 0');
  return value;
};

const all = surfaces();
const names = all.map(({ name }) => name);
const program = new Command('npm run fuzz --')
  .argument('[surface...]', `of ${names.join(', ')}; default: all`)
  .option('--hours <n>', 'how long in all, such as 0.5', positive, all.length / 60)
  .option('--cases <n>', 'how many in all, instead', positive)
  .option('--seed <n>', 'of what is left to chance', Number, Date.now() % 0x7fff_ffff)
  .parse();
const options = program.opts<Options>();
for (const name of program.args)
  if (!names.includes(name)) program.error(`there is no surface ${name}: choose of ${names.join(', ')}`);
const wanted = program.args.length === 0 ? all : all.filter(({ name }) => program.args.includes(name));

console.log(`seed ${options.seed}`);
const rows: Record<string, number | string>[] = [];
for (const surface of wanted) rows.push(await fuzz(surface, options, 1 / wanted.length));
console.table(rows);

/** Fuzz one surface with its `share` of the time or the cases. */
async function fuzz(
  surface: Surface<unknown, unknown>,
  limits: Options,
  share: number,
): Promise<Record<string, number | string>> {
  const random = randomFrom(limits.seed);
  const fuzzer = new Fuzzer(surface);
  const dies = (error: unknown): void => fail(surface.name, fuzzer.current!, error);
  process.on('uncaughtException', dies);
  const kept = readCases(corpusOf(surface.name));
  const leftovers = new Leftovers();
  const began = performance.now();
  const end = began + 3_600_000 * limits.hours * share;
  const most = (limits.cases ?? Infinity) * share;
  const part = (): number =>
    limits.cases === undefined ? (performance.now() - began) / (end - began) : fuzzer.cases / most;
  const progress = startProgress(surface.name, fuzzer, part);
  try {
    await surface.open();
    for (const fuzzCase of [...readCases(failuresOf(surface.name)), ...kept]) await fuzzer.replay(fuzzCase);
    await leftovers.begin();
    for (let i = 1; limits.cases === undefined ? performance.now() < end : fuzzer.cases < most; i++) {
      await fuzzer.next(random);
      // Cases that wait for nothing would let no timer have its turn.
      if (i % 100 === 0) await nextTurn();
    }
    await leftovers.end();
    await surface.close();
  } catch (error) {
    fail(surface.name, error instanceof FuzzFailure ? error.fuzzCase : fuzzer.current!, error);
  } finally {
    progress();
    process.off('uncaughtException', dies);
  }
  writeCases(corpusOf(surface.name), fuzzer.corpus);
  const seconds = (performance.now() - began) / 1000;
  return {
    surface: surface.name,
    cases: fuzzer.cases,
    'cases/s': Math.round(fuzzer.cases / seconds),
    outcomes: fuzzer.outcomes.size,
    corpus: fuzzer.corpus.length,
    'new in corpus': fuzzer.corpus.length - kept.length,
    ...leftovers.row,
  };
}

function fail(surface: string, fuzzCase: AnyCase, error: unknown): never {
  appendCase(failuresOf(surface), fuzzCase);
  console.error(error);
  console.error(`\nThe case is in ${failuresOf(surface)}; \`npm test -- fuzz/surfaces\` runs it again.`);
  process.exit(1);
}

/** A bar on a terminal, else a line now and then. Returns what ends it. */
function startProgress(name: string, fuzzer: Fuzzer<unknown, unknown>, part: () => number): () => void {
  const state = (): string => `${fuzzer.cases} cases, ${fuzzer.corpus.length} kept`;
  const percent = (): number => Math.min(100, Math.floor(100 * part()));
  if (!process.stderr.isTTY) {
    const timer = setInterval(() => console.error(`${name} ${percent()}% ${state()}`), REPORT_MS);
    return () => clearInterval(timer);
  }
  const bar = new cliProgress.SingleBar({
    format: `${name} [{bar}] {percentage}% {state}`,
    stream: process.stderr,
  });
  bar.start(100, 0, { state: state() });
  const timer = setInterval(() => bar.update(percent(), { state: state() }), 200);
  return () => {
    clearInterval(timer);
    bar.stop();
  };
}
