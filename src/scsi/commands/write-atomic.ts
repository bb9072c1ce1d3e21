/**
 * WRITE ATOMIC of SBC-4: other commands see all of its blocks, or none of them, and so does who comes after a loss of power.
 *
 * The first is what `exclusive` gives: it runs alone in the task set, from buffers that hold all of its Data-Out.
 * The second is the device's promise, so that only units have the command whose device makes it. ATOMIC BOUNDARY is not
 * evaluated and therefore refused when set: MAXIMUM ATOMIC BOUNDARY SIZE is zero.
 */

import { maximumAtomicTransferBlocks } from '../limits.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { Sense } from '../sense.js';
import { Counted } from '../statistics.js';
import type { Task } from '../task.js';
import {
  blockCountField,
  DPO,
  flagsOf,
  FUA,
  GROUP_NUMBER,
  isInRange,
  logicalBlockAddress,
} from './block-range.js';
import { writeBlocks, writeDone } from './read-write.js';

/** TRANSFER LENGTH, two bytes behind those of ATOMIC BOUNDARY. */
const TRANSFER_LENGTH = 12;

function start(task: Task, unit: LogicalUnit): void {
  const { blockSize } = unit;
  const lba = logicalBlockAddress(task.cdb);
  const blocks = blockCountField(task.cdb);
  if (!isInRange(unit, lba, blocks)) unit.fail(task, Sense.LBA_OUT_OF_RANGE);
  else if (blocks > maximumAtomicTransferBlocks(unit.device.atomicWriteLimit ?? 0, blockSize))
    unit.failField(task, TRANSFER_LENGTH);
  else if (blocks === 0) unit.good(task);
  // With less Data-Out than that nothing is written.
  else unit.requestData(task, blocks * blockSize);
}

function received(task: Task, unit: LogicalUnit): void {
  task.fua = (flagsOf(task.cdb) & FUA) !== 0;
  // READs before it may have ended here, while their data is still on its way to the initiator.
  task.isAtomic = true;
  writeBlocks(task, unit);
}

const lba = new Array<number>(8).fill(0xff);

export const writeAtomicOperations: readonly Operation[] = [
  {
    name: 'WRITE ATOMIC(16)',
    opcode: 0x9c,
    usage: [0x9c, DPO | FUA, ...lba, 0x00, 0x00, 0xff, 0xff, GROUP_NUMBER, 0x00],
    counted: Counted.WRITE,
    writesMedium: true,
    exclusive: true,
    isSupported: (_, { atomicWriteLimit = 0 }) => atomicWriteLimit > 0,
    start,
    received,
    deviceDone: writeDone,
  },
];
