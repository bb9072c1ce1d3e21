/**
 * Makes cases out of what is known to matter, and keeps those that show something new: an answer that no case before had. Such a case
 * is the stuff of which later ones are made. A case that breaks an invariant is made as short as possible, and thrown.
 */

import { below, chance, oneOf, type Random } from './pick.js';
import type { AnyCase, Case, Surface } from './surface.js';

/** Most runs, and milliseconds, that are spent on making a case shorter. */
const SHORTENING_RUNS = 200;
const SHORTENING_MS = 60_000;
/** The same for one that is only kept because it is new. */
const TRIMMING_RUNS = 40;

/** An invariant is broken by `fuzzCase`. */
export class FuzzFailure extends Error {
  readonly fuzzCase: AnyCase;

  constructor(surface: string, fuzzCase: AnyCase, cause: unknown) {
    super(`${surface}: a case of ${fuzzCase.steps.length} steps fails: ${JSON.stringify(fuzzCase)}`, {
      cause,
    });
    this.name = 'FuzzFailure';
    this.fuzzCase = fuzzCase;
  }
}

export class Fuzzer<Setup, Step> {
  readonly surface: Surface<Setup, Step>;
  /** The cases that showed something new when they came. */
  readonly corpus: Case<Setup, Step>[] = [];
  /** Everything that was ever answered. */
  readonly outcomes = new Set<string>();
  cases = 0;
  /** The case that runs; for whoever sees the process die of it. */
  current: Case<Setup, Step> | null = null;

  constructor(surface: Surface<Setup, Step>) {
    this.surface = surface;
  }

  /** Run a case that was kept. It joins the corpus if it still shows something that those before it did not. */
  async replay(fuzzCase: AnyCase): Promise<void> {
    const known = fuzzCase as Case<Setup, Step>;
    if (this.#learn(await this.#attempt(known)).length > 0) this.corpus.push(known);
  }

  /** Make a case and run it. */
  async next(random: Random): Promise<void> {
    const fuzzCase = this.#make(random);
    const news = this.#learn(await this.#attempt(fuzzCase));
    if (news.length > 0) this.corpus.push(await this.#trim(fuzzCase, news));
  }

  #make(random: Random): Case<Setup, Step> {
    const { surface, corpus } = this;
    if (corpus.length === 0 || chance(random, 0.2)) {
      const steps = Array.from({ length: 1 + below(random, surface.longest) }, () => surface.step(random));
      return { setup: surface.setup(random), steps };
    }
    const parent = oneOf(random, corpus);
    const setup = chance(random, 0.2) ? surface.setup(random) : parent.setup;
    const steps = [...parent.steps];
    for (let changes = 1 + below(random, 4); changes > 0; changes--) {
      const at = below(random, steps.length + 1);
      const kind = random();
      if (kind < 0.45 && at < steps.length) steps[at] = surface.mutate(steps[at]!, random);
      else if (kind < 0.7) steps.splice(at, 0, surface.step(random));
      else if (kind < 0.8) steps.splice(at, 0, ...oneOf(random, corpus).steps);
      else if (kind < 0.9 && at < steps.length) steps.splice(at, 0, steps[at]!);
      else if (steps.length > 1) steps.splice(at, 1);
    }
    return { setup, steps: steps.slice(0, 2 * surface.longest) };
  }

  /** The outcomes of a case; a failure comes as short as it can be made. */
  async #attempt(fuzzCase: Case<Setup, Step>): Promise<Set<string>> {
    try {
      return await this.#run(fuzzCase);
    } catch (error) {
      throw await this.#shortened(fuzzCase, error);
    }
  }

  async #run(fuzzCase: Case<Setup, Step>): Promise<Set<string>> {
    this.cases++;
    this.current = fuzzCase;
    return await this.surface.run(fuzzCase);
  }

  async #shortened(fuzzCase: Case<Setup, Step>, error: unknown): Promise<FuzzFailure> {
    let cause = error;
    const end = performance.now() + SHORTENING_MS;
    const fails = async (shorter: Case<Setup, Step>): Promise<boolean> => {
      if (performance.now() > end) return false;
      try {
        await this.#run(shorter);
        return false;
      } catch (later) {
        await this.#beginAnew();
        cause = later;
        return true;
      }
    };
    await this.#beginAnew();
    const shortest = await withoutNeedless(fuzzCase, SHORTENING_RUNS, fails);
    return new FuzzFailure(this.surface.name, shortest, cause);
  }

  /** What a failed case has left behind is not to be taken for the next one's. */
  async #beginAnew(): Promise<void> {
    // What is broken may not close either.
    await this.surface.close().catch(() => undefined);
    await this.surface.open();
  }

  /** What of it still shows `news`. */
  async #trim(fuzzCase: Case<Setup, Step>, news: readonly string[]): Promise<Case<Setup, Step>> {
    return withoutNeedless(fuzzCase, TRIMMING_RUNS, async (shorter) => {
      const outcomes = await this.#attempt(shorter);
      return news.every((outcome) => outcomes.has(outcome));
    });
  }

  #learn(outcomes: ReadonlySet<string>): string[] {
    const news = [...outcomes].filter((outcome) => !this.outcomes.has(outcome));
    for (const outcome of news) this.outcomes.add(outcome);
    return news;
  }
}

/** `fuzzCase` without the steps that `isGood` does not need, found in `runs` tries at most. */
async function withoutNeedless<Setup, Step>(
  fuzzCase: Case<Setup, Step>,
  runs: number,
  isGood: (shorter: Case<Setup, Step>) => Promise<boolean>,
): Promise<Case<Setup, Step>> {
  let { steps } = fuzzCase;
  let left = runs;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < steps.length && steps.length > 1 && left > 0;) {
      const shorter = steps.filter((_, i) => i < at || i >= at + size);
      left--;
      if (shorter.length > 0 && (await isGood({ setup: fuzzCase.setup, steps: shorter }))) steps = shorter;
      else at += size;
    }
  }
  return { setup: fuzzCase.setup, steps };
}
