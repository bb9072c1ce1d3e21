/**
 * Each surface is fuzzed for a few seconds: first with what was kept of earlier runs, and with everything that once failed. For
 * longer there is `npm run fuzz`. `RISER_FUZZ_SEED` repeats the cases that are made by chance.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomFrom } from '../support/random.js';
import { corpusOf, failuresOf, readCases } from './engine/corpus.js';
import { Fuzzer } from './engine/fuzzer.js';
import { surfaces } from './surfaces.js';

const SECONDS = Number(process.env['RISER_FUZZ_SECONDS'] ?? 5);
const LONGEST_MS = 1000 * (SECONDS + 300);

for (const surface of surfaces()) {
  describe(`fuzz: ${surface.name}`, { timeout: LONGEST_MS }, () => {
    it('has none of the failures that it had', async () => {
      await surface.open();
      try {
        const fuzzer = new Fuzzer(surface);
        for (const failure of readCases(failuresOf(surface.name))) await fuzzer.replay(failure);
      } finally {
        await surface.close();
      }
    });

    it('keeps every invariant, whatever comes', async (t) => {
      const seed = Number(process.env['RISER_FUZZ_SEED'] ?? Date.now() % 0x7fff_ffff);
      t.diagnostic(`RISER_FUZZ_SEED=${seed}`);
      const random = randomFrom(seed);
      await surface.open();
      try {
        const fuzzer = new Fuzzer(surface);
        const corpus = readCases(corpusOf(surface.name));
        assert.ok(corpus.length > 0, 'a corpus is kept');
        for (const fuzzCase of corpus) await fuzzer.replay(fuzzCase);
        const end = performance.now() + 1000 * SECONDS;
        do await fuzzer.next(random);
        while (performance.now() < end);
      } finally {
        await surface.close();
      }
    });
  });
}
