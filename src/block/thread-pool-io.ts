/**
 * The part of file I/O that may wait: operations on an open file, carried out by other threads.
 *
 * One pooled {@link Transfer} drives one operation from thread hop to thread hop: data (as often as
 * the system moves less than asked), then, for FUA, the sync. Its callbacks are bound once in its life.
 */

import fs from 'node:fs';
import { Memory } from '../util/memory.js';
import type { Libc } from '../util/posix/libc.js';
import { BlockOp, BlockStatus, type BlockIo } from './device.js';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from './image.js';

/** Where zeroes are written from, and the most that one call writes of them. */
const ZEROES = Memory.allocate(1 << 20);

/**
 * Threads that one file may keep busy moving data: a quarter of the pool, so that a slow disk leaves
 * some to the others. What is more waits here.
 */
const THREADS_PER_FILE = Math.max(2, Math.floor(Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) / 4));

/** The operations under way on one file. */
export class ThreadPoolIo {
  readonly fd: number;
  readonly blockSize: number;
  readonly #libc: Libc | null;
  readonly #canPunch: boolean;
  #canZeroRange: boolean;
  #pending = 0;
  #onIdle: (() => void) | null = null;
  readonly #idleTransfers: Transfer[] = [];
  #busyThreads = 0;
  readonly #waitingForThread: Transfer[] = [];
  readonly #syncs: SyncQueue;
  /** Deallocations run one by one: the file system would line them up anyway, and the threads are few. */
  readonly #deallocations: Transfer[] = [];

  /** `canPunch`: whether the file system makes holes. */
  constructor(fd: number, blockSize: number, libc: Libc | null, canPunch: boolean) {
    this.fd = fd;
    this.blockSize = blockSize;
    this.#libc = libc;
    this.#canPunch = canPunch;
    this.#canZeroRange = libc !== null;
    this.#syncs = new SyncQueue(fd);
  }

  /** Carry out `io`, whose first `moved` bytes are done already; `io.done()` tells when it is finished. */
  start(io: BlockIo, moved: number): void {
    this.#pending++;
    const transfer = this.#idleTransfers.pop() ?? new Transfer(this);
    transfer.start(io, moved);
  }

  /** Hold off {@link idle} during something else that needs the file. */
  enter(): void {
    this.#pending++;
  }

  leave(): void {
    if (--this.#pending === 0) this.#onIdle?.();
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
  }

  /** Have `transfer` move some of its data now or when a thread is free for it. */
  move(transfer: Transfer): void {
    if (this.#busyThreads === THREADS_PER_FILE) {
      this.#waitingForThread.push(transfer);
    } else {
      this.#busyThreads++;
      transfer.occupyThread();
    }
  }

  /** A thread that moved data is free again. */
  threadFreed(): void {
    const next = this.#waitingForThread.shift();
    if (next === undefined) this.#busyThreads--;
    else next.occupyThread();
  }

  sync(transfer: Transfer): void {
    this.#syncs.add(transfer);
  }

  deallocate(transfer: Transfer): void {
    this.#deallocations.push(transfer);
    if (this.#deallocations.length === 1) this.#deallocateNext();
  }

  finished(transfer: Transfer, io: BlockIo): void {
    this.#idleTransfers.push(transfer);
    io.done();
    this.leave();
  }

  #deallocateNext(): void {
    for (;;) {
      const transfer = this.#deallocations[0];
      if (transfer === undefined || this.#startDeallocation(transfer)) return;
      this.#deallocations.shift();
      transfer.deallocated(false);
    }
  }

  /** False when the system cannot do it. */
  #startDeallocation(transfer: Transfer): boolean {
    const { op, offset, length, mayUnmap } = transfer.io;
    const punch = this.#canPunch && (op === BlockOp.UNMAP || mayUnmap);
    if (this.#libc === null || (!punch && !this.#canZeroRange)) return false;
    const mode = FALLOC_FL_KEEP_SIZE | (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    try {
      this.#libc.fallocateAsync(this.fd, mode, offset, length, (error, result) => {
        const done = error === null && result === 0;
        if (!done && !punch) this.#canZeroRange = false;
        // Leaves the queue last: what `io.done()` submits must line up behind it.
        transfer.deallocated(done);
        this.#deallocations.shift();
        this.#deallocateNext();
      });
      return true;
    } catch {
      return false; // Too many such calls in the process; zeroes serve as well.
    }
  }
}

/** One operation, from its first thread hop to its end. */
class Transfer {
  /** The operation under way. */
  io!: BlockIo;
  readonly #owner: ThreadPoolIo;
  #moved = 0;
  readonly #parts: Uint8Array[] = [];

  constructor(owner: ThreadPoolIo) {
    this.#owner = owner;
  }

  start(io: BlockIo, moved: number): void {
    this.io = io;
    this.#moved = moved;
    if (io.op === BlockOp.FLUSH) this.#owner.sync(this);
    else if (io.op === BlockOp.UNMAP || io.op === BlockOp.WRITE_ZEROES) this.#owner.deallocate(this);
    else this.#move();
  }

  /** The range reads as zeroes, or has to be written so. */
  deallocated(done: boolean): void {
    if (done) this.#moved = this.io.length;
    this.#move();
  }

  /** All that the operation wrote is stable, or `error`. */
  synced(error: NodeJS.ErrnoException | null): void {
    if (error !== null) this.io.fail(statusOf(error), this.io.offset, error);
    this.#finish();
  }

  #move(): void {
    if (this.#moved === this.io.length) this.#dataMoved();
    else this.#owner.move(this);
  }

  /** Move as much as one system call does. */
  occupyThread(): void {
    const io = this.io;
    const left = io.length - this.#moved;
    const position = io.offset + this.#moved;
    if (io.op === BlockOp.READ) fs.readv(this.#owner.fd, this.#remaining(), position, this.#onMoved);
    else if (io.op === BlockOp.WRITE) fs.writev(this.#owner.fd, this.#remaining(), position, this.#onMoved);
    else fs.write(this.#owner.fd, ZEROES.bytes, 0, Math.min(left, ZEROES.length), position, this.#onMoved);
  }

  #dataMoved(): void {
    if (this.io.fua && this.io.op !== BlockOp.READ) this.#owner.sync(this);
    else this.#finish();
  }

  readonly #onMoved = (error: NodeJS.ErrnoException | null, count: number): void => {
    this.#owner.threadFreed();
    if (error === null && count > 0) {
      this.#moved += count;
      this.#move();
      return;
    }
    // Nothing moved and no error: the file ends here, inside the disk.
    const failed = this.io.offset + this.#moved;
    this.io.fail(statusOf(error), failed - (failed % this.#owner.blockSize), error);
    this.#finish();
  };

  /** Views of the bytes that are still to move. */
  #remaining(): Uint8Array[] {
    const { data, length } = this.io;
    const parts = this.#parts;
    parts.length = 0;
    let skip = this.#moved;
    let left = length - skip;
    for (let i = 0; left > 0; i++) {
      const have = data.lengths[i]!;
      if (skip >= have) {
        skip -= have;
        continue;
      }
      const part = Math.min(have - skip, left);
      const from = data.offsets[i]! + skip;
      parts.push(data.regions[i]!.bytes.subarray(from, from + part));
      left -= part;
      skip = 0;
    }
    return parts;
  }

  #finish(): void {
    this.#parts.length = 0;
    this.#owner.finished(this, this.io);
  }
}

/**
 * Syncs of one file, shared: whoever comes while one is under way waits for the NEXT one, together with
 * all others who do, since the one under way may have looked past their data already.
 */
class SyncQueue {
  readonly #fd: number;
  #waiting: Transfer[] = [];
  #running: Transfer[] = [];
  #busy = false;
  /**
   * Once a sync has failed, all later ones do: the kernel reports a lost page once, marks it clean and
   * succeeds from then on, and nobody may take that for stable data.
   */
  #failure: NodeJS.ErrnoException | null = null;

  constructor(fd: number) {
    this.#fd = fd;
  }

  add(transfer: Transfer): void {
    this.#waiting.push(transfer);
    if (!this.#busy) this.#next();
  }

  #next(): void {
    [this.#running, this.#waiting] = [this.#waiting, this.#running];
    this.#busy = this.#running.length > 0;
    if (this.#busy) fs.fdatasync(this.#fd, this.#onSynced);
  }

  readonly #onSynced = (error: NodeJS.ErrnoException | null): void => {
    this.#failure ??= error;
    for (const transfer of this.#running) transfer.synced(this.#failure);
    this.#running.length = 0;
    this.#next();
  };
}

function statusOf(error: NodeJS.ErrnoException | null): BlockStatus {
  switch (error?.code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return BlockStatus.NO_SPACE;
    case 'EROFS':
    case 'EPERM':
      return BlockStatus.READ_ONLY;
    case 'ENODEV':
    case 'ENXIO':
      return BlockStatus.NOT_READY;
    default:
      return BlockStatus.MEDIUM_ERROR;
  }
}
