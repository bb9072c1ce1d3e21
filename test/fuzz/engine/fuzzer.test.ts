/** The fuzzer finds what it is there to find, on a surface whose mistakes are known. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomFrom } from '../../support/random.js';
import { FuzzFailure, Fuzzer } from './fuzzer.js';
import { below } from './pick.js';
import type { Case, Surface } from './surface.js';

/** A lock that opens by 3, 1, 4 in a row: by chance alone one case in some ten thousand does. */
class Lock implements Surface<null, number> {
  readonly name = 'lock';
  readonly longest = 4;
  breaks = true;

  open(): Promise<void> {
    return Promise.resolve();
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
  setup(): null {
    return null;
  }
  step(random: () => number): number {
    return below(random, 40);
  }
  mutate(step: number, random: () => number): number {
    return step + (random() < 0.5 ? 1 : -1);
  }
  run({ steps }: Case<null, number>): Set<string> {
    const seen = new Set<string>();
    let right = 0;
    for (const step of steps) {
      right = step === [3, 1, 4][right] ? right + 1 : 0;
      seen.add(`${right} right`);
      if (right === 3 && this.breaks) throw new Error('open');
      if (right === 3) right = 0;
    }
    return seen;
  }
}

async function search(fuzzer: Fuzzer<null, number>, cases: number): Promise<unknown> {
  const random = randomFrom(7);
  try {
    while (fuzzer.cases < cases) await fuzzer.next(random);
    return null;
  } catch (error) {
    return error;
  }
}

describe('a fuzzer', () => {
  it('gets step by step to what chance alone would not find, and shows it in as few steps as it takes', async () => {
    const failure = await search(new Fuzzer(new Lock()), 20_000);
    assert.ok(failure instanceof FuzzFailure);
    assert.deepEqual(failure.fuzzCase, { setup: null, steps: [3, 1, 4] });
    assert.match(String(failure.cause), /open/);
  });

  it('keeps one case for what is new, without the steps that it does not need', async () => {
    const lock = new Lock();
    lock.breaks = false;
    const fuzzer = new Fuzzer(lock);
    assert.equal(await search(fuzzer, 20_000), null);
    assert.deepEqual([...fuzzer.outcomes].sort(), ['0 right', '1 right', '2 right', '3 right']);
    assert.deepEqual(fuzzer.corpus.at(-1)!.steps, [3, 1, 4]);
    assert.ok(fuzzer.corpus.length <= 4);
  });

  it('drops cases of an old corpus that show nothing new any more', async () => {
    const lock = new Lock();
    lock.breaks = false;
    const fuzzer = new Fuzzer(lock);
    await fuzzer.replay({ setup: null, steps: [3] });
    await fuzzer.replay({ setup: null, steps: [9, 3] });
    await fuzzer.replay({ setup: null, steps: [3, 3] });
    assert.deepEqual(
      fuzzer.corpus.map(({ steps }) => steps),
      [[3], [9, 3]],
    );
  });
});
