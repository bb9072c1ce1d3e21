import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type DataInRun, dataInEnd, dataInOffset } from './data-in-run.js';

const sizes = fc.record({
  length: fc.integer({ min: 1, max: 20_000 }),
  segment: fc.integer({ min: 512, max: 4096 }),
  burst: fc.integer({ min: 512, max: 9000 }),
  firstSN: fc.nat({ max: 5 }),
  firstOffset: fc.nat({ max: 3000 }),
});

test('where each Data-In began is found again, whatever the sizes', () => {
  fc.assert(
    fc.property(sizes, ({ length, firstOffset, segment: most, burst, firstSN }) => {
      const end = firstOffset + length;
      const segment = Math.min(most, burst);
      const run = {
        length: end,
        firstSN,
        firstOffset,
        segment,
        burst,
        collapsed: null,
      } as unknown as DataInRun;
      // As it is cut when it is sent.
      let dataSN = firstSN;
      let burstLeft = burst;
      for (let offset = firstOffset; offset < end; dataSN++) {
        assert.equal(dataInOffset(run, dataSN), offset);
        const part = Math.min(end - offset, segment, burstLeft);
        offset += part;
        burstLeft = burstLeft === part ? burst : burstLeft - part;
      }
      assert.equal(dataInEnd(run), dataSN);
    }),
  );
});
