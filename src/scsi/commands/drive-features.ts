/** GET CONFIGURATION (MMC-6): what a CD or DVD drive can do, and what of it it can do with the disc that is in. */

import { getU16, putU16, putU32 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { DISC_BLOCK_SIZE, Profile, profileOf } from '../optical-disc.js';
import type { Task } from '../task.js';

/** RT: all features, those that are current, or one. */
const RequestedType = { ALL: 0, CURRENT: 1, ONE: 2 } as const;

export const driveFeatureOperations: readonly Operation[] = [
  {
    name: 'GET CONFIGURATION',
    opcode: 0x46,
    usage: [0x46, 0x03, 0xff, 0xff, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
    ignoresUnitAttention: true,
    ignoresMedium: true,
    start: startGetConfiguration,
  },
];

function startGetConfiguration(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  const requestedType = cdb[1]! & 0x03;
  const from = getU16(cdb, 2);
  if (requestedType > RequestedType.ONE) {
    unit.failField(task, 1, 1);
    return;
  }
  const profile = profileOf(unit);
  const wanted = FEATURES.filter((feature) => {
    if (requestedType === RequestedType.ONE) return feature.code === from;
    return feature.code >= from && (requestedType === RequestedType.ALL || isCurrent(feature, profile));
  });
  const header = Buffer.alloc(8);
  const data = Buffer.concat([header, ...wanted.map((feature) => describe(feature, profile, unit))]);
  putU32(data, 0, data.length - 4);
  putU16(data, 6, profile);
  unit.reply(task, data, getU16(cdb, 7));
}

interface Feature {
  readonly code: number;
  readonly version: number;
  /** The discs that it needs, or `always`: persistent. */
  readonly discs: 'always' | readonly Profile[];
  /** The feature dependent data. */
  readonly data: (profile: Profile, unit: LogicalUnit) => readonly number[];
}

const nothing = (): readonly number[] => [];
const PHYSICAL_INTERFACE_SCSI = 1;
/** The device busy class of events is there, and INQUIRY tells what it is made for. */
const DBE = 0x01;
/** A change of features is an event. */
const OC_EVENT = 0x02;
/** A tray, that loads and ejects, is unlocked at first, and can be locked. */
const TRAY = 0x39;

/** In ascending order, as they are answered. */
const FEATURES: readonly Feature[] = [
  { code: 0x0000, version: 0, discs: 'always', data: profileList },
  { code: 0x0001, version: 2, discs: 'always', data: () => [0, 0, 0, PHYSICAL_INTERFACE_SCSI, DBE, 0, 0, 0] },
  { code: 0x0002, version: 1, discs: 'always', data: () => [OC_EVENT, 0, 0, 0] },
  { code: 0x0003, version: 0, discs: 'always', data: () => [TRAY, 0, 0, 0] },
  // Random Readable
  { code: 0x0010, version: 0, discs: [Profile.CD_ROM, Profile.DVD_ROM], data: randomReadable },
  // MultiRead
  { code: 0x001d, version: 0, discs: [Profile.CD_ROM], data: nothing },
  // CD Read: neither C2 errors nor CD-Text
  { code: 0x001e, version: 2, discs: [Profile.CD_ROM], data: () => [0, 0, 0, 0] },
  // DVD Read
  { code: 0x001f, version: 0, discs: [Profile.DVD_ROM], data: nothing },
  // Power Management
  { code: 0x0100, version: 0, discs: 'always', data: nothing },
  // Timeout
  { code: 0x0105, version: 1, discs: 'always', data: () => [0, 0, 0, 0] },
  // Logical Unit Serial Number
  { code: 0x0108, version: 0, discs: 'always', data: serialNumber },
];

function isCurrent({ discs }: Feature, profile: Profile): boolean {
  return discs === 'always' || discs.includes(profile);
}

const PERSISTENT = 0x02;
const CURRENT = 0x01;

function describe(feature: Feature, profile: Profile, unit: LogicalUnit): Buffer {
  const data = feature.data(profile, unit);
  const flags =
    (feature.version << 2) |
    (feature.discs === 'always' ? PERSISTENT : 0) |
    (isCurrent(feature, profile) ? CURRENT : 0);
  return Buffer.from([feature.code >>> 8, feature.code & 0xff, flags, data.length, ...data]);
}

function profileList(current: Profile): readonly number[] {
  return [Profile.DVD_ROM, Profile.CD_ROM].flatMap((profile) => [
    ...[profile >>> 8, profile & 0xff],
    ...[profile === current ? CURRENT : 0, 0],
  ]);
}

/** Blocks that a DVD's error correction joins; a CD's stand alone. */
const DVD_BLOCKING = 16;

function randomReadable(profile: Profile): readonly number[] {
  const data = Buffer.alloc(8);
  putU32(data, 0, DISC_BLOCK_SIZE);
  putU16(data, 4, profile === Profile.DVD_ROM ? DVD_BLOCKING : 1);
  data[6] = 0x01; // PP: there is mode page 01h
  return [...data];
}

function serialNumber(_profile: Profile, unit: LogicalUnit): readonly number[] {
  const { serialNumber } = unit.configuration.identity;
  return [...Buffer.from(serialNumber.padEnd(Math.ceil(serialNumber.length / 4) * 4), 'ascii')];
}
