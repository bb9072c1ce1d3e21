/** What a fuzzer can be let loose on. Cases are plain JSON, so that they can be kept and run again. */

import type { Random } from './pick.js';

/** One case: how the thing under test is set up, and what is done to it in turn. */
export interface Case<Setup, Step> {
  setup: Setup;
  steps: Step[];
}

/** The JSON of any surface. */
export type AnyCase = Case<unknown, unknown>;

/**
 * A side of Riser that takes what others send. `run` carries a case out from a fresh state, checks every invariant, and throws
 * when one is broken. It returns what was seen of the answers, in words: an outcome that is new makes the case worth keeping.
 */
export interface Surface<Setup, Step> {
  readonly name: string;
  /** Most steps of a generated case. */
  readonly longest: number;
  open(): Promise<void>;
  close(): Promise<void>;
  setup(random: Random): Setup;
  step(random: Random): Step;
  /** Another step that is much like `step`. */
  mutate(step: Step, random: Random): Step;
  run(fuzzCase: Case<Setup, Step>): Promise<Set<string>> | Set<string>;
}
