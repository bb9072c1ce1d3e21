/** The state of a CD or DVD drive (MMC-6): GET EVENT STATUS NOTIFICATION, MECHANISM STATUS, and speeds, which mean nothing here. */

import { getU16, getU32, putU32 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { READ_SPEED } from '../optical-disc.js';
import { MediaEvent } from '../removable-medium.js';
import type { Task } from '../task.js';

export const driveStatusOperations: readonly Operation[] = [
  {
    name: 'GET EVENT STATUS NOTIFICATION',
    opcode: 0x4a,
    usage: [0x4a, 0x01, 0x00, 0x00, 0xff, 0x00, 0x00, 0xff, 0xff, 0x00],
    ignoresUnitAttention: true,
    ignoresMedium: true,
    start: startGetEventStatus,
  },
  {
    name: 'GET PERFORMANCE',
    opcode: 0xac,
    usage: [0xac, 0x1f, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0xff, 0xff, 0xff, 0x00],
    start: startGetPerformance,
  },
  {
    name: 'SET CD SPEED',
    opcode: 0xbb,
    usage: [0xbb, 0x03, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    ignoresMedium: true,
    start: (task, unit) => unit.good(task),
  },
  {
    name: 'MECHANISM STATUS',
    opcode: 0xbd,
    usage: [0xbd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00],
    ignoresMedium: true,
    start: startMechanismStatus,
  },
];

// ---- GET EVENT STATUS NOTIFICATION ----

const POLLED = 0x01;
/** No event of the requested classes is ever told. */
const NEA = 0x80;
const EVENT_HEADER = 4;

const NotificationClass = { OPERATIONAL_CHANGE: 1, POWER: 2, MEDIA: 4, DEVICE_BUSY: 6 } as const;
/** In ascending order: of those with an event the first is told. */
const CLASSES = Object.values(NotificationClass);
const SUPPORTED_CLASSES = CLASSES.reduce((mask, each) => mask | (1 << each), 0);

const OPERATIONAL_STATE_CHANGED = 2;
const FEATURE_CHANGE = 1;
const PERSISTENT_PREVENTED = 0x80;
const POWER_ACTIVE = 1;
const MEDIA_PRESENT = 0x02;
const TRAY_OPEN = 0x01;

function startGetEventStatus(task: Task, unit: LogicalUnit): void {
  const { cdb, nexus } = task;
  const { medium } = unit;
  if ((cdb[1]! & POLLED) === 0) {
    unit.failField(task, 1, 0); // nothing is told unasked
    return;
  }
  const allocationLength = getU16(cdb, 7);
  const requested = CLASSES.filter((each) => (cdb[4]! & (1 << each)) !== 0);
  const told = requested.find((each) => hasEvent(each, task, unit)) ?? requested[0];
  if (told === undefined) {
    const data = Buffer.from([0, EVENT_HEADER - 2, NEA, SUPPORTED_CLASSES]);
    unit.reply(task, data, allocationLength);
    return;
  }
  const event = describeEvent(told, task, unit);
  const header = [0, EVENT_HEADER - 2 + event.length, told, SUPPORTED_CLASSES];
  // An event is over once it has been told.
  if (allocationLength > EVENT_HEADER && told === NotificationClass.MEDIA) medium.takeEvent(nexus);
  if (allocationLength > EVENT_HEADER && told === NotificationClass.OPERATIONAL_CHANGE)
    medium.takeFeatureChange(nexus);
  unit.reply(task, Buffer.from([...header, ...event]), allocationLength);
}

function hasEvent(notificationClass: number, { nexus }: Task, { medium }: LogicalUnit): boolean {
  if (notificationClass === NotificationClass.OPERATIONAL_CHANGE) return medium.hasFeatureChange(nexus);
  return notificationClass === NotificationClass.MEDIA && medium.peekEvent(nexus) !== MediaEvent.NONE;
}

function describeEvent(notificationClass: number, { nexus }: Task, { medium }: LogicalUnit): number[] {
  switch (notificationClass) {
    case NotificationClass.OPERATIONAL_CHANGE: {
      const prevented = medium.isPersistentlyPrevented ? PERSISTENT_PREVENTED : 0;
      const hasChanged = medium.hasFeatureChange(nexus);
      return hasChanged ? [OPERATIONAL_STATE_CHANGED, prevented, 0, FEATURE_CHANGE] : [0, prevented, 0, 0];
    }
    case NotificationClass.POWER:
      return [0, POWER_ACTIVE, 0, 0];
    case NotificationClass.MEDIA:
      return [medium.peekEvent(nexus), medium.isPresent ? MEDIA_PRESENT : TRAY_OPEN, 0, 0];
    default:
      return [0, 0, 0, 0]; // never busy
  }
}

// ---- MECHANISM STATUS ----

const DOOR_OPEN = 0x10;

function startMechanismStatus(task: Task, unit: LogicalUnit): void {
  const data = Buffer.alloc(8); // idle, and no slots of a changer
  if (!unit.medium.isPresent) data[1] = DOOR_OPEN;
  unit.reply(task, data, getU16(task.cdb, 8));
}

// ---- GET PERFORMANCE ----

/** TYPE: performance data. */
const PERFORMANCE = 0x00;
const WRITE_SPEED = 0x03;
/** DATA TYPE: of writing; exceptions instead of nominal performance. */
const OF_WRITING = 0x04;
const EXCEPT = 0x03;

/** The nominal performance is the same everywhere on the disc; there are no exceptions, and no speeds of writing. */
function startGetPerformance(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  const type = cdb[10]!;
  if (type !== PERFORMANCE && type !== WRITE_SPEED) {
    unit.failField(task, 10);
    return;
  }
  const first = getU32(cdb, 2);
  const ofWriting = (cdb[1]! & OF_WRITING) !== 0;
  const isException = (cdb[1]! & EXCEPT) !== 0;
  const isNominal = type === PERFORMANCE && !ofWriting && !isException;
  const header = Buffer.alloc(8);
  if (type === PERFORMANCE) header[4] = (ofWriting ? 2 : 0) | (isException ? 1 : 0);
  if (isNominal && first >= unit.blockCount) {
    unit.failField(task, 2);
    return;
  }
  const isWanted = isNominal && getU16(cdb, 8) > 0;
  const descriptor = Buffer.alloc(isWanted ? 16 : 0);
  if (isWanted) {
    putU32(descriptor, 0, first);
    putU32(descriptor, 4, READ_SPEED);
    putU32(descriptor, 8, unit.blockCount - 1);
    putU32(descriptor, 12, READ_SPEED);
  }
  const data = Buffer.concat([header, descriptor]);
  putU32(data, 0, data.length - 4);
  unit.reply(task, data, data.length);
}
