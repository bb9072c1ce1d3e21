import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ScatterList } from '../../util/memory.js';
import { type Grant, KeyTable } from './keys.js';

/** Counts how often its key was ended. */
function grantOf(): Grant & { ends: number } {
  return {
    domain: {},
    queuePair: null,
    access: 0,
    base: 0,
    list: new ScatterList(),
    isInvalidable: true,
    ends: 0,
    invalidated() {
      this.ends++;
    },
  };
}

/** Many of them are looked for in the same place, and around the end of the table. */
const keys = fc.oneof(
  fc.integer({ min: 1, max: 8 }).map((n) => (n * 0x0100_0000 + 62) >>> 0),
  fc.integer({ min: 1, max: 8 }).map((n) => (n * 0x1000_0000 + 63) >>> 0),
  fc.integer({ min: 1, max: 4 }),
  fc.integer({ min: 1, max: 0xffff_ffff }),
);

describe('KeyTable', () => {
  it('finds what is granted and nothing else, as a Map does', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(keys, fc.boolean()), { maxLength: 400 }), (steps) => {
        const table = new KeyTable();
        const model = new Map<number, Grant & { ends: number }>();
        for (const [key, isAdded] of steps) {
          const had = model.get(key);
          assert.equal(table.find(key), had ?? null);
          if (isAdded && had === undefined) {
            const grant = grantOf();
            model.set(key, grant);
            table.set(key, grant);
          } else if (!isAdded) {
            table.remove(key);
            model.delete(key);
            if (had !== undefined) assert.equal(had.ends, 1);
          }
          assert.equal(table.count, model.size);
        }
        for (const [key, grant] of model) {
          assert.equal(table.find(key), grant);
          assert.equal(grant.ends, 0);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('draws keys that are not 0 and not granted, and 0 is no key', () => {
    const table = new KeyTable();
    const drawn = new Set<number>();
    for (let i = 0; i < 2000; i++) {
      const key = table.add(grantOf());
      assert.ok(key > 0 && key <= 0xffff_ffff && !drawn.has(key));
      drawn.add(key);
    }
    assert.equal(table.count, 2000);
    assert.equal(table.find(0), null);
    table.remove(0);
    for (const key of drawn) table.remove(key);
    assert.equal(table.count, 0);
  });
});
