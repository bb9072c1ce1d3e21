/**
 * A block operation on its way to the server: an {@link Operation} for each {@link BlockIo}, and a
 * {@link Part} for each NBD request that it takes. Both come from pools.
 */

import { BlockOp, BlockStatus, type BlockIo } from '../../block/device.js';
import { Memory, ScatterList } from '../../util/memory.js';
import { detail } from '../errors.js';
import { Cmd, CmdFlag, describeError, ErrorCode, TransmissionFlag } from '../wire.js';
import { Coverage } from './coverage.js';
import type { Export } from './handshake.js';

/** The most bytes that one request zeroes or gives back: what a server may have to write meanwhile. */
const MOST_ZEROES = 128 << 20;
/** The most bytes that one request asks the extents of: its length has 32 bits. */
const MOST_EXTENTS = 0xffff_0000;
/** Requests of one operation at a time. */
const MOST_PARTS = 8;

/** Where zeroes are written from, to a server that cannot write them by itself. */
const ZEROES = new ScatterList();
ZEROES.add(Memory.allocate(1 << 20), 0, 1 << 20);

/** One request. It keeps its place in the operation when it has to be sent again. */
export class Part {
  operation!: Operation;
  type = 0;
  flags = 0;
  offset = 0;
  length = 0;
  /** What a READ receives and a WRITE sends, from `position` on. */
  data!: ScatterList;
  position = 0;
  /** When it was made, and when it was sent last, milliseconds. */
  since = 0;
  sentAt = 0;
  /** The other half of its cookie, beside its slot. */
  serial = 0;
  /** The next of those that wait for a connection. */
  next: Part | null = null;

  // ---- the reply ----

  error = 0;
  message = '';
  errorOffset = 0;
  readonly coverage = new Coverage();
  /** Where the extents that were told end, and whether there is no room for more. */
  told = 0;
  isFull = false;
  /** The last byte of its data is gone, and the last byte of its reply is there. */
  isSent = false;
  isReplied = false;

  /** Forget the reply to an earlier try. */
  prepare(): void {
    this.error = 0;
    this.message = '';
    this.errorOffset = this.offset;
    this.coverage.clear();
    this.told = this.offset;
    this.isFull = false;
    this.isSent = this.type !== Cmd.WRITE;
    this.isReplied = false;
    if (this.type === Cmd.BLOCK_STATUS) this.operation.io.extents.length = 0;
  }

  /**
   * The server tells the state of the next `length` bytes, which need be no whole blocks and may reach beyond
   * what was asked for. A block that is not a hole as a whole counts as mapped.
   */
  describe(length: number, mapped: boolean, blockSize: number): void {
    const { io } = this.operation;
    const from = this.told;
    const limit = this.offset + this.length;
    this.told = from + length;
    if (this.isFull || mapped || from >= limit) return;
    const holeStart = Math.ceil(from / blockSize) * blockSize;
    const holeEnd = Math.min(Math.floor(this.told / blockSize) * blockSize, limit);
    if (holeEnd <= holeStart) return;
    const before = this.#described(io);
    this.isFull =
      (holeStart > before && !io.addExtent(holeStart - before, true)) ||
      !io.addExtent(holeEnd - holeStart, false);
  }

  /** All has been told: what is behind the last hole is mapped. */
  describeRest(blockSize: number): void {
    const { io } = this.operation;
    const before = this.#described(io);
    const end = Math.min(Math.ceil(this.told / blockSize) * blockSize, this.offset + this.length);
    if (!this.isFull && end > before) io.addExtent(end - before, true);
  }

  #described(io: BlockIo): number {
    const last = io.extents.at(-1);
    return last === undefined ? this.offset : last.offset + last.length;
  }
}

/** What an operation needs of its device. */
export interface OperationOwner {
  readonly export: Export;
  newPart(): Part;
  send(part: Part): void;
  /** `operation.io` has its outcome. */
  finished(operation: Operation): void;
}

/** One block operation. */
export class Operation {
  io!: BlockIo;
  readonly #owner: OperationOwner;
  #next = 0;
  #end = 0;
  #parts = 0;
  #isFlushing = false;

  constructor(owner: OperationOwner) {
    this.#owner = owner;
  }

  /** Begin. The io's outcome is GOOD so far. */
  start(io: BlockIo): void {
    this.io = io;
    this.#parts = 0;
    this.#isFlushing = io.op === BlockOp.FLUSH;
    this.#next = io.offset;
    // One answer is enough, even if it does not tell all.
    this.#end = io.offset + (io.op === BlockOp.EXTENTS ? Math.min(io.length, MOST_EXTENTS) : io.length);
    if (this.#isFlushing) this.#sendFlush();
    else this.#sendMore();
  }

  /** `part` is answered, or given up with `status`. */
  partDone(part: Part, status: BlockStatus, cause: Error | null): void {
    const { io } = this;
    this.#parts--;
    if (
      status !== BlockStatus.GOOD &&
      (io.status === BlockStatus.GOOD || part.errorOffset < io.errorOffset)
    ) {
      io.fail(status, part.errorOffset, cause);
    }
    if (io.status === BlockStatus.GOOD) this.#sendMore();
    if (this.#parts > 0) return;
    const flags = this.#owner.export.flags;
    if (
      io.status === BlockStatus.GOOD &&
      !this.#isFlushing &&
      changesMedium(io.op) &&
      io.fua &&
      (flags & TransmissionFlag.SEND_FUA) === 0 &&
      (flags & TransmissionFlag.SEND_FLUSH) !== 0
    ) {
      this.#isFlushing = true;
      this.#sendFlush();
    } else {
      this.#owner.finished(this);
    }
  }

  #sendFlush(): void {
    const part = this.#owner.newPart();
    part.type = Cmd.FLUSH;
    part.flags = 0;
    part.offset = 0;
    part.length = 0;
    this.#send(part);
  }

  #sendMore(): void {
    while (this.#next < this.#end && this.#parts < MOST_PARTS) {
      const part = this.#owner.newPart();
      this.#aim(part);
      this.#next += part.length;
      this.#send(part);
    }
  }

  #aim(part: Part): void {
    const { io } = this;
    const { flags, maximumPayload } = this.#owner.export;
    const left = this.#end - this.#next;
    part.offset = this.#next;
    part.data = io.data;
    part.position = this.#next - io.offset;
    part.flags =
      io.fua && changesMedium(io.op) && (flags & TransmissionFlag.SEND_FUA) !== 0 ? CmdFlag.FUA : 0;
    switch (io.op) {
      case BlockOp.READ:
        part.type = Cmd.READ;
        part.length = Math.min(left, maximumPayload);
        break;
      case BlockOp.WRITE:
        part.type = Cmd.WRITE;
        part.length = Math.min(left, maximumPayload);
        break;
      case BlockOp.EXTENTS:
        part.type = Cmd.BLOCK_STATUS;
        part.length = left;
        if (io.extentLimit === 1) part.flags = CmdFlag.REQ_ONE;
        break;
      default:
        // TRIM would be the standard's word for UNMAP, but what it leaves behind need not read as zeroes.
        if ((flags & TransmissionFlag.SEND_WRITE_ZEROES) !== 0) {
          part.type = Cmd.WRITE_ZEROES;
          part.length = Math.min(left, MOST_ZEROES);
          if (io.op === BlockOp.WRITE_ZEROES && !io.mayUnmap) part.flags |= CmdFlag.NO_HOLE;
        } else {
          part.type = Cmd.WRITE;
          part.length = Math.min(left, maximumPayload, ZEROES.length);
          part.data = ZEROES;
          part.position = 0;
        }
    }
  }

  #send(part: Part): void {
    part.operation = this;
    part.errorOffset = part.offset;
    this.#parts++;
    this.#owner.send(part);
  }
}

export function changesMedium(op: BlockOp): boolean {
  return op === BlockOp.WRITE || op === BlockOp.UNMAP || op === BlockOp.WRITE_ZEROES;
}

/** What an error of the server is to the user of a device. */
export function statusOf(error: number): BlockStatus {
  switch (error) {
    case 0:
      return BlockStatus.GOOD;
    case ErrorCode.EPERM:
      return BlockStatus.READ_ONLY;
    case ErrorCode.ENOSPC:
      return BlockStatus.NO_SPACE;
    default:
      return BlockStatus.MEDIUM_ERROR;
  }
}

/** The same in words. */
export function causeOf({ error, message }: Part): Error | null {
  if (error === 0) return null;
  return new Error(`the NBD server answers ${describeError(error)}${detail(message)}`);
}
