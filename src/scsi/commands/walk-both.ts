/** Going through two scatter lists side by side: the bytes of both are used together, but cut differently. */

import type { Memory, ScatterList } from '../../util/memory.js';

/**
 * What is done with `length` bytes of `a` from `aStart` on and as many of `b` from `bStart` on. The walk goes on
 * after -1; any other value is the number of bytes of this part before the place where it stops.
 */
export type UseParts = (a: Memory, aStart: number, b: Memory, bStart: number, length: number) => number;

/**
 * Call `use` for `length` bytes of `a` from `aOffset` on and of `b` from `bOffset` on, in parts that are
 * contiguous in both. How many bytes come before the place where `use` stopped, or -1 when it never did.
 * Both lists reach that far.
 */
export function walkBoth(
  a: ScatterList,
  aOffset: number,
  b: ScatterList,
  bOffset: number,
  length: number,
  use: UseParts,
): number {
  let i = 0;
  let j = 0;
  while (i < a.count && aOffset >= a.lengths[i]!) aOffset -= a.lengths[i++]!;
  while (j < b.count && bOffset >= b.lengths[j]!) bOffset -= b.lengths[j++]!;
  for (let before = 0; before < length;) {
    const part = Math.min(a.lengths[i]! - aOffset, b.lengths[j]! - bOffset, length - before);
    const stop = use(a.regions[i]!, a.offsets[i]! + aOffset, b.regions[j]!, b.offsets[j]! + bOffset, part);
    if (stop >= 0) return before + stop;
    before += part;
    aOffset += part;
    bOffset += part;
    if (aOffset === a.lengths[i]!) {
      i++;
      aOffset = 0;
    }
    if (bOffset === b.lengths[j]!) {
      j++;
      bOffset = 0;
    }
  }
  return -1;
}
