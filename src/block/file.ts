/**
 * A disk in an image file or on a block special file.
 *
 * What the page cache can answer is answered inside `submit`, by `preadv2` with RWF_NOWAIT: no thread
 * hop, no allocation. What would wait goes to the thread pool ({@link ./thread-pool-io.js}), so that
 * one slow disk never stalls the event loop. Without foreign functions everything goes there.
 */

import fs from 'node:fs';
import { constants } from 'node:os';
import { RiserError } from '../util/errors.js';
import { Memory, ScatterList } from '../util/memory.js';
import { IoVector } from '../util/posix/iovec.js';
import { libc as systemLibc, type Libc, type VectorCall } from '../util/posix/libc.js';
import { refused } from './admission.js';
import { BlockOp, type BlockDevice, type BlockDeviceEvents, type BlockIo, type Space } from './device.js';
import { imageSize, openImage, type Image } from './image.js';
import { ThreadPoolIo } from './thread-pool-io.js';

export interface FileDeviceOptions {
  /** 512 (default), 2048 or 4096 bytes. */
  blockSize?: number;
  /** Open for reading only; several servers may then serve the same image. */
  readOnly?: boolean;
  /**
   * True (default): UNMAP makes holes, and EXTENTS tells them. False: the disk is fully provisioned, UNMAP
   * zeroes and keeps the room allocated, and everything counts as mapped.
   */
  thin?: boolean;
  /** System calls beyond those of Node; null does without. Default: what the platform has. */
  libc?: Libc | null;
}

const RWF_NOWAIT = 8;
/** What `stat` counts blocks in. */
const SECTOR = 512;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const { ENXIO, ENOSYS, EOPNOTSUPP } = constants.errno;

/**
 * An image file, or a block special file, as a disk. The part of the file behind its last whole block is not served.
 *
 * @example
 * await createImage('disk.img', 10 * 2 ** 30);
 * const disk = await FileDevice.open('disk.img', { blockSize: 4096 });
 */
export class FileDevice implements BlockDevice {
  readonly description: string;
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly unmapGranularity: number;
  /** What this platform or file system lacks, one sentence each, for the log. */
  readonly limitations: readonly string[];
  events: BlockDeviceEvents | null = null;
  readonly #image: Image;
  readonly #fd: number;
  readonly #libc: Libc | null;
  readonly #thin: boolean;
  readonly #threads: ThreadPoolIo;
  readonly #vector = new IoVector();
  /** Null where a call that never waits is not to be had. */
  #preadv2: VectorCall | null;
  #pwritev2: VectorCall | null;
  #size: number;
  #closing: Promise<void> | null = null;

  /**
   * Open and lock `path`, which is writable by this device alone, or by nobody when it is read-only.
   *
   * Throws RiserError `IMAGE_MISSING`, `IMAGE_NO_ACCESS`, `IMAGE_LOCKED`, `IMAGE_EMPTY` (not one whole
   * block), `IMAGE_UNUSABLE` (a folder, a pipe, what the system else refuses).
   */
  static async open(path: string, options: FileDeviceOptions = {}): Promise<FileDevice> {
    const libc = options.libc === undefined ? systemLibc : options.libc;
    const image = await openImage(path, options.readOnly ?? false, libc);
    const blockSize = options.blockSize ?? 512;
    if (image.size < blockSize) {
      await image.handle.close();
      const message = `${path} has ${image.size} bytes, less than one block of ${blockSize}`;
      const remedy = 'Create an image with a size.';
      throw new RiserError('IMAGE_EMPTY', message, { by: 'local', costs: 'process', remedy });
    }
    return new FileDevice(path, image, blockSize, options, libc);
  }

  private constructor(
    path: string,
    image: Image,
    blockSize: number,
    options: FileDeviceOptions,
    libc: Libc | null,
  ) {
    this.description = path;
    this.blockSize = blockSize;
    this.readOnly = options.readOnly ?? false;
    this.#thin = options.thin ?? true;
    const canPunch = this.#thin && image.holeGranularity > 0;
    this.unmapGranularity = canPunch ? Math.ceil(image.holeGranularity / blockSize) * blockSize : 0;
    this.#image = image;
    this.#fd = image.handle.fd;
    this.#libc = libc;
    this.#size = wholeBlocks(image.size, blockSize);
    this.#threads = new ThreadPoolIo(this.#fd, blockSize, libc, canPunch);
    this.#pwritev2 = libc?.pwritev2 ?? null;
    this.#preadv2 = libc?.preadv2 ?? null;
    this.limitations = image.limitations;
    if (libc !== null && !this.#probeRead()) {
      image.limitations.push('the system cannot tell whether a read would wait: every read takes a thread');
    }
  }

  get size(): number {
    return this.#size;
  }

  submit(io: BlockIo): boolean {
    if (refused(io, this, this.#closing !== null)) return true;
    let moved = 0;
    if (io.op === BlockOp.FLUSH) {
      if (this.readOnly) return true;
    } else {
      if (io.length === 0) return true;
      if (io.op === BlockOp.EXTENTS) {
        this.#tellExtents(io);
        return true;
      }
      if (io.op === BlockOp.READ) {
        moved = this.#readNow(io);
        if (moved === io.length) return true;
      } else if (io.op === BlockOp.WRITE) {
        moved = this.#writeNow(io);
        if (moved === io.length && !io.fua) return true;
      }
    }
    this.#threads.start(io, moved);
    return false;
  }

  /** Never: the bytes of a file are not this process's memory. */
  lend(): boolean {
    return false;
  }

  /** Of a file with holes: what the file system has given it, and has left for everybody. */
  space(): Space | null {
    if (!this.#thin || !this.#image.isFile || this.#closing !== null) return null;
    const used = Math.min(fs.fstatSync(this.#fd).blocks * SECTOR, this.#size);
    return { used, available: available(this.description) };
  }

  async refresh(): Promise<void> {
    if (this.#closing !== null) return;
    this.#threads.enter();
    try {
      const size = wholeBlocks(await imageSize(this.#image.handle, this.#libc), this.blockSize);
      if (size === this.#size) return;
      this.#size = size;
      this.events?.resized();
    } finally {
      this.#threads.leave();
    }
  }

  /** Throws what the system says when the data could not be made stable; the image is let go all the same. */
  close(): Promise<void> {
    return (this.#closing ??= this.#letGo());
  }

  async #letGo(): Promise<void> {
    await this.#threads.idle();
    try {
      if (!this.readOnly) await this.#image.handle.datasync();
    } finally {
      await this.#image.handle.close();
    }
  }

  #tellExtents(io: BlockIo): void {
    const limit = io.offset + io.length;
    for (let at = io.offset; at < limit;) {
      const data = this.#nextData(at, limit);
      const dataBlock = Math.max(at, wholeBlocks(data, this.blockSize));
      if (dataBlock > at && !io.addExtent(dataBlock - at, false)) return;
      if (dataBlock === limit) return;
      at = this.#endOfData(data, limit);
      if (!io.addExtent(at - dataBlock, true)) return;
    }
  }

  /** Where the first data from `offset` on is, or `limit`; what cannot be told is data. */
  #nextData(offset: number, limit: number): number {
    if (this.#libc === null || !this.#thin) return offset;
    const data = this.#libc.lseek(this.#fd, offset, SEEK_DATA);
    if (data < 0) return this.#libc.errno() === ENXIO ? limit : offset;
    return Math.min(data, limit);
  }

  /** Where the block ends that the data at `offset` ends in, at most `limit`. */
  #endOfData(offset: number, limit: number): number {
    if (this.#libc === null || !this.#thin) return limit;
    const hole = this.#libc.lseek(this.#fd, offset, SEEK_HOLE);
    if (hole < 0) return limit;
    // Somebody else may have punched the data away just now: it counts all the same, so that there is progress.
    const end = Math.max(hole, offset + 1);
    return Math.min(Math.ceil(end / this.blockSize) * this.blockSize, limit);
  }

  /** Bytes read without waiting. */
  #readNow(io: BlockIo): number {
    if (this.#preadv2 === null) return 0;
    const entries = this.#vector.fill(io.data, 0, io.length);
    // Whatever is wrong, the thread pool tries again and brings the error.
    return Math.max(0, this.#preadv2(this.#fd, this.#vector.address, entries, io.offset, RWF_NOWAIT));
  }

  /** Bytes written without waiting; few file systems can do that with their page cache (XFS and Btrfs do, ext4 not). */
  #writeNow(io: BlockIo): number {
    if (this.#pwritev2 === null) return 0;
    const entries = this.#vector.fill(io.data, 0, io.length);
    const moved = this.#pwritev2(this.#fd, this.#vector.address, entries, io.offset, RWF_NOWAIT);
    if (moved >= 0) return moved;
    if (this.#unsupported()) this.#pwritev2 = null;
    return 0;
  }

  /** Whether the last call failed because the kernel or the file system does not know it. */
  #unsupported(): boolean {
    const errno = this.#libc?.errno();
    return errno === EOPNOTSUPP || errno === ENOSYS;
  }

  /** Whether reads can be tried without waiting; otherwise they no longer are. */
  #probeRead(): boolean {
    if (this.#preadv2 === null) return false;
    const scratch = Memory.allocate(this.blockSize);
    const list = new ScatterList();
    list.add(scratch, 0, scratch.length);
    const entries = this.#vector.fill(list, 0, scratch.length);
    const moved = this.#preadv2(this.#fd, this.#vector.address, entries, 0, RWF_NOWAIT);
    if (moved >= 0 || !this.#unsupported()) return true;
    this.#preadv2 = null;
    return false;
  }
}

/** Bytes that the file system of `file` has left; null if it does not say, or if the file was moved away. */
function available(file: string): number | null {
  try {
    const { bavail, bsize } = fs.statfsSync(file);
    return bavail * bsize;
  } catch {
    return null;
  }
}

function wholeBlocks(bytes: number, blockSize: number): number {
  return bytes - (bytes % blockSize);
}
