/**
 * COMPARE AND WRITE of SBC-3: write blocks if the medium holds what the initiator thinks it does.
 *
 * Data-Out is the blocks to compare with, then as many to write. The operation is exclusive in the task
 * set: nothing else changes the medium between its comparison and its write, however long the device
 * takes for either.
 */

import { BlockOp } from '../../block/device.js';
import type { ScatterList } from '../../util/memory.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import type { Task } from '../task.js';
import { DPO, FUA, FUA_NV, GROUP_NUMBER, isInRange, logicalBlockAddress } from './block-range.js';
import { failMiscompare, firstDifference } from './compare.js';
import { pieceRead, readMedium } from './medium-pieces.js';
import { writeDone } from './read-write.js';

/** NUMBER OF LOGICAL BLOCKS, one byte: it cannot exceed MAXIMUM COMPARE AND WRITE LENGTH. */
const NUMBER_OF_BLOCKS = 13;

function start(task: Task, unit: LogicalUnit): void {
  const lba = logicalBlockAddress(task.cdb);
  const blocks = task.cdb[NUMBER_OF_BLOCKS]!;
  if (!isInRange(unit, lba, blocks)) {
    unit.fail(task, Sense.LBA_OUT_OF_RANGE);
    return;
  }
  if (blocks === 0) {
    // Data-Out for nothing is a count that got lost, 256 in a byte for example.
    if (task.dataOutLimit > 0) unit.failField(task, NUMBER_OF_BLOCKS);
    else unit.good(task);
    return;
  }
  const length = blocks * unit.blockSize;
  task.transferLength = 2 * length;
  // With more Data-Out than both halves need it is not sure where the second one is meant to begin.
  if (task.dataOutLimit !== 2 * length) {
    unit.fail(task, Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
    return;
  }
  task.fua = (task.cdb[1]! & FUA) !== 0;
  unit.requestData(task, 2 * length);
}

function received(task: Task, unit: LogicalUnit): void {
  readMedium(task, unit, task.data.length / 2, compare);
}

function deviceDone(task: Task, unit: LogicalUnit): void {
  if (task.op === BlockOp.READ) pieceRead(task, unit, compare);
  else writeDone(task, unit);
}

/** The range is one piece: 255 blocks are never more than that. */
function compare(task: Task, unit: LogicalUnit): void {
  const difference = firstDifference(task.data, 0, task.scratch, 0, task.length);
  if (difference >= 0) {
    failMiscompare(task, unit, difference);
    return;
  }
  moveSecondHalf(task.data, task.length);
  task.op = BlockOp.WRITE;
  // As for WRITE ATOMIC: READs before it may still be on their way.
  task.isAtomic = true;
  unit.startDevice(task);
}

/** Copy the second `half` bytes of `list` over the first: a device writes from the front. */
function moveSecondHalf(list: ScatterList, half: number): void {
  let at = 0;
  for (let i = 0; i < list.count; i++) {
    const length = list.lengths[i]!;
    const skip = Math.min(length, Math.max(0, half - at));
    list.writeFrom(at + skip - half, list.regions[i]!, list.offsets[i]! + skip, length - skip);
    at += length;
  }
}

const FLAGS = DPO | FUA | FUA_NV;
const lba = new Array<number>(8).fill(0xff);

export const compareAndWriteOperations: readonly Operation[] = [
  {
    name: 'COMPARE AND WRITE',
    opcode: 0x89,
    usage: [0x89, FLAGS, ...lba, 0x00, 0x00, 0x00, 0xff, GROUP_NUMBER, 0x00],
    writesMedium: true,
    exclusive: true,
    start,
    received,
    deviceDone,
  },
];
