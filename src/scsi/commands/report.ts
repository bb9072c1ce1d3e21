/** Commands that report what there is: REPORT LUNS, REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS. */

import { getU16, getU32, putU16, putU32 } from '../../util/fields.js';
import { SERVICE_ACTION_MASK, VARIABLE_LENGTH } from '../cdb.js';
import { reportLuns } from '../inventory.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import { AccessState } from '../target-port-groups.js';
import type { Task } from '../task.js';

const MAINTENANCE_IN = 0xa3;

export const reportOperations: readonly Operation[] = [
  {
    name: 'REPORT LUNS',
    opcode: 0xa0,
    usage: [0xa0, 0x00, 0xff, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
    ignoresUnitAttention: true,
    ignoresReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.TRANSITIONING,
    ignoresSanitize: true,
    start: startReportLuns,
  },
  {
    name: 'REPORT SUPPORTED OPERATION CODES',
    opcode: MAINTENANCE_IN,
    serviceAction: 0x0c,
    usage: [MAINTENANCE_IN, 0x1f, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
    ignoresReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    ignoresSanitize: true,
    start: startReportOperationCodes,
  },
  {
    name: 'REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS',
    opcode: MAINTENANCE_IN,
    serviceAction: 0x0d,
    usage: [MAINTENANCE_IN, 0x1f, 0x80, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
    ignoresReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    ignoresSanitize: true,
    start: startReportTaskManagementFunctions,
  },
];

/** Shortest allocation length of REPORT LUNS (SPC-4 6.33). */
const SHORTEST_LUN_LIST = 16;

function startReportLuns(task: Task, unit: LogicalUnit): void {
  const { cdb, nexus } = task;
  const allocationLength = getU32(cdb, 6);
  const data = reportLuns(unit.inventory?.viewOf(nexus).luns ?? [0], cdb[2]!);
  if (data === null) {
    unit.failField(task, 2);
    return;
  }
  if (allocationLength < SHORTEST_LUN_LIST) {
    unit.failField(task, 6);
    return;
  }
  // LUICLR: who has read the list needs no news of it any more, from any unit (SPC-4 6.33).
  for (const { unitAttentions } of unit.inventory?.viewOf(nexus).units ?? [unit]) {
    unitAttentions.drop(nexus, Sense.REPORTED_LUNS_DATA_HAS_CHANGED);
  }
  unit.reply(task, data, allocationLength);
}

// ---- REPORT SUPPORTED OPERATION CODES (SPC-4 6.35) ----

const RCTD = 0x80;
const ReportingOptions = { ALL: 0, OPCODE: 1, SERVICE_ACTION: 2, EITHER: 3 } as const;
const SERVACTV = 0x01;
/** CTDP where a descriptor lists all commands, and where it is about one. */
const CTDP_IN_LIST = 0x02;
const CTDP_OF_ONE = 0x80;
/** SUPPORT: 001b not supported, 011b as in the standard. */
const NOT_SUPPORTED = 0x01;
const SUPPORTED = 0x03;
/** A command timeouts descriptor (SPC-4 6.35.4): all times zero, which is: not indicated. */
const TIMEOUTS_DESCRIPTOR = Buffer.from([0x00, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

function startReportOperationCodes(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  const { operations } = unit;
  const withTimeouts = (cdb[2]! & RCTD) !== 0;
  const option = cdb[2]! & 0x07;
  const opcode = cdb[3]!;
  const serviceAction = getU16(cdb, 4);
  const allocationLength = getU32(cdb, 6);
  const kind = operations.kind(opcode);
  if (option > ReportingOptions.EITHER) {
    unit.failField(task, 2, 2);
  } else if (option === ReportingOptions.ALL) {
    unit.reply(task, allCommands(operations.operations, withTimeouts), allocationLength);
  } else if (
    (option === ReportingOptions.OPCODE && kind === 'shared') ||
    (option === ReportingOptions.SERVICE_ACTION && kind === 'alone')
  ) {
    unit.failField(task, 2, 2);
  } else {
    // With option 3, an operation code without service actions is only there with service action 0 (SPC-4 table 290).
    const isMismatch = kind === 'alone' && option === ReportingOptions.EITHER && serviceAction !== 0;
    const operation = isMismatch ? null : operations.lookUp(opcode, serviceAction);
    unit.reply(task, oneCommand(operation, withTimeouts), allocationLength);
  }
}

/**
 * All commands but those of 32 bytes. SBC-3 has them for units with type 2 protection, and libiscsi takes what a unit
 * lists so for an error; who asks for one of them is told of it.
 */
function allCommands(operations: readonly Operation[], withTimeouts: boolean): Buffer {
  const listed = operations.filter(({ opcode }) => opcode !== VARIABLE_LENGTH);
  const parts = listed.map((operation) => {
    const descriptor = Buffer.alloc(8);
    const hasServiceAction = operation.serviceAction !== undefined;
    descriptor[0] = operation.opcode;
    putU16(descriptor, 2, operation.serviceAction ?? 0);
    descriptor[5] = (withTimeouts ? CTDP_IN_LIST : 0) | (hasServiceAction ? SERVACTV : 0);
    putU16(descriptor, 6, operation.usage.length);
    return withTimeouts ? Buffer.concat([descriptor, TIMEOUTS_DESCRIPTOR]) : descriptor;
  });
  const data = Buffer.concat([Buffer.alloc(4), ...parts]);
  putU32(data, 0, data.length - 4);
  return data;
}

function oneCommand(operation: Operation | null, withTimeouts: boolean): Buffer {
  if (operation === null) return Buffer.from([0, NOT_SUPPORTED, 0, 0]);
  const usage = Buffer.from(operation.usage);
  // Usage data has the values of operation code and service action, and masks for all else (SPC-4 6.35.3).
  usage[0] = operation.opcode;
  if (operation.opcode === VARIABLE_LENGTH) {
    putU16(usage, 8, operation.serviceAction!);
  } else if (operation.serviceAction !== undefined) {
    usage[1] = (usage[1]! & ~SERVICE_ACTION_MASK) | operation.serviceAction;
  }
  const header = Buffer.from([0, SUPPORTED | (withTimeouts ? CTDP_OF_ONE : 0), 0, usage.length]);
  return Buffer.concat(withTimeouts ? [header, usage, TIMEOUTS_DESCRIPTOR] : [header, usage]);
}

// ---- REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36) ----

const REPD = 0x80;
/** ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, QUERY TASK, TARGET RESET. */
const FUNCTIONS = 0x80 | 0x40 | 0x10 | 0x08 | 0x04 | 0x02;
/** QUERY ASYNCHRONOUS EVENT, QUERY TASK SET, I_T NEXUS RESET. */
const MORE_FUNCTIONS = 0x04 | 0x02 | 0x01;
const BASIC_LENGTH = 4;
const EXTENDED_LENGTH = 16;

function startReportTaskManagementFunctions(task: Task, unit: LogicalUnit): void {
  const isExtended = (task.cdb[2]! & REPD) !== 0;
  const allocationLength = getU32(task.cdb, 6);
  if (allocationLength < BASIC_LENGTH) {
    unit.failField(task, 6);
    return;
  }
  const data = Buffer.alloc(isExtended ? EXTENDED_LENGTH : BASIC_LENGTH);
  data[0] = FUNCTIONS;
  data[1] = MORE_FUNCTIONS;
  if (isExtended) data[3] = EXTENDED_LENGTH - BASIC_LENGTH;
  unit.reply(task, data, allocationLength);
}
