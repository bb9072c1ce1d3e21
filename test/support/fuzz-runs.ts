/**
 * Random cases for as long as there is time, each repeatable by its seed: `RISER_FUZZ_SEED=123` runs that one alone,
 * `RISER_FUZZ_SECONDS=600` replaces the usual time.
 */

import { randomFrom } from './random.js';

/** `seconds` of cases, one at least. */
export function fuzz(seconds: number, run: (random: () => number) => void): number {
  const { first, end, isAlone } = plan(seconds);
  let cases = 0;
  do {
    const seed = (first + cases++) >>> 0;
    try {
      run(randomFrom(seed));
    } catch (error) {
      throw new Error(`the case of RISER_FUZZ_SEED=${seed} fails`, { cause: error });
    }
  } while (!isAlone && performance.now() < end);
  return cases;
}

/** The same for cases that take turns with others. */
export async function fuzzLater(
  seconds: number,
  run: (random: () => number) => Promise<void>,
): Promise<number> {
  const { first, end, isAlone } = plan(seconds);
  let cases = 0;
  do {
    const seed = (first + cases++) >>> 0;
    try {
      await run(randomFrom(seed));
    } catch (error) {
      throw new Error(`the case of RISER_FUZZ_SEED=${seed} fails`, { cause: error });
    }
  } while (!isAlone && performance.now() < end);
  return cases;
}

function plan(seconds: number): { first: number; end: number; isAlone: boolean } {
  const { RISER_FUZZ_SEED, RISER_FUZZ_SECONDS } = process.env;
  return {
    first: RISER_FUZZ_SEED === undefined ? Date.now() % 0x7fff_ffff : Number(RISER_FUZZ_SEED),
    end: performance.now() + 1000 * Number(RISER_FUZZ_SECONDS ?? seconds),
    isAlone: RISER_FUZZ_SEED !== undefined,
  };
}
