/** What REPORT TARGET PORT GROUPS answers (SPC-4 6.37). Control path: allocates. */

import { getU16, getU32 } from '../../util/fields.js';

export interface ReportedPortGroup {
  readonly id: number;
  /** ASYMMETRIC ACCESS STATE: an `AccessState`, or 4 where it depends on the logical block. */
  readonly state: number;
  readonly preferred: boolean;
}

/** What is there of the target port groups in `data`, which has the length only header. */
export function parseTargetPortGroups(data: Buffer): ReportedPortGroup[] {
  if (data.length < 4) return [];
  const end = Math.min(data.length, 4 + getU32(data, 0));
  const groups: ReportedPortGroup[] = [];
  for (let at = 4; at + 8 <= end; at += 8 + 4 * data[at + 7]!) {
    groups.push({
      id: getU16(data, at + 2),
      state: data[at]! & 0x0f,
      preferred: (data[at]! & 0x80) !== 0,
    });
  }
  return groups;
}
