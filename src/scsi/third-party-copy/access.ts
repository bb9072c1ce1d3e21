/** What a nexus may do with a logical unit in a third-party copy: what it could do by commands of its own, and no more. */

import { BlockOp } from '../../block/device.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Nexus } from '../nexus.js';
import { Sense, type SenseCode } from '../sense.js';

const READING = { readsMedium: true };
const WRITING = { writesMedium: true };

/**
 * The logical units that a copy manager behind `own` reaches for `nexus`: those that the nexus finds at this target, and
 * those that it would find at others with what it has proven here.
 */
export function* reachableUnits(own: LogicalUnit, nexus: Nexus): Iterable<LogicalUnit> {
  yield own;
  yield* own.inventory?.viewOf(nexus).units ?? [];
  for (const view of nexus.elsewhere?.() ?? []) yield* view.units;
}

export function isReachable(unit: LogicalUnit, own: LogicalUnit, nexus: Nexus): boolean {
  for (const reachable of reachableUnits(own, nexus)) if (reachable === unit) return true;
  return false;
}

/** What a READ or WRITE of `nexus` would meet at these bytes of `unit`, or null. */
export function hindrance(
  unit: LogicalUnit,
  nexus: Nexus,
  op: BlockOp,
  offset: number,
  length: number,
): SenseCode | null {
  const isWrite = op !== BlockOp.READ;
  if (unit.reservations.isReserved && unit.reservations.conflicts(nexus, isWrite ? WRITING : READING)) {
    return Sense.THIRD_PARTY_DEVICE_FAILURE;
  }
  if (unit.sanitizer.state !== 'idle') return Sense.SANITIZE_IN_PROGRESS;
  if (!unit.medium.isPresent) return Sense.MEDIUM_NOT_PRESENT;
  if (isWrite && unit.isWriteProtected) return Sense.WRITE_PROTECTED;
  return offset + length > unit.blockCount * unit.blockSize ? Sense.LBA_OUT_OF_RANGE : null;
}
