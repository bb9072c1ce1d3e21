/** Commands about the unit's state: is it ready, what went wrong, how large is it, start, stop, eject. */

import { BlockOp, BlockStatus } from '../../block/device.js';
import { getU32, putU32, putU64 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense, SenseData, type SenseCode } from '../sense.js';
import { AccessState } from '../target-port-groups.js';
import type { Task } from '../task.js';

export const unitOperations: readonly Operation[] = [
  {
    name: 'TEST UNIT READY',
    opcode: 0x00,
    usage: [0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    ignoresPersistentReservation: true,
    start: (task, unit) => unit.good(task),
  },
  {
    name: 'REQUEST SENSE',
    opcode: 0x03,
    usage: [0x03, 0x01, 0x00, 0x00, 0xff, 0x00],
    ignoresUnitAttention: true,
    ignoresReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.TRANSITIONING,
    ignoresSanitize: true,
    start: startRequestSense,
  },
  {
    name: 'READ CAPACITY(10)',
    opcode: 0x25,
    // LOGICAL BLOCK ADDRESS and PMI are obsolete (SBC-3 5.15).
    usage: [0x25, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    ignoresReservation: true,
    runsUpTo: AccessState.STANDBY,
    ignoresSanitize: true,
    start: startReadCapacity10,
  },
  {
    name: 'READ CAPACITY(16)',
    opcode: 0x9e,
    serviceAction: 0x10,
    isSupported: ({ type }) => type === 'disk',
    usage: [0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
    ignoresReservation: true,
    runsUpTo: AccessState.STANDBY,
    ignoresSanitize: true,
    start: startReadCapacity16,
  },
  {
    name: 'START STOP UNIT',
    opcode: 0x1b,
    usage: [0x1b, 0x01, 0x00, 0x0f, 0xf7, 0x00],
    ignoresPersistentReservation: true,
    ignoresMedium: true,
    start: startStartStopUnit,
    deviceDone: startStopFlushed,
  },
  {
    name: 'PREVENT ALLOW MEDIUM REMOVAL',
    opcode: 0x1e,
    usage: [0x1e, 0x00, 0x00, 0x00, 0x03, 0x00],
    ignoresPersistentReservation: true,
    ignoresMedium: true,
    isSupported: (configuration) => configuration.removable,
    start: startPreventAllow,
  },
];

/** REQUEST SENSE (SPC-4 6.39): the pending unit attention, else the state of the unit. */
function startRequestSense(task: Task, unit: LogicalUnit): void {
  const { cdb, nexus } = task;
  const medium: SenseCode = unit.medium.isPresent ? Sense.NO_SENSE : unit.senseWithoutMedium;
  const state = unit.targetPortGroups.refusal(nexus, AccessState.ACTIVE_NON_OPTIMIZED) ?? medium;
  const sense = new SenseData();
  const isDescriptor = (cdb[1]! & 0x01) !== 0;
  const condition = unit.unitAttentions.take(nexus);
  if (condition === null && unit.sanitizer.state !== 'idle') unit.sanitize.setSense(sense, isDescriptor);
  else sense.set(condition ?? state, isDescriptor);
  unit.reply(task, sense.bytes.subarray(0, sense.length), cdb[4]!);
}

const MAX_U32 = 0xffff_ffff;

/** READ CAPACITY(10) (SBC-3 5.15): a disk that is too large for it says so with all ones. */
function startReadCapacity10(task: Task, unit: LogicalUnit): void {
  const data = Buffer.alloc(8);
  putU32(data, 0, Math.min(unit.blockCount - 1, MAX_U32));
  putU32(data, 4, unit.blockSize);
  unit.reply(task, data, data.length);
}

const LBPME = 0x80;
const LBPRZ = 0x40;

/** READ CAPACITY(16) (SBC-3 5.16). */
function startReadCapacity16(task: Task, unit: LogicalUnit): void {
  const data = Buffer.alloc(32);
  putU64(data, 0, unit.blockCount - 1);
  putU32(data, 8, unit.blockSize);
  data[13] = Math.log2(unit.logicalBlocksPerPhysical);
  if (unit.configuration.provisioning === 'thin') data[14] = LBPME | LBPRZ;
  unit.reply(task, data, getU32(task.cdb, 10));
}

// ---- START STOP UNIT (SBC-3 5.25) ----

const POWER_CONDITION_MASK = 0xf0;
const NO_FLUSH = 0x04;
const LOEJ = 0x02;
const START = 0x01;

/**
 * Nothing spins here: power conditions and stopping change nothing, apart from the flush that a stop
 * implies. LOEJ loads and ejects.
 */
function startStartStopUnit(task: Task, unit: LogicalUnit): void {
  const flags = task.cdb[4]!;
  const startsOnly = (flags & (POWER_CONDITION_MASK | START)) === START;
  if (!startsOnly && unit.reservations.persistent.excludes(task.nexus, false)) {
    unit.reservationConflict(task);
    return;
  }
  if ((flags & POWER_CONDITION_MASK) !== 0) {
    // START and LOEJ are not looked at (SBC-3 table 91).
    unit.good(task);
    return;
  }
  if ((flags & LOEJ) !== 0) {
    if (!unit.medium.isRemovable) {
      unit.failField(task, 4, 1);
      return;
    }
    // A tray that somebody has locked may be closed, not opened.
    const isPreventable = (flags & START) === 0 || unit.configuration.type === 'disk';
    if (isPreventable && unit.medium.isRemovalPrevented) {
      unit.fail(task, Sense.MEDIUM_REMOVAL_PREVENTED);
      return;
    }
  }
  const isStop = (flags & START) === 0;
  if (isStop && (flags & NO_FLUSH) === 0 && unit.medium.isPresent) {
    task.op = BlockOp.FLUSH;
    task.length = 0;
    unit.startDevice(task);
    return;
  }
  startStop(task, unit);
}

function startStopFlushed(task: Task, unit: LogicalUnit): void {
  if (task.status === BlockStatus.GOOD) startStop(task, unit);
  else unit.failMedium(task);
}

function startStop(task: Task, unit: LogicalUnit): void {
  const flags = task.cdb[4]!;
  if ((flags & LOEJ) !== 0) {
    if ((flags & START) === 0) unit.medium.eject(unit.nexuses);
    else if (!unit.medium.isPresent) {
      unit.unitAttentions.establishForAll(Sense.MEDIUM_MAY_HAVE_CHANGED, task.nexus);
      unit.medium.load(unit.nexuses);
    }
  }
  unit.good(task);
}

const PREVENT = 0x01;
const PERSISTENT = 0x02;

/** PREVENT ALLOW MEDIUM REMOVAL (SPC-4 6.15): per nexus; 10b and 11b are obsolete for disks, and persistent for drives (MMC-6). */
function startPreventAllow(task: Task, unit: LogicalUnit): void {
  const prevents = (task.cdb[4]! & PREVENT) !== 0;
  const persistently = (task.cdb[4]! & PERSISTENT) !== 0;
  if (persistently && unit.configuration.type === 'disk') {
    unit.failField(task, 4, 1);
    return;
  }
  if (prevents && unit.reservations.persistent.excludes(task.nexus, false)) {
    unit.reservationConflict(task);
    return;
  }
  if (prevents) unit.medium.prevent(task.nexus, persistently);
  else unit.medium.allow(task.nexus, persistently);
  unit.good(task);
}
