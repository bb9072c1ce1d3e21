/**
 * Offloaded data transfer (SBC-3, SPC-4 6.3): POPULATE TOKEN makes a ROD token that stands for blocks of this
 * logical unit, WRITE USING TOKEN copies here what a token stands for, and COPY OPERATION ABORT stops that.
 *
 * POPULATE TOKEN runs alone in its task set, so that no write is under way whose data the token might or might not have.
 */

import { BlockOp } from '../../block/device.js';
import { getU16, getU32, getU64 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense, type SenseCode } from '../sense.js';
import { Counted } from '../statistics.js';
import type { Task } from '../task.js';
import { hindrance } from '../third-party-copy/access.js';
import type { CopyFailure, CopyPlan, Move } from '../third-party-copy/copy-operation.js';
import { CopyRecord, CopyState } from '../third-party-copy/copy-record.js';
import { MAXIMUM_RANGE_DESCRIPTORS } from '../third-party-copy/limits.js';
import {
  type ByteRange,
  DEFAULT_INACTIVITY_TIMEOUT,
  hasTokenLength,
  MAXIMUM_INACTIVITY_TIMEOUT,
  ROD_TOKEN_LENGTH,
  RodType,
  type RodToken,
} from '../third-party-copy/rod-tokens.js';
import { isInRange } from './block-range.js';
import { copyEnded, remember, runCopy, THIRD_PARTY_COPY_OUT } from './run-copy.js';

const POPULATE_TOKEN = 0x10;
const WRITE_USING_TOKEN = 0x11;
const COPY_OPERATION_ABORT = 0x1c;

/** Of the CDBs. */
const LIST_IDENTIFIER = 6;
const PARAMETER_LIST_LENGTH = 10;
const ABORTED_LIST_IDENTIFIER = 2;

/** Both parameter lists begin with their length and flags, and end with block device range descriptors behind their length. */
const FLAGS = 2;
const IMMED = 0x01;
const RANGE_DESCRIPTOR_LENGTH = 16;
const RANGE_BLOCKS = 8;

/** Where the length of the range descriptors is in the parameter list. */
const POPULATE_RANGES = 14;
const WRITE_RANGES = 534;

function begin(task: Task, unit: LogicalUnit, ranges: number): void {
  const length = getU32(task.cdb, PARAMETER_LIST_LENGTH);
  const shortest = ranges + 2;
  if (length === 0) unit.good(task);
  else if (length < shortest || length > shortest + MAXIMUM_RANGE_DESCRIPTORS * RANGE_DESCRIPTOR_LENGTH) {
    unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
  } else unit.requestData(task, length);
}

/** The ranges of a parameter list whose length field is at `field`; null when the task was ended, as they are no good. */
function rangesOf(list: Buffer, field: number, task: Task, unit: LogicalUnit): ByteRange[] | null {
  const length = getU16(list, field);
  const first = field + 2;
  // The list's own length does not count itself.
  if (getU16(list, 0) + 2 < first + length || first + length > list.length) {
    unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
    return null;
  }
  const count = Math.floor(length / RANGE_DESCRIPTOR_LENGTH);
  if (count === 0) {
    unit.failParameter(task, field);
    return null;
  }
  const ranges: ByteRange[] = [];
  for (let at = first; ranges.length < count; at += RANGE_DESCRIPTOR_LENGTH) {
    const lba = getU64(list, at);
    const blocks = getU32(list, at + RANGE_BLOCKS);
    if (!isInRange(unit, lba, blocks)) {
      unit.fail(task, Sense.LBA_OUT_OF_RANGE);
      return null;
    }
    const range = { offset: lba * unit.blockSize, length: blocks * unit.blockSize };
    if (ranges.some((other) => overlap(other, range))) {
      unit.failParameter(task, at);
      return null;
    }
    ranges.push(range);
  }
  return ranges;
}

function overlap(a: ByteRange, b: ByteRange): boolean {
  return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

// ---- POPULATE TOKEN ----

const RTV = 0x02;
const INACTIVITY_TIMEOUT = 4;
const ROD_TYPE = 8;
/** Those that a token of the one type that is made here is good for. */
const ROD_TYPES: readonly number[] = [
  RodType.POINT_IN_TIME_DEFAULT,
  RodType.POINT_IN_TIME_CHANGE_VULNERABLE,
  RodType.POINT_IN_TIME_ANY,
];

function populateReceived(task: Task, unit: LogicalUnit): void {
  const list = task.data.toBuffer();
  const ranges = rangesOf(list, POPULATE_RANGES, task, unit);
  if (ranges === null) return;
  const inactivityTimeout = getU32(list, INACTIVITY_TIMEOUT);
  if (inactivityTimeout > MAXIMUM_INACTIVITY_TIMEOUT) {
    unit.failParameter(task, INACTIVITY_TIMEOUT);
    return;
  }
  if ((list[FLAGS]! & RTV) !== 0 && !ROD_TYPES.includes(getU32(list, ROD_TYPE))) {
    unit.failParameter(task, ROD_TYPE);
    return;
  }
  const { nexus } = task;
  const isImmediate = (list[FLAGS]! & IMMED) !== 0;
  const record = new CopyRecord(nexus, getU32(task.cdb, LIST_IDENTIFIER), POPULATE_TOKEN, isImmediate);
  if (!remember(task, unit, record)) return;
  const token = unit.configuration.copyManager!.tokens.create({
    unit,
    nexus,
    ranges,
    inactivityTimeout: inactivityTimeout === 0 ? DEFAULT_INACTIVITY_TIMEOUT : inactivityTimeout,
  });
  if (token === null) {
    unit.copies.forget(record);
    unit.fail(task, Sense.INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN);
    return;
  }
  record.token = token.bytes;
  record.bytes = token.length;
  record.state = CopyState.COMPLETED;
  unit.good(task);
}

// ---- WRITE USING TOKEN ----

const DEL_TKN = 0x02;
const OFFSET_INTO_ROD = 8;
const ROD_TOKEN = 16;

function writeReceived(task: Task, unit: LogicalUnit): void {
  const list = task.data.toBuffer();
  const ranges = rangesOf(list, WRITE_RANGES, task, unit);
  if (ranges === null) return;
  const bytes = list.subarray(ROD_TOKEN, ROD_TOKEN + ROD_TOKEN_LENGTH);
  const isImmediate = (list[FLAGS]! & IMMED) !== 0;
  const identifier = getU32(task.cdb, LIST_IDENTIFIER);
  const record = new CopyRecord(task.nexus, identifier, WRITE_USING_TOKEN, isImmediate);
  if (getU32(bytes, 0) === RodType.BLOCK_DEVICE_ZERO) {
    if (!hasTokenLength(bytes)) unit.fail(task, Sense.INVALID_TOKEN_LENGTH);
    else runCopy(task, unit, record, new TokenPlan(unit, record, zeroMoves(unit, ranges), null));
    return;
  }
  const token = unit.configuration.copyManager!.tokens.find(bytes);
  if ('asc' in token) {
    unit.fail(task, token);
    return;
  }
  const isLast = (list[FLAGS]! & DEL_TKN) !== 0;
  const offset = getU64(list, OFFSET_INTO_ROD) * unit.blockSize;
  const wanted = ranges.reduce((sum, { length }) => sum + length, 0);
  if (offset > token.length) {
    unit.failParameter(task, OFFSET_INTO_ROD);
    return;
  }
  if (wanted > token.length - offset) {
    unit.failParameter(task, WRITE_RANGES);
    return;
  }
  const moves = movesOf(token, offset, unit, ranges);
  if (moves.some((move) => isInexact(move, token.unit))) {
    unit.failParameter(task, OFFSET_INTO_ROD);
    return;
  }
  token.begin();
  runCopy(task, unit, record, new TokenPlan(unit, record, moves, token), () => {
    token.finish();
    if (isLast && record.state === CopyState.COMPLETED) token.end(Sense.TOKEN_DELETED);
  });
}

function zeroMoves(destination: LogicalUnit, ranges: readonly ByteRange[]): Move[] {
  return ranges.map(({ offset, length }) => ({
    source: null,
    sourceOffset: 0,
    destination,
    destinationOffset: offset,
    length,
  }));
}

/** From byte `offset` of what the token stands for into `ranges`, one after the other. */
function movesOf(
  token: RodToken,
  offset: number,
  destination: LogicalUnit,
  ranges: readonly ByteRange[],
): Move[] {
  const moves: Move[] = [];
  let from = 0;
  let skip = offset;
  for (const range of ranges) {
    for (let done = 0; done < range.length;) {
      const source = token.ranges[from]!;
      if (skip >= source.length) {
        skip -= source.length;
        from++;
        continue;
      }
      const length = Math.min(source.length - skip, range.length - done);
      const sourceOffset = source.offset + skip;
      moves.push({
        source: token.unit,
        sourceOffset,
        destination,
        destinationOffset: range.offset + done,
        length,
      });
      done += length;
      skip += length;
    }
  }
  return moves;
}

/** Whether a move begins or ends inside of a block, as may happen when the two units have blocks of different lengths. */
function isInexact(
  { sourceOffset, destinationOffset, length, destination }: Move,
  source: LogicalUnit,
): boolean {
  return (
    sourceOffset % source.blockSize !== 0 ||
    destinationOffset % destination.blockSize !== 0 ||
    length % source.blockSize !== 0 ||
    length % destination.blockSize !== 0
  );
}

/** What a WRITE USING TOKEN moves. `token` is null for zeroes. */
class TokenPlan implements CopyPlan {
  readonly own: LogicalUnit;
  readonly #record: CopyRecord;
  readonly #moves: readonly Move[];
  readonly #token: RodToken | null;

  constructor(own: LogicalUnit, record: CopyRecord, moves: readonly Move[], token: RodToken | null) {
    this.own = own;
    this.#record = record;
    this.#moves = moves;
    this.#token = token;
  }

  step(index: number): Move | null {
    return this.#moves[index] ?? null;
  }

  objection(move: Move, offset: number, length: number): CopyFailure | null {
    const { source, destination } = move;
    if (this.#token !== null) {
      if (this.#token.ended !== null) return { sense: this.#token.ended };
      // The token conveys what its maker could read, for as long as its maker could.
      const reading = hindrance(source!, this.#token.nexus, BlockOp.READ, move.sourceOffset + offset, length);
      if (reading !== null) return { sense: Sense.TOKEN_REVOKED };
    }
    const { nexus } = this.#record;
    const writing = hindrance(destination, nexus, BlockOp.WRITE, move.destinationOffset + offset, length);
    return writing === null ? null : { sense: writing };
  }

  deviceFailed(_move: Move, side: 'source' | 'destination', sense: SenseCode): CopyFailure {
    return { sense: side === 'source' ? Sense.THIRD_PARTY_DEVICE_FAILURE : sense };
  }
}

// ---- COPY OPERATION ABORT ----

function abort(task: Task, unit: LogicalUnit): void {
  const record = unit.copies.find(task.nexus, getU32(task.cdb, ABORTED_LIST_IDENTIFIER));
  if (record === null) {
    unit.failField(task, ABORTED_LIST_IDENTIFIER);
    return;
  }
  record.isCancelled = true;
  unit.good(task);
}

const whole = [0xff, 0xff, 0xff, 0xff];
const GROUP_NUMBER = 0x1f;
const usage = [THIRD_PARTY_COPY_OUT, 0x1f, 0, 0, 0, 0, ...whole, ...whole, GROUP_NUMBER, 0x00];
const isSupported: Operation['isSupported'] = ({ copyManager }) => copyManager !== null;

export const rodTokenOperations: readonly Operation[] = [
  {
    name: 'POPULATE TOKEN',
    opcode: THIRD_PARTY_COPY_OUT,
    serviceAction: POPULATE_TOKEN,
    usage,
    isSupported,
    counted: Counted.READ_WITHOUT_BLOCKS,
    readsMedium: true,
    exclusive: true,
    start(task, unit) {
      begin(task, unit, POPULATE_RANGES);
    },
    received: populateReceived,
  },
  {
    name: 'WRITE USING TOKEN',
    opcode: THIRD_PARTY_COPY_OUT,
    serviceAction: WRITE_USING_TOKEN,
    usage,
    isSupported,
    counted: Counted.WRITE_WITHOUT_BLOCKS,
    writesMedium: true,
    start(task, unit) {
      begin(task, unit, WRITE_RANGES);
    },
    received: writeReceived,
    deviceDone: copyEnded,
  },
  {
    name: 'COPY OPERATION ABORT',
    opcode: THIRD_PARTY_COPY_OUT,
    serviceAction: COPY_OPERATION_ABORT,
    usage: [THIRD_PARTY_COPY_OUT, 0x1f, ...whole, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00],
    isSupported,
    ignoresMedium: true,
    start: abort,
  },
];
