/** LOG SENSE and LOG SELECT (SPC-4 6.7, 6.8). Parameters are reset, and never set: LOG SELECT takes no parameter list. */

import { getU16 } from '../../util/fields.js';
import {
  ALL_SUBPAGES,
  hasCounters,
  LogPageCode,
  type LogPage,
  logPagesOf,
  parameterLogPage,
  supportedLogPages,
} from '../log-pages.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import { AccessState } from '../target-port-groups.js';
import type { Task } from '../task.js';

const PCR = 0x02;
const SP = 0x01;
const PC_AND_PAGE_CODE = 2;
const SUBPAGE_CODE = 3;
const PARAMETER_POINTER = 5;
/** Of LOG SENSE, and PARAMETER LIST LENGTH of LOG SELECT. */
const ALLOCATION_LENGTH = 7;
/** Highest bits of PAGE CODE and PC in their byte. */
const PAGE_CODE_BIT = 5;
const PC_BIT = 7;
/** PC (SPC-4 table 184). */
const PageControl = { THRESHOLD: 0, CUMULATIVE: 1, DEFAULT_THRESHOLD: 2, DEFAULT_CUMULATIVE: 3 } as const;

export const logOperations: readonly Operation[] = [
  {
    name: 'LOG SELECT',
    opcode: 0x4c,
    usage: [0x4c, PCR | SP, 0xff, 0xff, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    start: startLogSelect,
  },
  {
    name: 'LOG SENSE',
    opcode: 0x4d,
    // SP is not evaluated: nothing is saved.
    usage: [0x4d, 0x00, 0xff, 0xff, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00],
    ignoresReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    start: startLogSense,
  },
];

const pageControlOf = (cdb: Uint8Array): number => cdb[PC_AND_PAGE_CODE]! >>> 6;
const pageCodeOf = (cdb: Uint8Array): number => cdb[PC_AND_PAGE_CODE]! & 0x3f;

function startLogSense(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  const subpage = cdb[SUBPAGE_CODE]!;
  const pointer = getU16(cdb, PARAMETER_POINTER);
  const allocationLength = getU16(cdb, ALLOCATION_LENGTH);
  if (pageCodeOf(cdb) === LogPageCode.SUPPORTED) {
    if (subpage !== 0 && subpage !== ALL_SUBPAGES) unit.failField(task, SUBPAGE_CODE);
    else if (pointer !== 0) unit.failField(task, PARAMETER_POINTER);
    else unit.reply(task, supportedLogPages(unit, subpage === ALL_SUBPAGES), allocationLength);
    return;
  }
  const page = logPagesOf(unit).find(({ code }) => code === pageCodeOf(cdb));
  if (page === undefined) {
    unit.failField(task, PC_AND_PAGE_CODE, PAGE_CODE_BIT);
    return;
  }
  if (subpage !== 0) {
    unit.failField(task, SUBPAGE_CODE);
    return;
  }
  const all = page.parameters(unit);
  const pageControl = pageControlOf(cdb);
  const isThreshold = pageControl === PageControl.THRESHOLD || pageControl === PageControl.DEFAULT_THRESHOLD;
  // PC is ignored where there are lists alone.
  if (isThreshold && hasCounters(all)) {
    unit.failField(task, PC_AND_PAGE_CODE, PC_BIT);
    return;
  }
  const parameters = all.filter(({ code }) => code >= pointer);
  if (parameters.length === 0 && pointer !== 0) {
    unit.failField(task, PARAMETER_POINTER);
    return;
  }
  const isDefault = pageControl === PageControl.DEFAULT_CUMULATIVE;
  unit.reply(task, parameterLogPage(page, parameters, isDefault), allocationLength);
}

function startLogSelect(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  if (getU16(cdb, ALLOCATION_LENGTH) !== 0) {
    unit.failField(task, ALLOCATION_LENGTH);
    return;
  }
  const subpage = cdb[SUBPAGE_CODE]!;
  const pages = selectedPages(unit, pageCodeOf(cdb), subpage);
  if (pages === null) {
    unit.failField(task, PC_AND_PAGE_CODE, PAGE_CODE_BIT);
    return;
  }
  if (subpage !== 0 && subpage !== ALL_SUBPAGES) {
    unit.failField(task, SUBPAGE_CODE);
    return;
  }
  const pageControl = pageControlOf(cdb);
  const isOfDefaults = pageControl >= PageControl.DEFAULT_THRESHOLD;
  if ((cdb[1]! & SP) !== 0 && !isOfDefaults) {
    // Current values are to be saved.
    unit.failField(task, 1, 0);
    return;
  }
  if ((cdb[1]! & PCR) !== 0 || pageControl === PageControl.DEFAULT_CUMULATIVE) reset(task, unit, pages);
  unit.good(task);
}

/** The pages that a LOG SELECT without parameters is about (SPC-4 table 185), or null. */
function selectedPages(unit: LogicalUnit, code: number, subpage: number): readonly LogPage[] | null {
  const pages = logPagesOf(unit);
  if (code === LogPageCode.SUPPORTED) return subpage === 0 ? pages : [];
  const page = pages.find((one) => one.code === code);
  return page === undefined ? null : [page];
}

function reset(task: Task, unit: LogicalUnit, pages: readonly LogPage[]): void {
  const resettable = pages.filter((page) => page.reset !== undefined);
  if (resettable.length === 0) return;
  for (const page of resettable) page.reset!(unit);
  unit.unitAttentions.establishForAll(Sense.LOG_PARAMETERS_CHANGED, task.nexus);
}
