/** MODE SENSE and MODE SELECT, 6 and 10 bytes (SPC-4 6.10 to 6.13). */

import { BlockOp, BlockStatus } from '../../block/device.js';
import { getU16, getU32, getU64, putU16, putU32, putU64 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import { type ModePage, ModePageCode, ModeSubpageCode, PageControl, SPF } from '../mode-pages.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import { AccessState } from '../target-port-groups.js';
import type { Task } from '../task.js';

const PF_AND_SP = 0x11;
const DBD = 0x08;
const LLBAA = 0x10;

export const modeOperations: readonly Operation[] = [
  {
    name: 'MODE SELECT(6)',
    opcode: 0x15,
    usage: [0x15, PF_AND_SP, 0x00, 0x00, 0xff, 0x00],
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    start: (task, unit) => startModeSelect(task, unit, task.cdb[4]!),
    received: (task, unit) => modeSelectReceived(task, unit, SHORT_HEADER),
    deviceDone: cacheFlushed,
  },
  {
    name: 'MODE SENSE(6)',
    opcode: 0x1a,
    usage: [0x1a, DBD, 0xff, 0xff, 0xff, 0x00],
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    ignoresSanitize: true,
    start: (task, unit) => modeSense(task, unit, SHORT_HEADER, task.cdb[4]!),
  },
  {
    name: 'MODE SELECT(10)',
    opcode: 0x55,
    usage: [0x55, PF_AND_SP, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    start: (task, unit) => startModeSelect(task, unit, getU16(task.cdb, 7)),
    received: (task, unit) => modeSelectReceived(task, unit, LONG_HEADER),
    deviceDone: cacheFlushed,
  },
  {
    name: 'MODE SENSE(10)',
    opcode: 0x5a,
    usage: [0x5a, LLBAA | DBD, 0xff, 0xff, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    ignoresSanitize: true,
    start: (task, unit) => modeSense(task, unit, LONG_HEADER, getU16(task.cdb, 7)),
  },
];

/** Bytes of the mode parameter headers (SPC-4 7.5.4). */
const SHORT_HEADER = 4;
const LONG_HEADER = 8;
const LONGLBA = 0x01;
/** Byte 0 of a page's header. */
const PS = 0x80;
const PAGE_CODE = 0x3f;
/** Bytes of the mode parameter block descriptors (SBC-3 6.4.2). */
const SHORT_DESCRIPTOR = 8;
const LONG_DESCRIPTOR = 16;
/** Device-specific parameter (SBC-3 table 176). */
const WP = 0x80;
const DPOFUA = 0x10;
const MAX_U32 = 0xffff_ffff;
/** What `getU64` makes of all ones. */
const MAX_U64 = 2 ** 64;

// ---- MODE SENSE ----

/** What may be asked for while the medium is sanitized (SBC-4 4.11.2). */
const ALLOWED_DURING_SANITIZE: ReadonlySet<number> = new Set([
  ModePageCode.CACHING,
  ModePageCode.CONTROL,
  ModePageCode.INFORMATIONAL_EXCEPTIONS_CONTROL,
]);

function modeSense(task: Task, unit: LogicalUnit, headerLength: number, allocationLength: number): void {
  const { cdb } = task;
  const pageControl = cdb[2]! >>> 6;
  const pageCode = cdb[2]! & 0x3f;
  const subpageCode = cdb[3]!;
  if (pageControl === PageControl.SAVED) {
    unit.fail(task, Sense.SAVING_PARAMETERS_NOT_SUPPORTED);
    return;
  }
  const { modePages } = unit;
  const pages = modePages.matching(pageCode, subpageCode);
  if (pages.length === 0) {
    if (modePages.matching(pageCode, ModeSubpageCode.ALL).length === 0) unit.failField(task, 2, 5);
    else unit.failField(task, 3);
    return;
  }
  if (unit.sanitizer.state !== 'idle' && !ALLOWED_DURING_SANITIZE.has(pageCode)) {
    unit.sanitize.fail(task);
    return;
  }
  const isLong = headerLength === LONG_HEADER && (cdb[1]! & LLBAA) !== 0;
  // CD drives have neither a block descriptor nor a device-specific parameter (MMC-6).
  const isDisk = unit.configuration.type === 'disk';
  modePages.showLock(unit.medium.isRemovalPrevented);
  const descriptor = (cdb[1]! & DBD) !== 0 || !isDisk ? Buffer.alloc(0) : blockDescriptor(unit, isLong);
  const header = Buffer.alloc(headerLength);
  const data = Buffer.concat([header, descriptor, ...pages.map((p) => valuesOf(p, pageControl))]);
  const deviceSpecific = isDisk ? DPOFUA | (unit.isWriteProtected ? WP : 0) : 0;
  if (headerLength === SHORT_HEADER) {
    data[0] = data.length - 1;
    data[2] = deviceSpecific;
    data[3] = descriptor.length;
  } else {
    putU16(data, 0, data.length - 2);
    data[3] = deviceSpecific;
    data[4] = isLong ? LONGLBA : 0;
    putU16(data, 6, descriptor.length);
  }
  unit.reply(task, data, allocationLength);
}

function valuesOf(page: ModePage, pageControl: number): Buffer {
  if (pageControl === PageControl.CHANGEABLE) return page.changeable;
  return pageControl === PageControl.DEFAULT ? page.default : page.current;
}

function blockDescriptor(unit: LogicalUnit, isLong: boolean): Buffer {
  const blockCount = unit.medium.isPresent ? unit.blockCount : 0;
  const descriptor = Buffer.alloc(isLong ? LONG_DESCRIPTOR : SHORT_DESCRIPTOR);
  if (isLong) {
    putU64(descriptor, 0, blockCount);
    putU32(descriptor, 12, unit.blockSize);
  } else {
    putU32(descriptor, 0, Math.min(blockCount, MAX_U32));
    // Three bytes of LOGICAL BLOCK LENGTH behind a reserved one.
    putU32(descriptor, 4, unit.blockSize);
  }
  return descriptor;
}

// ---- MODE SELECT ----

const PF = 0x10;
const SP = 0x01;

function startModeSelect(task: Task, unit: LogicalUnit, parameterListLength: number): void {
  const flags = task.cdb[1]!;
  if ((flags & SP) !== 0) {
    unit.failField(task, 1, 0);
  } else if (parameterListLength === 0) {
    unit.good(task);
  } else if ((flags & PF) === 0) {
    // Pages in a format of the vendor's: there is none (SPC-4 6.10).
    unit.failField(task, 1, 4);
  } else {
    unit.requestData(task, parameterListLength);
  }
}

/** Everything is checked before anything is changed (SPC-4 6.10). */
function modeSelectReceived(task: Task, unit: LogicalUnit, headerLength: number): void {
  const list = task.data.toBuffer();
  if (list.length < headerLength) {
    unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
    return;
  }
  const isShort = headerLength === SHORT_HEADER;
  const descriptorLength = isShort ? list[3]! : getU16(list, 6);
  const isLong = !isShort && (list[4]! & LONGLBA) !== 0;
  if (descriptorLength !== 0 && descriptorLength !== (isLong ? LONG_DESCRIPTOR : SHORT_DESCRIPTOR)) {
    unit.failParameter(task, isShort ? 3 : 6);
    return;
  }
  const pagesAt = headerLength + descriptorLength;
  if (list.length < pagesAt) {
    unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
    return;
  }
  if (descriptorLength !== 0) {
    const wrong = wrongInBlockDescriptor(unit, list.subarray(headerLength, pagesAt), isLong);
    if (wrong >= 0) {
      unit.failParameter(task, headerLength + wrong);
      return;
    }
  }
  if (!arePagesAcceptable(task, unit, list, pagesAt)) return;
  applyPages(task, unit, list, pagesAt);
}

/** The capacity and block length cannot be changed. Offset of the field that tries to, or -1. */
function wrongInBlockDescriptor(unit: LogicalUnit, descriptor: Buffer, isLong: boolean): number {
  const blockCount = isLong ? getU64(descriptor, 0) : getU32(descriptor, 0);
  const maximum = isLong ? MAX_U64 : MAX_U32;
  // 0: leave it; all ones: as much as there is (SBC-3 6.4.2).
  const keepsCapacity =
    blockCount === 0 || blockCount === maximum || blockCount === Math.min(unit.blockCount, maximum);
  if (!keepsCapacity) return 0;
  const blockLength = isLong ? getU32(descriptor, 12) : getU32(descriptor, 4) & 0xff_ffff;
  if (blockLength === unit.blockSize) return -1;
  return isLong ? 12 : 5;
}

/** Check every page of a MODE SELECT parameter list; ends the task at the first fault. */
function arePagesAcceptable(task: Task, unit: LogicalUnit, list: Buffer, pagesAt: number): boolean {
  for (let at = pagesAt; at < list.length;) {
    if (list.length - at < 2) {
      unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
      return false;
    }
    // PS is reserved here.
    if ((list[at]! & PS) !== 0) {
      unit.failParameter(task, at, 7);
      return false;
    }
    const page = pageAt(unit, list, at);
    if (page === null) {
      const isKnown = unit.modePages.matching(list[at]! & PAGE_CODE, ModeSubpageCode.ALL).length > 0;
      if (!isKnown) unit.failParameter(task, at, 5);
      else if ((list[at]! & SPF) !== 0) unit.failParameter(task, at + 1);
      else unit.failParameter(task, at, 6);
      return false;
    }
    const lengthAt = page.subpage === ModeSubpageCode.NONE ? 1 : 2;
    if (list.length - at < 2 * lengthAt) {
      unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
      return false;
    }
    if (list.compare(page.current, lengthAt, 2 * lengthAt, at + lengthAt, at + 2 * lengthAt) !== 0) {
      unit.failParameter(task, at + lengthAt);
      return false;
    }
    if (list.length - at < page.current.length) {
      unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
      return false;
    }
    for (let i = 2 * lengthAt; i < page.current.length; i++) {
      const wrong = (list[at + i]! ^ page.current[i]!) & ~page.changeable[i]!;
      if (wrong !== 0) {
        unit.failParameter(task, at + i, 31 - Math.clz32(wrong));
        return false;
      }
    }
    at += page.current.length;
  }
  return true;
}

/** The page that the header at `at` is of, or null. */
function pageAt(unit: LogicalUnit, list: Buffer, at: number): ModePage | null {
  const subpage = (list[at]! & SPF) === 0 ? ModeSubpageCode.NONE : list[at + 1]!;
  // No subpage has code 00h (SPC-4 7.5.5).
  if ((list[at]! & SPF) !== 0 && subpage === ModeSubpageCode.NONE) return null;
  return unit.modePages.find(list[at]! & PAGE_CODE, subpage);
}

function applyPages(task: Task, unit: LogicalUnit, list: Buffer, pagesAt: number): void {
  const { modePages } = unit;
  const hadWriteCache = modePages.writeCacheEnabled;
  let isChanged = false;
  for (let at = pagesAt; at < list.length;) {
    const page = pageAt(unit, list, at)!;
    const values = list.subarray(at, at + page.current.length);
    if (!values.equals(page.current)) isChanged = true;
    values.copy(page.current);
    at += values.length;
  }
  modePages.applied();
  unit.thresholds.set();
  if (isChanged) unit.unitAttentions.establishForAll(Sense.MODE_PARAMETERS_CHANGED, task.nexus);
  if (hadWriteCache && !modePages.writeCacheEnabled) {
    // What the cache holds goes to the medium before the cache counts as disabled.
    task.op = BlockOp.FLUSH;
    task.length = 0;
    unit.startDevice(task);
  } else {
    unit.good(task);
  }
}

function cacheFlushed(task: Task, unit: LogicalUnit): void {
  if (task.status === BlockStatus.GOOD) unit.good(task);
  else unit.failMedium(task);
}
