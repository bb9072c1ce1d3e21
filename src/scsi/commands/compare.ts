/**
 * Comparing what an initiator sent with what is on the medium, as VERIFY, WRITE AND VERIFY and
 * COMPARE AND WRITE do.
 */

import type { Memory, ScatterList } from '../../util/memory.js';
import type { LogicalUnit } from '../logical-unit.js';
import { Sense } from '../sense.js';
import type { Task } from '../task.js';
import { walkBoth } from './walk-both.js';

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
  return walkBoth(a, aOffset, b, bOffset, length, differenceInParts);
}

/** How many bytes before the first difference are the same, or -1 when all are. */
function differenceInParts(a: Memory, aStart: number, b: Memory, bStart: number, length: number): number {
  if (a.bytes.compare(b.bytes, bStart, bStart + length, aStart, aStart + length) === 0) return -1;
  let same = 0;
  while (a.bytes[aStart + same] === b.bytes[bStart + same]) same++;
  return same;
}

/** End `task` with MISCOMPARE; INFORMATION is the offset in its Data-Out of the first byte that differs. */
export function failMiscompare(task: Task, unit: LogicalUnit, offset: number): void {
  unit.fail(task, Sense.MISCOMPARE_DURING_VERIFY, offset);
}
