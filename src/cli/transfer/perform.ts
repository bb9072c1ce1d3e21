/** Single operations on any block device as promises, where pieces are large enough that a promise costs nothing. */

import {
  AwaitedIo,
  type BlockDevice,
  blockFailure,
  type BlockIo,
  BlockOp,
  BlockStatus,
} from '../../block/index.js';
import type { Memory } from '../../util/memory.js';
import { ScatterList } from '../../util/memory.js';

/** Bytes of one operation of a transfer. */
export const PIECE = 1 << 20;

async function perform(
  device: BlockDevice,
  op: BlockOp,
  offset: number,
  data: Memory | null,
  length: number,
): Promise<BlockIo> {
  const io = new AwaitedIo();
  io.op = op;
  io.offset = offset;
  io.length = length;
  io.data = new ScatterList();
  if (data !== null) io.data.add(data, 0, length);
  if (!device.submit(io)) await io.finished;
  if (io.status !== BlockStatus.GOOD) throw blockFailure(io);
  return io;
}

/** Read `length` bytes, whole blocks, to the start of `memory`. Throws as {@link blockFailure} tells. */
export function readInto(
  device: BlockDevice,
  offset: number,
  memory: Memory,
  length: number,
): Promise<unknown> {
  return perform(device, BlockOp.READ, offset, memory, length);
}

/** Write the first `length` bytes of `memory`, whole blocks. */
export function writeFrom(
  device: BlockDevice,
  offset: number,
  memory: Memory,
  length: number,
): Promise<unknown> {
  return perform(device, BlockOp.WRITE, offset, memory, length);
}

/** All that was written before is stable when this resolves. */
export function flush(device: BlockDevice): Promise<unknown> {
  return perform(device, BlockOp.FLUSH, 0, null, 0);
}

/** Whether the device is known to be one hole: it reads as zeroes. */
export async function isHole(device: BlockDevice): Promise<boolean> {
  const { extents } = await perform(device, BlockOp.EXTENTS, 0, null, device.size);
  return extents.length === 1 && !extents[0]!.mapped && extents[0]!.length === device.size;
}
