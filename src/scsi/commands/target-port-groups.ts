/** REPORT and SET TARGET PORT GROUPS: asymmetric logical unit access as initiators see it, and change it (SPC-4 5.15). */

import { getU16, getU32, putU16, putU32 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { AccessState, type TargetPortGroup } from '../target-port-groups.js';
import type { Task } from '../task.js';

const MAINTENANCE_IN = 0xa3;
const MAINTENANCE_OUT = 0xa4;
const TARGET_PORT_GROUPS = 0x0a;

export const targetPortGroupOperations: readonly Operation[] = [
  {
    name: 'REPORT TARGET PORT GROUPS',
    opcode: MAINTENANCE_IN,
    serviceAction: TARGET_PORT_GROUPS,
    usage: [MAINTENANCE_IN, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
    ignoresReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.TRANSITIONING,
    isSupported: ({ targetPortGroups }) => targetPortGroups.groups.length > 0,
    start: startReport,
  },
  {
    name: 'SET TARGET PORT GROUPS',
    opcode: MAINTENANCE_OUT,
    serviceAction: TARGET_PORT_GROUPS,
    usage: [MAINTENANCE_OUT, 0x1f, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
    ignoresMedium: true,
    runsUpTo: AccessState.UNAVAILABLE,
    isSupported: ({ targetPortGroups }) => targetPortGroups.explicit,
    start: startSet,
    received: setReceived,
  },
];

// ---- REPORT TARGET PORT GROUPS (SPC-4 6.37) ----

/** PARAMETER DATA FORMAT: length only header, and extended header. */
const LENGTH_ONLY = 0;
const EXTENDED = 1;
const LENGTH_HEADER = 4;
const EXTENDED_HEADER = 8;
const RETURN_DATA_FORMAT_EXTENDED = 0x10;
const PREF = 0x80;
/** T_SUP, O_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP: all but the state that depends on the logical block. */
const SUPPORTED_STATES = 0x80 | 0x40 | 0x08 | 0x04 | 0x02 | 0x01;

function startReport(task: Task, unit: LogicalUnit): void {
  const format = task.cdb[1]! >>> 5;
  if (format > EXTENDED) {
    unit.failField(task, 1, 7);
    return;
  }
  const { targetPortGroups } = unit;
  const header = Buffer.alloc(format === LENGTH_ONLY ? LENGTH_HEADER : EXTENDED_HEADER);
  if (format === EXTENDED) {
    header[4] = RETURN_DATA_FORMAT_EXTENDED;
    header[5] = targetPortGroups.transitionTime;
  }
  const data = Buffer.concat([header, ...targetPortGroups.groups.map(groupDescriptor)]);
  putU32(data, 0, data.length - LENGTH_HEADER);
  unit.reply(task, data, getU32(task.cdb, 6));
}

function groupDescriptor({ id, ports, state, preferred, status }: TargetPortGroup): Buffer {
  const descriptor = Buffer.alloc(8 + 4 * ports.length);
  descriptor[0] = (preferred ? PREF : 0) | state;
  descriptor[1] = SUPPORTED_STATES;
  putU16(descriptor, 2, id);
  descriptor[5] = status;
  descriptor[7] = ports.length;
  ports.forEach((port, i) => putU16(descriptor, 8 + 4 * i + 2, port));
  return descriptor;
}

// ---- SET TARGET PORT GROUPS (SPC-4 6.45) ----

const SET_HEADER = 4;
const SET_DESCRIPTOR = 4;
/** One descriptor for each group that there can be. */
const LONGEST_LIST = SET_HEADER + SET_DESCRIPTOR * 65536;
/** Primary states that an initiator may ask for. It is not for it to take ports offline, nor to leave a group transitioning. */
const SETTABLE: ReadonlySet<number> = new Set([
  AccessState.ACTIVE_OPTIMIZED,
  AccessState.ACTIVE_NON_OPTIMIZED,
  AccessState.STANDBY,
  AccessState.UNAVAILABLE,
]);

function startSet(task: Task, unit: LogicalUnit): void {
  const length = getU32(task.cdb, 6);
  // Zero is no error, and changes nothing.
  if (length === 0) unit.good(task);
  else if (length < SET_HEADER || length > LONGEST_LIST || (length - SET_HEADER) % SET_DESCRIPTOR !== 0)
    unit.failField(task, 6);
  else unit.requestData(task, length);
}

function setReceived(task: Task, unit: LogicalUnit): void {
  const list = task.data.toBuffer();
  const states = new Map<number, AccessState>();
  for (let at = SET_HEADER; at < list.length; at += SET_DESCRIPTOR) {
    const state = list[at]! & 0x0f;
    const id = getU16(list, at + 2);
    const group = unit.targetPortGroups.groups.find((one) => one.id === id);
    if (!SETTABLE.has(state)) {
      unit.failParameter(task, at, 3);
      return;
    }
    // A group that is not there, that is named twice, or that the administrator has in hand.
    if (group === undefined || states.has(id) || !SETTABLE.has(group.state)) {
      unit.failParameter(task, at + 2);
      return;
    }
    states.set(id, state as AccessState);
  }
  unit.setAccessStates(states, task.nexus);
  unit.good(task);
}
