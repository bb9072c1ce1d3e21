/** The checks that every device makes before it starts an operation. */

import { BlockOp, BlockStatus, type BlockIo } from './device.js';

/** What the checks need to know of a device. */
interface Bounds {
  readonly size: number;
  readonly blockSize: number;
  readonly readOnly: boolean;
}

/**
 * Reset the outcome of `io`, and fail it when `device` must not even try: true means that it is done.
 * Offset and length are compared such that no sum can overflow.
 */
export function refused(io: BlockIo, device: Bounds, closed: boolean): boolean {
  io.status = BlockStatus.GOOD;
  io.errorOffset = 0;
  io.cause = null;
  // Even of an empty array, setting the length is slow.
  if (io.extents.length > 0) io.extents.length = 0;
  const { op, offset, length } = io;
  if (closed) return io.fail(BlockStatus.NOT_READY, offset);
  if (op === BlockOp.FLUSH) return false;
  if (op !== BlockOp.READ && op !== BlockOp.EXTENTS && device.readOnly)
    return io.fail(BlockStatus.READ_ONLY, offset);
  if (!inside(device, offset, length)) return io.fail(BlockStatus.OUT_OF_RANGE, offset);
  if (op <= BlockOp.WRITE && io.data.length < length) return io.fail(BlockStatus.OUT_OF_RANGE, offset);
  return false;
}

/** Whether `length` bytes at `offset` are whole blocks inside `device`. */
export function inside(device: Bounds, offset: number, length: number): boolean {
  const { size, blockSize } = device;
  return (
    offset >= 0 &&
    length >= 0 &&
    offset <= size &&
    length <= size - offset &&
    offset % blockSize === 0 &&
    length % blockSize === 0
  );
}
