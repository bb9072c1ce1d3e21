import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Memory, ScatterList } from '../../util/memory.js';
import { firstDifference } from './compare.js';

/** `bytes` in segments of the given lengths, and the rest in one. */
function scattered(bytes: Buffer, lengths: readonly number[]): ScatterList {
  const list = new ScatterList();
  let at = 0;
  for (const wanted of [...lengths, bytes.length]) {
    const length = Math.min(wanted, bytes.length - at);
    const region = Memory.allocate(length + 3);
    bytes.copy(region.bytes, 3, at, at + length);
    list.add(region, 3, length);
    at += length;
  }
  return list;
}

test('finds the first byte that differs, however the bytes are scattered', () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 8 });
  const skip = fc.nat({ max: 40 });
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 40, maxLength: 120 }),
      fc.option(fc.nat()),
      lengths,
      lengths,
      skip,
      skip,
      (bytes, change, aLengths, bLengths, aSkip, bSkip) => {
        const same = Buffer.from(bytes);
        const other = Buffer.from(bytes);
        const at = change === null ? -1 : change % same.length;
        if (at >= 0) other[at]! ^= 1;
        const a = scattered(Buffer.concat([Buffer.alloc(aSkip, 'a'), same]), aLengths);
        const b = scattered(Buffer.concat([Buffer.alloc(bSkip, 'b'), other]), bLengths);
        assert.equal(firstDifference(a, aSkip, b, bSkip, same.length), at);
        assert.equal(firstDifference(a, aSkip, b, bSkip, Math.max(at, 0)), -1);
      },
    ),
  );
});
