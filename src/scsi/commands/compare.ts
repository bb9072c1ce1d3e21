/**
 * Comparing what an initiator sent with what is on the medium, as VERIFY, WRITE AND VERIFY and
 * COMPARE AND WRITE do.
 */

import type { ScatterList } from '../../util/memory.js';
import type { LogicalUnit } from '../logical-unit.js';
import { Sense } from '../sense.js';
import type { Task } from '../task.js';

/**
 * The first difference between `length` bytes of `a` from `aOffset` on and of `b` from `bOffset` on:
 * how many bytes before it are the same, or -1 when all are. Both lists reach that far.
 */
export function firstDifference(
  a: ScatterList,
  aOffset: number,
  b: ScatterList,
  bOffset: number,
  length: number,
): number {
  let i = 0;
  let j = 0;
  while (i < a.count && aOffset >= a.lengths[i]!) aOffset -= a.lengths[i++]!;
  while (j < b.count && bOffset >= b.lengths[j]!) bOffset -= b.lengths[j++]!;
  for (let same = 0; same < length;) {
    const part = Math.min(a.lengths[i]! - aOffset, b.lengths[j]! - bOffset, length - same);
    const aBytes = a.regions[i]!.bytes;
    const bBytes = b.regions[j]!.bytes;
    const aStart = a.offsets[i]! + aOffset;
    const bStart = b.offsets[j]! + bOffset;
    if (aBytes.compare(bBytes, bStart, bStart + part, aStart, aStart + part) !== 0) {
      let k = 0;
      while (aBytes[aStart + k] === bBytes[bStart + k]) k++;
      return same + k;
    }
    same += part;
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

/** End `task` with MISCOMPARE; INFORMATION is the offset in its Data-Out of the first byte that differs. */
export function failMiscompare(task: Task, unit: LogicalUnit, offset: number): void {
  unit.fail(task, Sense.MISCOMPARE_DURING_VERIFY, offset);
}
