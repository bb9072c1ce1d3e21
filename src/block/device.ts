/**
 * The BlockDevice contract: what a disk's medium does, whatever it is made of.
 *
 * Addresses and lengths are in bytes here and always multiples of {@link BlockDevice.blockSize};
 * they are plain numbers, so a device reaches to 2^53 bytes (8 PiB). Every implementation passes
 * `test/contract/block-device.ts`.
 *
 * One {@link BlockIo} describes one operation. The caller owns it and may use it again once it is
 * done; neither side allocates per operation. {@link BlockDevice.submit} may complete at once (it
 * returns true and `done` is NOT called) or later (it returns false and calls `io.done()` once,
 * never from within `submit`). Completion order is free; a caller that needs order waits.
 */

import type { ScatterList } from '../util/memory.js';

/** What a {@link BlockIo} asks for. */
export const BlockOp = {
  /** Read `length` bytes at `offset` into `data`. */
  READ: 0,
  /** Write `length` bytes of `data` at `offset`; with `fua`, onto stable storage before completion. */
  WRITE: 1,
  /** Make everything whose WRITE, UNMAP or WRITE_ZEROES has completed before stable. */
  FLUSH: 2,
  /** Give `length` bytes at `offset` back: they read as zeroes afterwards. */
  UNMAP: 3,
  /** Write zeroes; with `mayUnmap` the device may deallocate instead. */
  WRITE_ZEROES: 4,
  /**
   * Tell the state of provisioning of the `length` bytes at `offset`: `extents` are then in order, without
   * gaps, and cover the range from its start on, at least one block of it. Neighbours differ in state. An
   * answer may be coarser than the truth in one direction only: a hole may be told as mapped.
   */
  EXTENTS: 5,
} as const;
export type BlockOp = (typeof BlockOp)[keyof typeof BlockOp];

/** How a {@link BlockIo} ended. */
export const BlockStatus = {
  GOOD: 0,
  /** The medium could not be read or written at `errorOffset` (EIO, a short read inside the device). */
  MEDIUM_ERROR: 1,
  /** No room for the data (ENOSPC, EDQUOT). */
  NO_SPACE: 2,
  /** The device is read-only (EROFS, or opened so). */
  READ_ONLY: 3,
  /** The range is not inside the device. Callers check first; this is the last line of defence. */
  OUT_OF_RANGE: 4,
  /** The device is gone or closed. */
  NOT_READY: 5,
} as const;
export type BlockStatus = (typeof BlockStatus)[keyof typeof BlockStatus];

/** The most extents that one EXTENTS tells. */
export const MAXIMUM_EXTENTS = 1024;

/** One operation on a device, and its outcome. Extend it to know who is asking. */
export abstract class BlockIo {
  op: BlockOp = BlockOp.READ;
  /** First byte. */
  offset = 0;
  /** Bytes; 0 for FLUSH. */
  length = 0;
  /** Force unit access: a WRITE, UNMAP or WRITE_ZEROES is on stable storage when it completes. */
  fua = false;
  /** WRITE_ZEROES: deallocating is as welcome as zeroes. */
  mayUnmap = false;
  /** WRITE: whoever was lent memory for reading before sees nothing of it. */
  isAtomic = false;
  /** READ: where to, WRITE: where from; `data.length >= length`. Stays valid until the operation is done. */
  data!: ScatterList;
  /** EXTENTS: the answer, which the device fills in anew. */
  readonly extents: Extent[] = [];
  /** EXTENTS: how many are wanted at most, 1 to {@link MAXIMUM_EXTENTS}. */
  extentLimit = MAXIMUM_EXTENTS;
  status: BlockStatus = BlockStatus.GOOD;
  /** First byte that failed when `status` is not GOOD. */
  errorOffset = 0;
  /** What the system said, for the log; null when `status` is GOOD. */
  cause: Error | null = null;

  /** Called once when an operation that did not complete inside `submit` is done. */
  abstract done(): void;

  /** Record a failure. Returns true, so that `return io.fail(...)` completes at once. */
  fail(status: BlockStatus, errorOffset: number, cause: Error | null = null): true {
    this.status = status;
    this.errorOffset = errorOffset;
    this.cause = cause;
    return true;
  }

  /**
   * EXTENTS: the device adds the next `length` bytes, which are in one state. False when they are not taken,
   * because there are as many extents as are wanted.
   */
  addExtent(length: number, mapped: boolean): boolean {
    const { extents } = this;
    const last = extents.at(-1);
    if (last?.mapped === mapped) {
      last.length += length;
      return true;
    }
    if (extents.length === this.extentLimit) return false;
    const offset = last === undefined ? this.offset : last.offset + last.length;
    extents.push({ offset, length, mapped });
    return true;
  }
}

/** A run of bytes in one state of provisioning. */
export interface Extent {
  /** First byte. */
  offset: number;
  /** Bytes, at least one block. */
  length: number;
  /** False: deallocated, reads as zeroes. */
  mapped: boolean;
}

/** What the data of a thin device takes of the room beneath it. */
export interface Space {
  /** Bytes of it, at most the device's size. */
  readonly used: number;
  /** Bytes that are left for it, and maybe for others; null where that cannot be told. */
  readonly available: number | null;
}

/** What happened to a device without being asked. */
export interface BlockDeviceEvents {
  /** The size changed to `device.size`. */
  resized(): void;
}

/** A disk's medium. */
export interface BlockDevice {
  /** What it is, for people: a path, `memory`. */
  readonly description: string;
  /** 512 or 4096 bytes; 2048 for the disc of a CD drive. */
  readonly blockSize: number;
  /** Bytes, a multiple of `blockSize`. Changes with the `resized` event. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Smallest unit that UNMAP gives back, in bytes, a multiple of `blockSize`; 0 when it can only write zeroes. */
  readonly unmapGranularity: number;
  /**
   * The most bytes, a multiple of `blockSize`, that one WRITE changes altogether or not at all, even when power is lost
   * under it. Left out: it promises this of no WRITE.
   */
  readonly atomicWriteLimit?: number;
  /** Set by the owner of the device, at most one; null when nobody listens. */
  events: BlockDeviceEvents | null;

  /** Start `io`: true when it is done already, false when `io.done()` will tell. Never throws. */
  submit(io: BlockIo): boolean;

  /**
   * Aim `data` at the device's own memory for the `length` bytes at `offset`, so that they move
   * without a copy: a READ sends from there; a WRITE receives into it and needs no `submit`.
   * False when the device cannot (files never can), then `data` is unchanged.
   * With `forWriting` it is allocated first. The memory stays valid until the device is closed. When the device has no
   * more use for a part of it, at the latest then, it retires it ({@link Memory.retire}): without that, a part that was
   * read over RDMA stays registered, and so in memory.
   */
  lend(data: ScatterList, offset: number, length: number, forWriting: boolean): boolean;

  /**
   * What the data takes; null where that cannot be told, as when this is left out. A look at the system's own figures: quick,
   * but not for every operation.
   */
  space?(): Space | null;

  /** Look whether the medium changed its size; calls `events.resized` when it did. */
  refresh(): Promise<void>;

  /** Make all data stable and let go of the medium. Operations in flight complete first. Later ones fail NOT_READY. */
  close(): Promise<void>;
}
