import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Coverage } from './coverage.js';

test('knows what has come, in whatever order, and refuses what comes twice', () => {
  const part = fc.record({ start: fc.nat(40), length: fc.integer({ min: 1, max: 12 }) });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 30 }), fc.nat(40), fc.nat(12), (parts, from, length) => {
      const coverage = new Coverage();
      const model = new Set<number>();
      for (const { start, length } of parts) {
        const bytes = Array.from({ length }, (_, i) => start + i);
        const isNew = bytes.every((byte) => !model.has(byte));
        assert.equal(coverage.add(start, start + length), isNew);
        if (isNew) for (const byte of bytes) model.add(byte);
      }
      const asked = Array.from({ length }, (_, i) => from + i);
      const isThere = asked.every((byte) => model.has(byte));
      const first = model.size === 0 ? 0 : Math.min(...model);
      const isOnePiece = model.size === 0 || Math.max(...model) - first + 1 === model.size;
      if (isOnePiece) assert.equal(coverage.covers(from, from + length), isThere);
      else if (!isThere) assert.equal(coverage.covers(from, from + length), false);
    }),
  );
});

test('a reply in thousands of scattered pieces is refused', () => {
  const coverage = new Coverage();
  let taken = 0;
  while (taken < 5000 && coverage.add(2 * taken, 2 * taken + 1)) taken++;
  assert.equal(taken, 1024);
});
