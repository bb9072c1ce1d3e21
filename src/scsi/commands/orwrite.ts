/**
 * ORWRITE of SBC-3: OR Data-Out into the blocks of the medium.
 *
 * The medium is ORed into the Data-Out piece by piece, which is then written as a whole. The operation is
 * exclusive in the task set: nothing else changes the blocks between its read and its write. ORPROTECT is not
 * evaluated and therefore refused when set: there is no protection information.
 */

import { BlockOp } from '../../block/device.js';
import type { Memory } from '../../util/memory.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import type { Task } from '../task.js';
import { DPO, flagsOf, layout32, FUA, FUA_NV, usage16 } from './block-range.js';
import { pieceOffset, pieceRead, readMedium, readNextPiece } from './medium-pieces.js';
import { requestBlocks, writeBlocks, writeDone } from './read-write.js';
import { walkBoth } from './walk-both.js';

function received(task: Task, unit: LogicalUnit): void {
  readMedium(task, unit, task.data.length, orPiece);
}

function deviceDone(task: Task, unit: LogicalUnit): void {
  if (task.op === BlockOp.READ) pieceRead(task, unit, orPiece);
  else writeDone(task, unit);
}

function orPiece(task: Task, unit: LogicalUnit): void {
  walkBoth(task.data, pieceOffset(task), task.scratch, 0, task.length, orBytes);
  if (readNextPiece(task, unit)) return;
  task.fua = (flagsOf(task.cdb) & FUA) !== 0;
  writeBlocks(task, unit);
}

/** OR `length` bytes of `source` into `target`, by words: byte by byte a large command holds up all others. */
function orBytes(target: Memory, at: number, source: Memory, from: number, length: number): number {
  const targetView = target.view;
  const sourceView = source.view;
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    targetView.setUint32(at + i, targetView.getUint32(at + i) | sourceView.getUint32(from + i));
  }
  for (; i < length; i++) target.bytes[at + i]! |= source.bytes[from + i]!;
  return -1;
}

const combining = { writesMedium: true, exclusive: true, start: requestBlocks, received, deviceDone };

export const orwriteOperations: readonly Operation[] = [
  {
    name: 'ORWRITE(16)',
    opcode: 0x8b,
    usage: usage16(0x8b, DPO | FUA | FUA_NV),
    ...combining,
  },
  { name: 'ORWRITE(32)', ...layout32(0x0e, DPO | FUA | FUA_NV), ...combining },
];
