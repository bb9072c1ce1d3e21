/**
 * What a CD or DVD drive tells about the disc in it (MMC-6): READ TOC/PMA/ATIP, READ DISC INFORMATION, READ TRACK INFORMATION,
 * READ DISC STRUCTURE. Every disc is finalised, with one session and one data track.
 */

import { getU16, getU32, putU16, putU32 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { msfOf, Profile, profileOf } from '../optical-disc.js';
import { Sense } from '../sense.js';
import type { Task } from '../task.js';

const TRACK = 1;
const SESSION = 1;
const LEAD_OUT = 0xaa;
/** ADR 1h: Q sub-channel has the position. CONTROL 4h: a data track, recorded without interruption. */
const ADR_AND_CONTROL = 0x14;

export const discInformationOperations: readonly Operation[] = [
  {
    name: 'READ TOC/PMA/ATIP',
    opcode: 0x43,
    // The highest bits of CONTROL were the format before MMC, and still are in Linux's sr.
    usage: [0x43, 0x02, 0x0f, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xc0],
    start: startReadToc,
  },
  {
    name: 'READ DISC INFORMATION',
    opcode: 0x51,
    usage: [0x51, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
    start: startReadDiscInformation,
  },
  {
    name: 'READ TRACK INFORMATION',
    opcode: 0x52,
    usage: [0x52, 0x07, 0xff, 0xff, 0xff, 0xff, 0x00, 0xff, 0xff, 0x00],
    start: startReadTrackInformation,
  },
  {
    name: 'READ DISC STRUCTURE',
    opcode: 0xad,
    usage: [0xad, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc0, 0x00],
    start: startReadDiscStructure,
  },
];

// ---- READ TOC/PMA/ATIP ----

const MSF = 0x02;
const TocFormat = { TOC: 0, SESSIONS: 1, RAW: 2 } as const;

function startReadToc(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  const inMsf = (cdb[1]! & MSF) !== 0;
  const format = cdb[2]! & 0x0f || cdb[9]! >>> 6;
  const first = cdb[6]!;
  const allocationLength = getU16(cdb, 7);
  const address = (lba: number): number[] => (inMsf ? [0, ...msfOf(lba)] : u32(lba));
  const descriptor = (point: number, lba: number) => [0, ADR_AND_CONTROL, point, 0, ...address(lba)];
  switch (format) {
    case TocFormat.TOC: {
      if (first > TRACK && first !== LEAD_OUT) {
        unit.failField(task, 6);
        return;
      }
      const track = first === LEAD_OUT ? [] : descriptor(TRACK, 0);
      const bytes = [...track, ...descriptor(LEAD_OUT, unit.blockCount)];
      unit.reply(task, tableOfContents(TRACK, bytes), allocationLength);
      return;
    }
    case TocFormat.SESSIONS:
      unit.reply(task, tableOfContents(SESSION, descriptor(TRACK, 0)), allocationLength);
      return;
    case TocFormat.RAW:
      if (first > SESSION) unit.failField(task, 6);
      else unit.reply(task, tableOfContents(SESSION, rawDescriptors(unit)), allocationLength);
      return;
    default:
      unit.failField(task, 2, 3);
  }
}

/** `number`: the first and last track, or session. */
function tableOfContents(number: number, descriptors: readonly number[]): Buffer {
  const data = Buffer.from([0, 0, number, number, ...descriptors]);
  putU16(data, 0, data.length - 2);
  return data;
}

/** The lead-in's entries: first track, last track, lead-out, and the track. */
function rawDescriptors(unit: LogicalUnit): number[] {
  const entry = (point: number, position: readonly number[]) => [
    ...[SESSION, ADR_AND_CONTROL, 0, point, 0, 0, 0, 0],
    ...position,
  ];
  return [
    ...entry(0xa0, [TRACK, 0, 0]),
    ...entry(0xa1, [TRACK, 0, 0]),
    ...entry(0xa2, msfOf(unit.blockCount)),
    ...entry(TRACK, msfOf(0)),
  ];
}

// ---- READ DISC INFORMATION ----

const STANDARD_INFORMATION = 0;
/** The last session is complete, and so is the disc. */
const FINALISED = 0x0e;
/** URU: the disc may be used for anything. */
const UNRESTRICTED = 0x20;

function startReadDiscInformation(task: Task, unit: LogicalUnit): void {
  if ((task.cdb[1]! & 0x07) !== STANDARD_INFORMATION) {
    unit.failField(task, 1, 2);
    return;
  }
  const data = Buffer.alloc(34);
  putU16(data, 0, data.length - 2);
  data[2] = FINALISED;
  data[3] = TRACK;
  data[4] = SESSION;
  data[5] = TRACK; // first and last one of the last session
  data[6] = TRACK;
  data[7] = UNRESTRICTED;
  // Nothing can be appended: neither a lead-in nor a lead-out has a next place.
  data.fill(0xff, 16, 24);
  unit.reply(task, data, getU16(task.cdb, 7));
}

// ---- READ TRACK INFORMATION ----

const OPEN = 0x04;
const AddressType = { LBA: 0, TRACK: 1, SESSION: 2 } as const;
const DATA_TRACK = 0x04;
const MODE_1 = 0x01;

function startReadTrackInformation(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  const type = cdb[1]! & 0x03;
  const number = getU32(cdb, 2);
  // No track is open, and what is no track has no information either: a lead-in, or what is yet to be recorded.
  if (type > AddressType.SESSION || (cdb[1]! & OPEN) !== 0) {
    unit.failField(task, 1, 2);
    return;
  }
  if (type === AddressType.LBA && number >= unit.blockCount) {
    unit.fail(task, Sense.LBA_OUT_OF_RANGE);
    return;
  }
  if (type !== AddressType.LBA && number !== TRACK) {
    unit.failField(task, 2);
    return;
  }
  const data = Buffer.alloc(36);
  putU16(data, 0, data.length - 2);
  data[2] = TRACK;
  data[3] = SESSION;
  data[5] = DATA_TRACK;
  data[6] = MODE_1;
  putU32(data, 24, unit.blockCount); // from block 0 on
  unit.reply(task, data, getU16(cdb, 7));
}

// ---- READ DISC STRUCTURE, of DVDs ----

const DVD = 0;
const StructureFormat = { PHYSICAL: 0x00, COPYRIGHT: 0x01, LIST: 0xff } as const;
/** Structures begin with their length and two reserved bytes. */
const STRUCTURE_HEADER = 4;
const PHYSICAL_LENGTH = STRUCTURE_HEADER + 2048;
const COPYRIGHT_LENGTH = STRUCTURE_HEADER + 4;
/** Where a DVD's data begins, in physical sectors. */
const FIRST_SECTOR = 0x03_0000;

function startReadDiscStructure(task: Task, unit: LogicalUnit): void {
  const { cdb } = task;
  if ((cdb[1]! & 0x0f) !== DVD) {
    unit.failField(task, 1, 3);
    return;
  }
  const structure = discStructure(cdb[7]!, unit);
  if (structure === null) {
    unit.failField(task, 7);
  } else if (profileOf(unit) !== Profile.DVD_ROM) {
    unit.fail(task, Sense.INCOMPATIBLE_FORMAT);
  } else if (cdb[6] !== 0) {
    unit.failField(task, 6); // the only layer
  } else {
    putU16(structure, 0, structure.length - 2);
    unit.reply(task, structure, getU16(cdb, 8));
  }
}

function discStructure(format: number, unit: LogicalUnit): Buffer | null {
  switch (format) {
    case StructureFormat.PHYSICAL:
      return physicalFormat(unit);
    case StructureFormat.COPYRIGHT:
      return Buffer.alloc(COPYRIGHT_LENGTH); // no protection, all regions
    case StructureFormat.LIST:
      return listOfStructures();
    default:
      return null;
  }
}

/** A DVD-ROM of 120 mm, with one layer however large it is: nobody has to know where a second one would begin. */
function physicalFormat(unit: LogicalUnit): Buffer {
  const data = Buffer.alloc(PHYSICAL_LENGTH);
  data[4] = 0x01; // DVD-ROM, version 1
  data[5] = 0x0f; // 120 mm, no maximum rate specified
  data[6] = 0x01; // one layer, embossed
  putU32(data, 8, FIRST_SECTOR);
  putU32(data, 12, Math.min(FIRST_SECTOR + unit.blockCount - 1, 0xff_ffff));
  return data;
}

const READABLE = 0x40;

function listOfStructures(): Buffer {
  const entry = (format: number, length: number) => [format, READABLE, length >>> 8, length & 0xff];
  return Buffer.from([
    ...[0, 0, 0, 0],
    ...entry(StructureFormat.PHYSICAL, PHYSICAL_LENGTH),
    ...entry(StructureFormat.COPYRIGHT, COPYRIGHT_LENGTH),
  ]);
}

function u32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}
