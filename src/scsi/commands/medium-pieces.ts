/**
 * Reading the medium for commands that compare or combine it with their Data-Out.
 *
 * It is read in pieces into `task.scratch`, so that a command needs a bounded buffer besides its Data-Out;
 * MAXIMUM TRANSFER LENGTH bounds the work. `task.step` counts the bytes of the range that are left behind the
 * piece that is under way. Where the device lends its memory nothing is read, and the range is one piece.
 */

import { BlockOp, BlockStatus } from '../../block/device.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Task } from '../task.js';
import { logicalBlockAddress } from './block-range.js';

/** The most that one device operation reads, in bytes. */
const PIECE_LENGTH = 1 << 20;

/** What a command does with a piece: `task.length` bytes of the medium from `task.offset` on, in `task.scratch`. */
export type UsePiece = (task: Task, unit: LogicalUnit) => void;

/**
 * Read `length` bytes from the CDB's logical block address on. `use` is called with the first piece, at once or
 * by {@link pieceRead}, and asks for the others with {@link readNextPiece}.
 */
export function readMedium(task: Task, unit: LogicalUnit, length: number, use: UsePiece): void {
  task.offset = logicalBlockAddress(task.cdb) * unit.blockSize;
  task.length = length;
  task.step = 0;
  if (unit.device.lend(task.scratch, task.offset, length, false)) {
    use(task, unit);
    return;
  }
  if (!task.allocateScratch(Math.min(length, PIECE_LENGTH))) {
    unit.busy(task);
    return;
  }
  task.step = length;
  readPiece(task, unit);
}

/** The device is done with a piece: call `use`, or end the task when the medium could not be read. */
export function pieceRead(task: Task, unit: LogicalUnit, use: UsePiece): void {
  task.swapBuffers();
  if (task.status !== BlockStatus.GOOD) unit.failMedium(task);
  else use(task, unit);
}

/** Read the piece behind the one that was used. False when that was the last. */
export function readNextPiece(task: Task, unit: LogicalUnit): boolean {
  if (task.step === 0) return false;
  task.offset += task.length;
  readPiece(task, unit);
  return true;
}

/** Where the piece begins in Data-Out that has as many bytes as the range. */
export function pieceOffset(task: Task): number {
  return task.data.length - task.step - task.length;
}

/** Read as much of the `task.step` bytes that are left as a piece takes. */
function readPiece(task: Task, unit: LogicalUnit): void {
  task.op = BlockOp.READ;
  task.length = Math.min(task.step, PIECE_LENGTH);
  task.step -= task.length;
  task.swapBuffers();
  unit.startDevice(task);
}
