/** A LUN for programs: promises, buffers and streams over a {@link LunDevice}. */

import type { Readable, Writable } from 'node:stream';
import { AwaitedIo, blockFailure, type BlockIo, BlockOp, BlockStatus, type Extent } from '../block/index.js';
import {
  type Capacity,
  cdbs,
  parseStandardInquiry,
  type StandardInquiry,
  vpdBody,
} from '../scsi/client/index.js';
import { SenseKey, Status } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import { Memory, ScatterList } from '../util/memory.js';
import { aborted, type CommandOptions, type CommandResult, sendCommand } from './command.js';
import type { LunDevice } from './device.js';
import { readStream, writeStream } from './streams.js';
import { expectGood } from './traits.js';

/** For everything that takes time. */
export interface Abortable {
  /** Gives the operation up: its commands are aborted at the target, and the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface WriteOptions extends Abortable {
  /** Force unit access: the data is on stable storage when the promise resolves. */
  fua?: boolean;
}

export interface StreamOptions extends Abortable {
  /** First byte; 0 by default. */
  offset?: number;
  /** Bytes; by default all that follow. */
  length?: number;
  /** Bytes of one read or write; 1 MiB by default. */
  chunkSize?: number;
}

const INQUIRY_LENGTH = 255;
const PAGE_LENGTH = 4096;

/**
 * Offsets and lengths are in bytes, and multiples of the block size; those of a stream's last write may be
 * any. Errors are RiserErrors: `OUT_OF_RANGE`, `UNALIGNED`, `READ_ONLY`, `NO_SPACE`, `MEDIUM_ERROR`,
 * `NOT_READY`, or what ended the session; their `cause` has the target's words.
 */
export class Lun {
  /** The same LUN for bulk transfer by callbacks. */
  readonly device: LunDevice;

  constructor(device: LunDevice) {
    this.device = device;
  }

  /** Bytes of a logical block. */
  get blockSize(): number {
    return this.device.blockSize;
  }

  /** Bytes. */
  get size(): number {
    return this.device.size;
  }

  get readOnly(): boolean {
    return this.device.readOnly;
  }

  // ---- data ----

  async read(offset: number, length: number, options: Abortable = {}): Promise<Buffer> {
    const memory = new Memory(Buffer.allocUnsafeSlow(length));
    await this.#run(BlockOp.READ, offset, length, memory, options);
    return memory.bytes;
  }

  /** `data` must not change before the promise is settled. */
  async write(offset: number, data: Uint8Array, options: WriteOptions = {}): Promise<void> {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    await this.#run(BlockOp.WRITE, offset, data.length, new Memory(bytes), options);
  }

  /** Everything that was written before is on stable storage when the promise resolves. */
  async flush(options: Abortable = {}): Promise<void> {
    await this.#run(BlockOp.FLUSH, 0, 0, null, options);
  }

  /** Give space back; it reads as zeroes afterwards. */
  async unmap(offset: number, length: number, options: WriteOptions = {}): Promise<void> {
    await this.#run(BlockOp.UNMAP, offset, length, null, options);
  }

  /** `mayUnmap`: giving the space back will do. */
  async writeZeroes(
    offset: number,
    length: number,
    options: WriteOptions & { mayUnmap?: boolean } = {},
  ): Promise<void> {
    await this.#run(BlockOp.WRITE_ZEROES, offset, length, null, options);
  }

  /** Fill a range with copies of one block. */
  async writeSame(offset: number, length: number, block: Uint8Array, options: Abortable = {}): Promise<void> {
    if (block.length !== this.blockSize)
      throw unaligned(`a pattern of ${block.length} bytes`, this.blockSize);
    this.#checkRange(offset, length);
    const most = this.device.traits.maximumWriteSame * this.blockSize;
    for (let at = offset; at < offset + length; at += most) {
      const part = Math.min(most, offset + length - at);
      await this.#command(
        'WRITE SAME',
        (cdb) => {
          cdbs.writeSame16(cdb, at / this.blockSize, part / this.blockSize, false);
        },
        { data: block, isIdempotent: true, ...options },
      );
    }
  }

  /**
   * Write `data` if the medium has `expected` there, as one step that no other initiator can come between.
   *
   * @returns whether it was written
   */
  async compareAndWrite(
    offset: number,
    expected: Uint8Array,
    data: Uint8Array,
    options: WriteOptions = {},
  ): Promise<boolean> {
    this.#checkRange(offset, data.length);
    const blocks = data.length / this.blockSize;
    const most = this.device.traits.maximumCompareAndWrite;
    if (expected.length !== data.length)
      throw unaligned(`${expected.length} bytes to compare with ${data.length}`, this.blockSize);
    if (blocks > most) {
      const text =
        most === 0 ? 'it has no COMPARE AND WRITE' : `it compares and writes at most ${most} blocks`;
      throw new RiserError('NOT_SUPPORTED', `the LUN cannot do this: ${text}`, {
        by: 'device',
        costs: 'task',
      });
    }
    const { fua = false, signal } = options;
    const cdb = Buffer.alloc(16);
    cdbs.compareAndWrite(cdb, offset / this.blockSize, blocks, fua);
    const result = await this.command(cdb, {
      data: Buffer.concat([expected, data]),
      ...(signal !== undefined && { signal }),
    });
    if (result.sense?.key === SenseKey.MISCOMPARE) return false;
    expectGood('COMPARE AND WRITE', result);
    return true;
  }

  /** What of a range has space of its own, in order; a unit that does not tell is mapped everywhere. */
  async extents(offset = 0, length = this.size - offset, options: Abortable = {}): Promise<Extent[]> {
    const all: Extent[] = [];
    for (let at = offset; at < offset + length;) {
      const io = await this.#run(BlockOp.EXTENTS, at, offset + length - at, null, options);
      for (const extent of io.extents) {
        const last = all.at(-1);
        if (last?.mapped === extent.mapped) last.length += extent.length;
        else all.push({ ...extent });
        at = extent.offset + extent.length;
      }
    }
    return all;
  }

  /** The bytes of a range as a stream, read as they are consumed. */
  createReadStream(options: StreamOptions = {}): Readable {
    return readStream(this, options);
  }

  /**
   * A stream that writes from `offset` on. It fails `OUT_OF_RANGE` when more comes than fits; of a block that is
   * written in part, the rest stays as it was. Everything is on stable storage at `finish`.
   */
  createWriteStream(options: StreamOptions = {}): Writable {
    return writeStream(this, options);
  }

  // ---- commands ----

  /** Standard INQUIRY data. */
  async inquiry(options: Abortable = {}): Promise<StandardInquiry> {
    const result = await this.#command(
      'INQUIRY',
      (cdb) => {
        cdbs.inquiry(cdb, null, INQUIRY_LENGTH);
      },
      { readLength: INQUIRY_LENGTH, isIdempotent: true, ...options },
    );
    const parsed = parseStandardInquiry(result.data);
    if (parsed !== null) return parsed;
    throw new RiserError('SHORT_TRANSFER', 'the answer to INQUIRY is too short', {
      by: 'device',
      costs: 'task',
    });
  }

  /** The body of a page of vital product data, or null if the unit does not have it. */
  async vitalProductData(page: number, options: Abortable = {}): Promise<Buffer | null> {
    const cdb = Buffer.alloc(16);
    cdbs.inquiry(cdb, page, PAGE_LENGTH);
    const result = await this.command(cdb, { readLength: PAGE_LENGTH, isIdempotent: true, ...options });
    return result.status === Status.GOOD ? vpdBody(result.data, page) : null;
  }

  /** Capacity as it is now; `size` is up to date afterwards. */
  async capacity(): Promise<Capacity> {
    await this.device.refresh();
    return this.device.traits.capacity;
  }

  /** Any SCSI command, 6 to 260 bytes; resolves with whatever status the target answers. */
  command(cdb: Uint8Array, options: CommandOptions = {}): Promise<CommandResult> {
    return sendCommand(this.device.path, this.device.lun, cdb, options);
  }

  /** Log out. What is under way is finished first. */
  close(): Promise<void> {
    return this.device.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #command(
    what: string,
    build: (cdb: Buffer) => void,
    options: CommandOptions,
  ): Promise<CommandResult> {
    const cdb = Buffer.alloc(16);
    build(cdb);
    return expectGood(what, await this.command(cdb, options));
  }

  // ---- operations ----

  async #run(
    op: BlockOp,
    offset: number,
    length: number,
    memory: Memory | null,
    options: WriteOptions & { mayUnmap?: boolean },
  ): Promise<BlockIo> {
    const { signal, fua = false, mayUnmap = false } = options;
    signal?.throwIfAborted();
    this.#checkRange(offset, length);
    const { device } = this;
    const io = new AwaitedIo();
    io.op = op;
    io.offset = offset;
    io.length = length;
    io.fua = fua;
    io.mayUnmap = mayUnmap;
    io.data = new ScatterList();
    if (memory !== null) io.data.add(memory, 0, length);
    const onAbort = (): void => {
      device.cancel(io, aborted(signal!.reason));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    if (!device.submit(io)) await io.finished;
    signal?.removeEventListener('abort', onAbort);
    if (io.status === BlockStatus.GOOD) return io;
    const { cause } = io;
    if (signal?.aborted === true && cause instanceof RiserError && cause.code === 'ABORTED')
      throw signal.reason;
    throw blockFailure(io);
  }

  #checkRange(offset: number, length: number): void {
    const { blockSize, size } = this;
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0)
      throw new RangeError(`offset ${offset} and length ${length}`);
    if (offset % blockSize !== 0 || length % blockSize !== 0)
      throw unaligned(`offset ${offset} and length ${length}`, blockSize);
    if (offset + length > size) {
      const message = `bytes ${offset} to ${offset + length} are not all on a LUN of ${size} bytes`;
      throw new RiserError('OUT_OF_RANGE', message, { by: 'local', costs: 'task' });
    }
  }
}

function unaligned(what: string, blockSize: number): RiserError {
  return new RiserError('UNALIGNED', `${what}: not whole blocks of ${blockSize} bytes`, {
    by: 'local',
    costs: 'task',
  });
}
