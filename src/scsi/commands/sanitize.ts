/**
 * SANITIZE of SBC-3 5.24: OVERWRITE, BLOCK ERASE where blocks can be given back, and EXIT FAILURE MODE. There is no CRYPTOGRAPHIC ERASE: no
 * medium here has a key. The work is the {@link Sanitizer}'s; with IMMED zero the task waits for its end.
 *
 * A SANITIZE command starts when all older tasks have ended, so that none of them writes behind it.
 */

import { getU16 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import type { SavedSanitize } from '../sanitize-store.js';
import { Sense } from '../sense.js';
import type { Task } from '../task.js';

const SANITIZE = 0x48;
const ServiceAction = { OVERWRITE: 0x01, BLOCK_ERASE: 0x02, EXIT_FAILURE_MODE: 0x1f } as const;
const IMMED = 0x80;
const AUSE = 0x20;
const AUSE_BIT = 5;
const SERVICE_ACTION = 0x1f;
const PARAMETER_LIST_LENGTH = 7;

/** The parameter list of OVERWRITE: a header, then the initialization pattern. */
const HEADER_LENGTH = 4;
const INVERT = 0x80;
/** TEST: how initiators find out what a vendor makes of it; only zero has one meaning. */
const TEST = 0x60;
const OVERWRITE_COUNT = 0x1f;
const PATTERN_LENGTH = 2;

function startOverwrite(task: Task, unit: LogicalUnit): void {
  if (!isAcceptable(task, unit)) return;
  const length = getU16(task.cdb, PARAMETER_LIST_LENGTH);
  if (length <= HEADER_LENGTH || length > unit.blockSize + HEADER_LENGTH)
    unit.failField(task, PARAMETER_LIST_LENGTH);
  else unit.requestData(task, length);
}

function overwriteReceived(task: Task, unit: LogicalUnit): void {
  const list = task.data.toBuffer();
  const passes = list[0]! & OVERWRITE_COUNT;
  const patternLength = getU16(list, PATTERN_LENGTH);
  if ((list[0]! & TEST) !== 0) unit.failParameter(task, 0, 6);
  else if (passes === 0) unit.failParameter(task, 0, 4);
  else if (patternLength === 0 || patternLength > unit.blockSize) unit.failParameter(task, PATTERN_LENGTH);
  else if (patternLength > list.length - HEADER_LENGTH) unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
  else {
    sanitize(task, unit, {
      method: 'overwrite',
      pattern: list.toString('hex', HEADER_LENGTH, HEADER_LENGTH + patternLength),
      passes,
      invert: (list[0]! & INVERT) !== 0,
    });
  }
}

function startBlockErase(task: Task, unit: LogicalUnit): void {
  if (!isAcceptable(task, unit)) return;
  if (getU16(task.cdb, PARAMETER_LIST_LENGTH) !== 0) unit.failField(task, PARAMETER_LIST_LENGTH);
  else sanitize(task, unit, { method: 'block-erase', pattern: '', passes: 1, invert: false });
}

/** The checks of every SANITIZE that sanitizes. False when the task was ended. */
function isAcceptable(task: Task, unit: LogicalUnit): boolean {
  const { sanitizer } = unit;
  if (sanitizer.state === 'running') {
    unit.sanitize.fail(task);
    return false;
  }
  // What has failed in the restricted completion mode is not left by way of the unrestricted one.
  if (sanitizer.state === 'failed' && !sanitizer.allowsExit && (task.cdb[1]! & AUSE) !== 0) {
    unit.failField(task, 1, AUSE_BIT);
    return false;
  }
  return true;
}

function sanitize(
  task: Task,
  unit: LogicalUnit,
  what: Omit<SavedSanitize, 'allowsExit' | 'hasFailed'>,
): void {
  const flags = task.cdb[1]!;
  const wanted = { ...what, allowsExit: (flags & AUSE) !== 0, hasFailed: false };
  unit.sanitize.start(task, wanted, (flags & IMMED) !== 0);
}

function startExitFailureMode(task: Task, unit: LogicalUnit): void {
  const { sanitizer } = unit;
  if (sanitizer.state === 'running') unit.sanitize.fail(task);
  else if (getU16(task.cdb, PARAMETER_LIST_LENGTH) !== 0) unit.failField(task, PARAMETER_LIST_LENGTH);
  else if (sanitizer.state === 'idle') unit.good(task);
  else if (!sanitizer.allowsExit) unit.failField(task, 1, 4);
  else unit.sanitize.exitFailure(task);
}

const usage = [SANITIZE, IMMED | AUSE | SERVICE_ACTION, 0, 0, 0, 0, 0, 0xff, 0xff, 0x00] as const;
const common = { opcode: SANITIZE, usage, writesMedium: true, exclusive: true, ignoresSanitize: true };

export const sanitizeOperations: readonly Operation[] = [
  {
    name: 'SANITIZE: OVERWRITE',
    serviceAction: ServiceAction.OVERWRITE,
    ...common,
    start: startOverwrite,
    received: overwriteReceived,
  },
  {
    name: 'SANITIZE: BLOCK ERASE',
    serviceAction: ServiceAction.BLOCK_ERASE,
    ...common,
    isSupported: ({ provisioning }) => provisioning === 'thin',
    start: startBlockErase,
  },
  {
    name: 'SANITIZE: EXIT FAILURE MODE',
    serviceAction: ServiceAction.EXIT_FAILURE_MODE,
    ...common,
    start: startExitFailureMode,
  },
];
