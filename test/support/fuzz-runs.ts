/**
 * Random cases for as long as there is time, each repeatable by its seed: `RISER_FUZZ_SEED=123` runs that one alone,
 * `RISER_FUZZ_SECONDS=600` replaces the usual time.
 */

import { randomFrom } from './random.js';

/** `seconds` of cases, one at least. */
export function fuzz(seconds: number, run: (random: () => number) => void): number {
  const { RISER_FUZZ_SEED, RISER_FUZZ_SECONDS } = process.env;
  const first = RISER_FUZZ_SEED === undefined ? Date.now() % 0x7fff_ffff : Number(RISER_FUZZ_SEED);
  const end = performance.now() + 1000 * Number(RISER_FUZZ_SECONDS ?? seconds);
  let cases = 0;
  do {
    const seed = (first + cases++) >>> 0;
    try {
      run(randomFrom(seed));
    } catch (error) {
      throw new Error(`the case of RISER_FUZZ_SEED=${seed} fails`, { cause: error });
    }
  } while (RISER_FUZZ_SEED === undefined && performance.now() < end);
  return cases;
}
