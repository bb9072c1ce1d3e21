/** Operations on a disk's medium as tests want them: one call each, awaited, with the rule of completion checked. */

import assert from 'node:assert/strict';
import { BlockIo, BlockOp, BlockStatus, type BlockDevice, type Extent } from '../../src/block/device.js';
import { Memory, ScatterList } from '../../src/util/memory.js';

/** An operation that can be awaited, and that checks the rule of completion. */
export class TestIo extends BlockIo {
  #submitting = false;
  #settled = false;
  #resolve: (() => void) | null = null;

  override done(): void {
    assert.equal(this.#submitting, false, 'done() was called from within submit');
    assert.equal(this.#settled, false, 'done() was called twice, or after submit returned true');
    this.#settled = true;
    this.#resolve?.();
  }

  /** Submit; resolves with the status when the operation is done, however it completes. */
  async on(device: BlockDevice): Promise<BlockStatus> {
    this.#settled = false;
    this.#submitting = true;
    const completed = device.submit(this);
    this.#submitting = false;
    if (completed) this.#settled = true;
    else await new Promise<void>((resolve) => (this.#resolve = resolve));
    return this.status;
  }
}

/** An operation of any kind; FLUSH takes no range. */
export function operation(op: BlockOp, offset = 0, length = 0): TestIo {
  const io = new TestIo();
  io.op = op;
  io.offset = offset;
  io.length = length;
  return io;
}

/** A READ into one segment. */
export function reading(offset: number, length: number): TestIo {
  const io = operation(BlockOp.READ, offset, length);
  io.data = listOf(Buffer.alloc(length, 0xee));
  return io;
}

/** A WRITE of `bytes`. */
export function writing(offset: number, bytes: Buffer, fua = false): TestIo {
  const io = operation(BlockOp.WRITE, offset, bytes.length);
  io.data = listOf(bytes);
  io.fua = fua;
  return io;
}

/** The bytes of a READ that must succeed. */
export async function readBack(device: BlockDevice, offset: number, length: number): Promise<Buffer> {
  const io = reading(offset, length);
  assert.equal(await io.on(device), BlockStatus.GOOD, String(io.cause));
  return io.data.toBuffer();
}

/** The answer to an EXTENTS that must succeed. */
export async function extentsOf(
  device: BlockDevice,
  offset: number,
  length: number,
  limit?: number,
): Promise<Extent[]> {
  const io = operation(BlockOp.EXTENTS, offset, length);
  if (limit !== undefined) io.extentLimit = limit;
  assert.equal(await io.on(device), BlockStatus.GOOD, String(io.cause));
  return io.extents;
}

/** Bytes that differ from place to place and from `seed` to `seed`. */
export function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 7 + (i >> 8) * 13 + seed * 31 + 1) & 0xff;
  return bytes;
}

/** `bytes` in memory cut at `cuts`, each part at an odd place of a region of its own. */
export function scattered(bytes: Buffer, cuts: readonly number[]): ScatterList {
  const list = new ScatterList();
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const margin = 1 + (from % 61);
    const region = Memory.allocate(to - from + 2 * margin);
    bytes.copy(region.bytes, margin, from, to);
    list.add(region, margin, to - from);
    from = to;
  }
  return list;
}

/** A list of one segment. */
export function listOf(bytes: Buffer): ScatterList {
  return scattered(bytes, []);
}
