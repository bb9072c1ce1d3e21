/**
 * Asymmetric access (ALUA, SPC-4 5.15) as it looks from the paths to one LUN: which target port group each session leads to, and
 * how good a way that is now.
 */

import {
  cdbs,
  type Designator,
  type ParsedSense,
  parseTargetPortGroups,
  type ReportedPortGroup,
} from '../scsi/client/index.js';
import { AccessState, Sense, SenseKey, Status } from '../scsi/index.js';
import type { Send, UnitDescription } from './traits.js';

const REPORT_LENGTH = 4096;
const TARGET_PORT = 1;
const TARGET_PORT_GROUP = 5;

/** What a path's own unit tells of asymmetric access. */
export interface AccessReport {
  /** The group of the target port that the path leads to; null if it does not tell. */
  readonly group: number | null;
  readonly groups: readonly ReportedPortGroup[];
}

/** By a path that the description came by; null where there is no asymmetric access, or nothing is told of it. */
export async function reportAccess(
  send: Send,
  { inquiry, designators }: UnitDescription,
  signal?: AbortSignal,
): Promise<AccessReport | null> {
  if (inquiry.tpgs === 0) return null;
  const groups = await reportGroups(send, signal);
  return groups === null ? null : { group: groupOf(designators), groups };
}

/** Null when the unit does not answer that. */
export async function reportGroups(send: Send, signal?: AbortSignal): Promise<ReportedPortGroup[] | null> {
  const cdb = Buffer.alloc(16);
  cdbs.reportTargetPortGroups(cdb, REPORT_LENGTH);
  const result = await send(cdb.subarray(0, 12), {
    readLength: REPORT_LENGTH,
    isIdempotent: true,
    ...(signal !== undefined && { signal }),
  });
  return result.status === Status.GOOD ? parseTargetPortGroups(result.data) : null;
}

function groupOf(designators: readonly Designator[]): number | null {
  const found = designators.find(
    ({ association, type }) => association === TARGET_PORT && type === TARGET_PORT_GROUP,
  );
  return found === undefined ? null : parseInt(found.value, 16) & 0xffff;
}

/** No command that matters gets through. */
export const NO_ACCESS = Infinity;

/** How good a way a group is, the best is 0: active/optimized before active/non-optimized, of those the preferred first. */
export function rankOf(group: number | null, groups: readonly ReportedPortGroup[]): number {
  const found = groups.find(({ id }) => id === group);
  if (found === undefined) return 0;
  const { state, preferred } = found;
  if (state === AccessState.ACTIVE_OPTIMIZED) return preferred ? 0 : 1;
  if (state === AccessState.ACTIVE_NON_OPTIMIZED || state === LBA_DEPENDENT) return preferred ? 2 : 3;
  return NO_ACCESS;
}

const LBA_DEPENDENT = 4;

const REFUSALS = [
  Sense.ASYMMETRIC_ACCESS_STATE_TRANSITION,
  Sense.TARGET_PORT_IN_STANDBY_STATE,
  Sense.TARGET_PORT_IN_UNAVAILABLE_STATE,
];

/** Whether a command was not carried out because of the state of the target port's group. */
export function isAccessRefused({ key, asc, ascq }: ParsedSense): boolean {
  return key === SenseKey.NOT_READY && REFUSALS.some((one) => one.asc === asc && one.ascq === ascq);
}

/** Whether that ends by itself. */
export function isTransition({ ascq }: ParsedSense): boolean {
  return ascq === Sense.ASYMMETRIC_ACCESS_STATE_TRANSITION.ascq;
}

export function isAccessStateChanged({ asc, ascq }: ParsedSense): boolean {
  const changed = Sense.ASYMMETRIC_ACCESS_STATE_CHANGED;
  return asc === changed.asc && ascq === changed.ascq;
}
