/**
 * What has become of third-party copies: the service actions of THIRD-PARTY COPY IN (SPC-4). Copies are told to the nexus that has
 * asked for them, until it uses their list identifier again, is lost, or the logical unit is reset.
 */

import { getU32, putU16, putU32, putU64 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import type { Task } from '../task.js';
import { MAXIMUM_COPIES } from '../third-party-copy/copy-manager.js';
import { type CopyRecord, CopyState } from '../third-party-copy/copy-record.js';
import { BLOCK_TO_BLOCK, IDENTIFICATION_DESCRIPTOR } from '../third-party-copy/cscd.js';
import {
  DATA_SEGMENT_GRANULARITY,
  MAXIMUM_CSCD_DESCRIPTORS,
  MAXIMUM_DESCRIPTOR_LIST_LENGTH,
  MAXIMUM_IDENTIFIED_COPIES,
  MAXIMUM_SEGMENT_DESCRIPTORS,
  MAXIMUM_SEGMENT_LENGTH,
} from '../third-party-copy/limits.js';
import { ROD_TOKEN_LENGTH } from '../third-party-copy/rod-tokens.js';
import { THIRD_PARTY_COPY_IN } from './run-copy.js';

/** Of the CDB; the LIST IDENTIFIER has one byte there, or four. */
const LIST_IDENTIFIER = 2;
const ALLOCATION_LENGTH = 10;

function reply(task: Task, unit: LogicalUnit, data: Buffer): void {
  unit.reply(task, data, getU32(task.cdb, ALLOCATION_LENGTH));
}

/** The copy that the nexus asks for; null when the task was ended, as there is none. */
function find(task: Task, unit: LogicalUnit, listIdentifier: number): CopyRecord | null {
  const record = unit.copies.find(task.nexus, listIdentifier);
  if (record === null) unit.failField(task, LIST_IDENTIFIER);
  return record;
}

/** TRANSFER COUNT UNITS. */
const CountUnits = { BYTES: 0x00, MEBIBYTES: 0x02, LOGICAL_BLOCKS: 0xf1 } as const;

// ---- RECEIVE COPY STATUS(LID1) ----

const STATUS_LID1_LENGTH = 12;
/** COPY MANAGER STATUS of this command. */
const StatusLid1 = {
  [CopyState.RUNNING]: 0x00,
  [CopyState.COMPLETED]: 0x01,
  [CopyState.FAILED]: 0x02,
  [CopyState.ABORTED]: 0x02,
} as const;

function startStatusLid1(task: Task, unit: LogicalUnit): void {
  const record = find(task, unit, task.cdb[LIST_IDENTIFIER]!);
  if (record === null) return;
  const { state, segments, bytes } = record;
  const data = Buffer.alloc(STATUS_LID1_LENGTH);
  putU32(data, 0, data.length - 4);
  data[4] = StatusLid1[state];
  putU16(data, 5, segments);
  const fits = bytes <= 0xffff_ffff;
  data[7] = fits ? CountUnits.BYTES : CountUnits.MEBIBYTES;
  putU32(data, 8, fits ? bytes : Math.floor(bytes / (1 << 20)));
  reply(task, unit, data);
}

// ---- RECEIVE COPY OPERATING PARAMETERS ----

const OPERATING_PARAMETERS_LENGTH = 44;
const SNLID = 0x01;
const IMPLEMENTED_DESCRIPTORS = [BLOCK_TO_BLOCK, IDENTIFICATION_DESCRIPTOR];

function startOperatingParameters(task: Task, unit: LogicalUnit): void {
  const data = Buffer.alloc(OPERATING_PARAMETERS_LENGTH + IMPLEMENTED_DESCRIPTORS.length);
  putU32(data, 0, data.length - 4);
  data[4] = SNLID;
  putU16(data, 8, MAXIMUM_CSCD_DESCRIPTORS);
  putU16(data, 10, MAXIMUM_SEGMENT_DESCRIPTORS);
  putU32(data, 12, MAXIMUM_DESCRIPTOR_LIST_LENGTH);
  putU32(data, 16, MAXIMUM_SEGMENT_LENGTH);
  // No inline data, no held data, no stream devices: bytes 20 to 31.
  putU16(data, 34, MAXIMUM_COPIES);
  data[36] = MAXIMUM_IDENTIFIED_COPIES;
  data[37] = DATA_SEGMENT_GRANULARITY;
  data[43] = IMPLEMENTED_DESCRIPTORS.length;
  data.set(IMPLEMENTED_DESCRIPTORS, 44);
  reply(task, unit, data);
}

// ---- RECEIVE COPY FAILURE DETAILS(LID1) ----

const FAILURE_DETAILS_LENGTH = 60;

function startFailureDetails(task: Task, unit: LogicalUnit): void {
  const record = find(task, unit, task.cdb[LIST_IDENTIFIER]!);
  if (record === null) return;
  if (record.state === CopyState.RUNNING) {
    unit.failField(task, LIST_IDENTIFIER);
    return;
  }
  const { status, sense } = record;
  const data = Buffer.alloc(FAILURE_DETAILS_LENGTH + sense.length);
  // AVAILABLE DATA is zero when nothing has failed.
  if (record.state === CopyState.FAILED) putU32(data, 0, data.length - 4);
  data[56] = status;
  putU16(data, 58, sense.length);
  sense.bytes.copy(data, FAILURE_DETAILS_LENGTH, 0, sense.length);
  reply(task, unit, data);
}

// ---- RECEIVE COPY STATUS(LID4), RECEIVE ROD TOKEN INFORMATION ----

const STATUS_LID4_LENGTH = 32;
/** ESTIMATED STATUS UPDATE DELAY: none is known. */
const UNKNOWN_DELAY = 0xffff_ffff;
/** COPY OPERATION STATUS. */
const StatusLid4 = {
  [CopyState.RUNNING]: 0x11,
  [CopyState.COMPLETED]: 0x01,
  [CopyState.FAILED]: 0x02,
  [CopyState.ABORTED]: 0x60,
} as const;
const IN_BACKGROUND = 0x12;

function statusLid4(unit: LogicalUnit, record: CopyRecord): Buffer {
  const { state, sense, isInBackground } = record;
  const data = Buffer.alloc(STATUS_LID4_LENGTH + sense.length);
  data[4] = record.serviceAction;
  data[5] = state === CopyState.RUNNING && isInBackground ? IN_BACKGROUND : StatusLid4[state];
  putU16(data, 6, record.operations & 0xffff);
  putU32(data, 8, state === CopyState.RUNNING ? UNKNOWN_DELAY : 0);
  data[12] = record.status;
  data[13] = sense.length;
  data[14] = sense.length;
  data[15] = CountUnits.LOGICAL_BLOCKS;
  putU64(data, 16, record.bytes / unit.blockSize);
  sense.bytes.copy(data, STATUS_LID4_LENGTH, 0, sense.length);
  return data;
}

function startStatusLid4(task: Task, unit: LogicalUnit): void {
  const record = find(task, unit, getU32(task.cdb, LIST_IDENTIFIER));
  if (record === null) return;
  const data = statusLid4(unit, record);
  putU32(data, 0, data.length - 4);
  putU16(data, 24, record.segments);
  reply(task, unit, data);
}

function startTokenInformation(task: Task, unit: LogicalUnit): void {
  const record = find(task, unit, getU32(task.cdb, LIST_IDENTIFIER));
  if (record === null) return;
  const { token } = record;
  // ROD TOKEN DESCRIPTORS LENGTH, and a descriptor: its ID, and the token.
  const tokens = Buffer.alloc(token === null ? 4 : 6 + ROD_TOKEN_LENGTH);
  putU32(tokens, 0, tokens.length - 4);
  token?.copy(tokens, 6);
  const data = Buffer.concat([statusLid4(unit, record), tokens]);
  putU32(data, 0, data.length - 4);
  reply(task, unit, data);
}

/** CDB usage data; `identifier` is how many bytes of LIST IDENTIFIER the CDB has. */
function usage(identifier: number): readonly number[] {
  const bytes = Array.from({ length: 8 }, (_, i) => (i < identifier ? 0xff : 0));
  return [THIRD_PARTY_COPY_IN, 0x1f, ...bytes, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00];
}

function row(name: string, serviceAction: number, identifier: number, start: Operation['start']): Operation {
  return {
    name,
    opcode: THIRD_PARTY_COPY_IN,
    serviceAction,
    usage: usage(identifier),
    isSupported: ({ copyManager }) => copyManager !== null,
    ignoresMedium: true,
    start,
  };
}

export const copyResultsOperations: readonly Operation[] = [
  row('RECEIVE COPY STATUS(LID1)', 0x00, 1, startStatusLid1),
  // Initiators of SPC-3 send a LIST IDENTIFIER with this one, too.
  row('RECEIVE COPY OPERATING PARAMETERS', 0x03, 1, startOperatingParameters),
  row('RECEIVE COPY FAILURE DETAILS(LID1)', 0x04, 1, startFailureDetails),
  row('RECEIVE COPY STATUS(LID4)', 0x05, 4, startStatusLid4),
  row('RECEIVE ROD TOKEN INFORMATION', 0x07, 4, startTokenInformation),
];
