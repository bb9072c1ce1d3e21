/**
 * EXTENDED COPY(LID1) (SPC-4 6.5): copy blocks between logical units that the initiator could read and write itself.
 *
 * One type of segment is known, block device to block device, and one type of CSCD descriptor, by designator. PRIORITY
 * and STR are hints that need no obeying. The lists are checked as a whole before anything is copied; segments are
 * then carried out in order, and each is looked at when its turn comes.
 */

import { BlockOp } from '../../block/device.js';
import { getU16, getU32, getU64 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Nexus } from '../nexus.js';
import type { Operation } from '../operation.js';
import { Sense, type SenseCode } from '../sense.js';
import type { Task } from '../task.js';
import { hindrance, isReachable, reachableUnits } from '../third-party-copy/access.js';
import type { CopyFailure, CopyPlan, Move } from '../third-party-copy/copy-operation.js';
import { CopyRecord } from '../third-party-copy/copy-record.js';
import {
  BLOCK_TO_BLOCK,
  CSCD_DESCRIPTOR_LENGTH,
  DISK_BLOCK_LENGTH,
  diskBlockLength,
  findUnit,
  IDENTIFICATION_DESCRIPTOR,
  isOfDisk,
  OWN_LOGICAL_UNIT,
} from '../third-party-copy/cscd.js';
import {
  MAXIMUM_CSCD_DESCRIPTORS,
  MAXIMUM_DESCRIPTOR_LIST_LENGTH,
  MAXIMUM_SEGMENT_DESCRIPTORS,
  SEGMENT_DESCRIPTOR_LENGTH,
} from '../third-party-copy/limits.js';
import { copyEnded, runCopy, THIRD_PARTY_COPY_OUT } from './run-copy.js';

const EXTENDED_COPY_LID1 = 0x00;
/** Of the CDB. */
const PARAMETER_LIST_LENGTH = 10;

/** The parameter list: a header, CSCD descriptors, segment descriptors, inline data. */
const HEADER_LENGTH = 16;
const LIST_IDENTIFIER = 0;
const FLAGS = 1;
const CSCD_LIST_LENGTH = 2;
const SEGMENT_LIST_LENGTH = 8;
const INLINE_DATA_LENGTH = 12;

/** LIST ID USAGE, bits 4 and 3 of the flags. */
const ListIdUsage = { HOLD: 0, RESERVED: 1, DISCARD: 2, NONE: 3 } as const;
const LIST_ID_USAGE_HIGHEST_BIT = 4;

/** The segment descriptor block device to block device. */
const DESCRIPTOR_LENGTH = 2;
const SOURCE = 4;
const DESTINATION = 6;
const NUMBER_OF_BLOCKS = 10;
const SOURCE_LBA = 12;
const DESTINATION_LBA = 20;
/** DC, bit 1 of byte 1: the number counts blocks of the destination. */
const DC = 0x02;

function start(task: Task, unit: LogicalUnit): void {
  const length = getU32(task.cdb, PARAMETER_LIST_LENGTH);
  if (length === 0) unit.good(task);
  else if (length < HEADER_LENGTH || length > HEADER_LENGTH + MAXIMUM_DESCRIPTOR_LIST_LENGTH) {
    unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
  } else unit.requestData(task, length);
}

function received(task: Task, unit: LogicalUnit): void {
  const list = task.data.toBuffer();
  if (!isWellFormed(list, task, unit)) return;
  const usage = (list[FLAGS]! >>> 3) & 3;
  if (usage === ListIdUsage.RESERVED) {
    unit.failParameter(task, FLAGS, LIST_ID_USAGE_HIGHEST_BIT);
    return;
  }
  if (usage === ListIdUsage.NONE && list[LIST_IDENTIFIER] !== 0) {
    unit.failParameter(task, LIST_IDENTIFIER);
    return;
  }
  const identifier = usage === ListIdUsage.NONE ? null : list[LIST_IDENTIFIER]!;
  const record = new CopyRecord(task.nexus, identifier, EXTENDED_COPY_LID1, false);
  runCopy(task, unit, record, new SegmentPlan(list, unit, task.nexus));
}

/** The checks of the lists as such. False when the task was ended. */
function isWellFormed(list: Buffer, task: Task, unit: LogicalUnit): boolean {
  const cscdLength = getU16(list, CSCD_LIST_LENGTH);
  const segmentLength = getU32(list, SEGMENT_LIST_LENGTH);
  const segmentsAt = HEADER_LENGTH + cscdLength;
  if (getU32(list, INLINE_DATA_LENGTH) > 0) {
    unit.fail(task, Sense.INLINE_DATA_LENGTH_EXCEEDED);
  } else if (
    cscdLength + segmentLength > MAXIMUM_DESCRIPTOR_LIST_LENGTH ||
    segmentsAt + segmentLength > list.length ||
    cscdLength % CSCD_DESCRIPTOR_LENGTH !== 0
  ) {
    unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
  } else if (cscdLength > MAXIMUM_CSCD_DESCRIPTORS * CSCD_DESCRIPTOR_LENGTH) {
    unit.fail(task, Sense.TOO_MANY_TARGET_DESCRIPTORS);
  } else if (segmentLength > MAXIMUM_SEGMENT_DESCRIPTORS * SEGMENT_DESCRIPTOR_LENGTH) {
    unit.fail(task, Sense.TOO_MANY_SEGMENT_DESCRIPTORS);
  } else {
    return (
      areCscdsKnown(list, segmentsAt, task, unit) &&
      areSegmentsKnown(list, segmentsAt, segmentsAt + segmentLength, task, unit)
    );
  }
  return false;
}

function areCscdsKnown(list: Buffer, end: number, task: Task, unit: LogicalUnit): boolean {
  for (let at = HEADER_LENGTH; at < end; at += CSCD_DESCRIPTOR_LENGTH) {
    if (list[at] !== IDENTIFICATION_DESCRIPTOR) {
      failAt(task, unit, Sense.UNSUPPORTED_TARGET_DESCRIPTOR_TYPE, at);
      return false;
    }
  }
  return true;
}

function areSegmentsKnown(list: Buffer, start: number, end: number, task: Task, unit: LogicalUnit): boolean {
  for (let at = start; at < end; at += SEGMENT_DESCRIPTOR_LENGTH) {
    if (list[at] !== BLOCK_TO_BLOCK) {
      failAt(task, unit, Sense.UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE, at);
    } else if (at + SEGMENT_DESCRIPTOR_LENGTH > end) {
      unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
    } else if (getU16(list, at + DESCRIPTOR_LENGTH) !== SEGMENT_DESCRIPTOR_LENGTH - 4) {
      unit.failParameter(task, at + DESCRIPTOR_LENGTH);
    } else continue;
    return false;
  }
  return true;
}

/** End with `sense` and a pointer at a byte of the parameter list. */
function failAt(task: Task, unit: LogicalUnit, sense: SenseCode, byteOffset: number): void {
  task.sense.set(sense, unit.modePages.descriptorSense);
  task.sense.setFieldPointer(false, byteOffset, -1);
  unit.failWith(task, task.sense);
}

/** One side of a segment. */
interface Cscd {
  readonly unit: LogicalUnit;
}

/** The segments of a parameter list, in order. */
class SegmentPlan implements CopyPlan {
  readonly own: LogicalUnit;
  readonly #list: Buffer;
  readonly #nexus: Nexus;
  readonly #segmentsAt: number;
  readonly #count: number;
  #segment = 0;

  constructor(list: Buffer, own: LogicalUnit, nexus: Nexus) {
    this.own = own;
    this.#list = list;
    this.#nexus = nexus;
    this.#segmentsAt = HEADER_LENGTH + getU16(list, CSCD_LIST_LENGTH);
    this.#count = getU32(list, SEGMENT_LIST_LENGTH) / SEGMENT_DESCRIPTOR_LENGTH;
  }

  step(index: number): Move | CopyFailure | null {
    if (index === this.#count) return null;
    this.#segment = index;
    const at = this.#segmentsAt + index * SEGMENT_DESCRIPTOR_LENGTH;
    const segment = this.#list.subarray(at, at + SEGMENT_DESCRIPTOR_LENGTH);
    const source = this.#resolve(segment, SOURCE);
    if ('sense' in source) return source;
    const destination = this.#resolve(segment, DESTINATION);
    if ('sense' in destination) return destination;
    const isOfDestination = (segment[1]! & DC) !== 0;
    const from = source.unit;
    const to = destination.unit;
    const length = getU16(segment, NUMBER_OF_BLOCKS) * (isOfDestination ? to : from).blockSize;
    if (length % from.blockSize !== 0 || length % to.blockSize !== 0) {
      return this.#failure(Sense.UNEXPECTED_INEXACT_SEGMENT, NUMBER_OF_BLOCKS);
    }
    const move: Move = {
      source: from,
      sourceOffset: getU64(segment, SOURCE_LBA) * from.blockSize,
      destination: to,
      destinationOffset: getU64(segment, DESTINATION_LBA) * to.blockSize,
      length,
    };
    // Looked at as a whole, so that nothing is copied of what cannot be copied to its end.
    return this.objection(move, 0, length) ?? move;
  }

  objection(move: Move, offset: number, length: number): CopyFailure | null {
    const { source, destination } = move;
    const isThere = (unit: LogicalUnit): boolean => isReachable(unit, this.own, this.#nexus);
    if (!isThere(source!)) return this.#failure(Sense.UNREACHABLE_COPY_TARGET, SOURCE);
    if (!isThere(destination)) return this.#failure(Sense.UNREACHABLE_COPY_TARGET, DESTINATION);
    const reading = hindrance(source!, this.#nexus, BlockOp.READ, move.sourceOffset + offset, length);
    if (reading !== null) return this.#refused(reading, SOURCE_LBA);
    const writing = hindrance(
      destination,
      this.#nexus,
      BlockOp.WRITE,
      move.destinationOffset + offset,
      length,
    );
    return writing === null ? null : this.#refused(writing, DESTINATION_LBA);
  }

  deviceFailed(): CopyFailure {
    return this.#failure(Sense.THIRD_PARTY_DEVICE_FAILURE, -1);
  }

  /** What a command to one of the two would meet. Blocks that do not exist cannot be reached. */
  #refused(sense: SenseCode, lba: number): CopyFailure {
    return sense === Sense.LBA_OUT_OF_RANGE
      ? this.#failure(Sense.COPY_TARGET_DEVICE_NOT_REACHABLE, lba)
      : this.#failure(Sense.THIRD_PARTY_DEVICE_FAILURE, -1);
  }

  /** The logical unit whose CSCD descriptor ID is at byte `field` of a segment. */
  #resolve(segment: Buffer, field: number): Cscd | CopyFailure {
    const id = getU16(segment, field);
    if (id === OWN_LOGICAL_UNIT) return { unit: this.own };
    const at = HEADER_LENGTH + id * CSCD_DESCRIPTOR_LENGTH;
    if (at >= this.#segmentsAt) return this.#failure(Sense.UNREACHABLE_COPY_TARGET, field);
    const descriptor = this.#list.subarray(at, at + CSCD_DESCRIPTOR_LENGTH);
    const unit = findUnit(descriptor, reachableUnits(this.own, this.#nexus));
    if (unit === null) return this.#failure(Sense.UNREACHABLE_COPY_TARGET, field);
    if (!isOfDisk(descriptor)) return this.#failure(Sense.INCORRECT_COPY_TARGET_DEVICE_TYPE, field);
    if (diskBlockLength(descriptor) !== unit.blockSize) {
      return {
        sense: Sense.INVALID_FIELD_IN_COPY_PARAMETERS,
        segment: this.#segment,
        parameter: at + DISK_BLOCK_LENGTH,
      };
    }
    return { unit };
  }

  /** What is wrong with the segment, at byte `field` of its descriptor unless that is negative. */
  #failure(sense: SenseCode, field: number): CopyFailure {
    const segment = this.#segment;
    const at = this.#segmentsAt + segment * SEGMENT_DESCRIPTOR_LENGTH;
    return { sense, segment, ...(field >= 0 && { parameter: at + field }) };
  }
}

export const extendedCopyOperations: readonly Operation[] = [
  {
    name: 'EXTENDED COPY(LID1)',
    opcode: THIRD_PARTY_COPY_OUT,
    serviceAction: EXTENDED_COPY_LID1,
    usage: [THIRD_PARTY_COPY_OUT, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00],
    isSupported: ({ copyManager }) => copyManager !== null,
    start,
    received,
    deviceDone: copyEnded,
  },
];
