/** REPORT REFERRALS (SBC-3): one user data segment, which is the whole unit, and the target port groups that lead to it. */

import { getU32, putU16, putU64 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import { AccessState } from '../target-port-groups.js';
import type { Task } from '../task.js';
import { isInRange, logicalBlockAddress } from './block-range.js';

/** Byte 14; there is only one segment anyway. */
const ONE_SEG = 0x01;
const ALLOCATION_LENGTH = 10;
const HEADER = 4;
/** A user data segment referral descriptor without its target port group descriptors, and one of these. */
const SEGMENT = 20;
const GROUP = 4;
/** The most that NUMBER OF TARGET PORT GROUP DESCRIPTORS can tell. */
const MAXIMUM_GROUPS = 255;
/** States in which a group leads to the data, or soon will (SBC-3, target port group descriptor). */
const LEADS_THERE: ReadonlySet<AccessState> = new Set([
  AccessState.ACTIVE_OPTIMIZED,
  AccessState.ACTIVE_NON_OPTIMIZED,
  AccessState.TRANSITIONING,
]);

const fourBytes = [0xff, 0xff, 0xff, 0xff];

export const referralOperations: readonly Operation[] = [
  {
    name: 'REPORT REFERRALS',
    opcode: 0x9e,
    serviceAction: 0x13,
    usage: [0x9e, 0x1f, ...fourBytes, ...fourBytes, ...fourBytes, ONE_SEG, 0x00],
    ignoresPersistentReservation: true,
    runsUpTo: AccessState.STANDBY,
    isSupported: ({ targetPortGroups }) => targetPortGroups.groups.length > 0,
    start: startReport,
  },
];

function startReport(task: Task, unit: LogicalUnit): void {
  if (!isInRange(unit, logicalBlockAddress(task.cdb), 1)) {
    unit.fail(task, Sense.LBA_OUT_OF_RANGE);
    return;
  }
  const groups = unit.targetPortGroups.groups
    .filter(({ state }) => LEADS_THERE.has(state))
    .slice(0, MAXIMUM_GROUPS);
  const data = Buffer.alloc(HEADER + SEGMENT + GROUP * groups.length);
  putU16(data, 2, data.length - HEADER);
  data[HEADER + 3] = groups.length;
  putU64(data, HEADER + 12, unit.blockCount - 1); // LAST USER DATA SEGMENT LBA; the first one is 0.
  groups.forEach(({ id, state }, i) => {
    const at = HEADER + SEGMENT + GROUP * i;
    data[at] = state;
    putU16(data, at + 2, id);
  });
  unit.reply(task, data, getU32(task.cdb, ALLOCATION_LENGTH));
}
