/**
 * One operation on a LUN as the SCSI commands that it takes, one after the other: pieces of what the unit
 * transfers at a time, then what makes them stable.
 */

import { type BlockIo, BlockOp, BlockStatus } from '../block/index.js';
import { cdbs, parseLbaStatus } from '../scsi/client/index.js';
import { SenseKey, Status } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import { getU32, putU16, putU32, putU64 } from '../util/fields.js';
import { Memory } from '../util/memory.js';
import { CommandFailed } from './command.js';
import type { LunDevice } from './device.js';
import { ClientTask } from './task.js';

/** Which commands an operation is made of. */
const Step = {
  READ: 0,
  WRITE: 1,
  /** WRITE SAME(16) of zeroes, without and with the UNMAP bit. */
  ZERO: 2,
  ZERO_AND_UNMAP: 3,
  /** WRITE of zeroes, for units without WRITE SAME(16). */
  WRITE_ZEROES: 4,
  UNMAP: 5,
  SYNCHRONIZE: 6,
  EXTENTS: 7,
} as const;
type Step = (typeof Step)[keyof typeof Step];

/** UNMAP parameter list with one block descriptor (SBC-3 5.28.2), bytes. */
const UNMAP_LIST = 24;
/** Descriptors that one GET LBA STATUS asks for. */
const LBA_STATUSES = 256;
const ZEROES = Memory.allocate(1 << 20);
/** LOGICAL BLOCK ADDRESS OUT OF RANGE, WRITE PROTECTED, SPACE ALLOCATION FAILED WRITE PROTECT */
const OUT_OF_RANGE = 0x2100;
const WRITE_PROTECTED = 0x2700;
const NO_SPACE = 0x2707;

export class DeviceTask extends ClientTask {
  /** What it works on; null between operations. */
  io: BlockIo | null = null;
  readonly #device: LunDevice;
  #step: Step = Step.READ;
  /** First byte, relative to the operation's, of the piece that is under way; and its length. */
  #position = 0;
  #pieceLength = 0;
  #isBeginning = false;
  #isDone = false;
  /** Parameter data; allocated by the first command that needs it. */
  #parameters: Memory | null = null;

  constructor(device: LunDevice) {
    super(device.path);
    this.#device = device;
    this.lunHigh = getU32(device.lun, 0);
    this.lunLow = getU32(device.lun, 4);
    this.isIdempotent = true;
  }

  /** Begin an operation: true if it was over before this returned. */
  begin(io: BlockIo): boolean {
    this.io = io;
    this.#position = 0;
    this.#step = this.#firstStep(io);
    this.#isBeginning = true;
    this.#isDone = false;
    this.#send();
    this.#isBeginning = false;
    return this.#isDone;
  }

  #firstStep(io: BlockIo): Step {
    const { traits } = this.#device;
    const mayUnmap = io.op === BlockOp.UNMAP || (io.op === BlockOp.WRITE_ZEROES && io.mayUnmap);
    switch (io.op) {
      case BlockOp.READ:
        return Step.READ;
      case BlockOp.WRITE:
        return Step.WRITE;
      case BlockOp.FLUSH:
        return Step.SYNCHRONIZE;
      case BlockOp.EXTENTS:
        return Step.EXTENTS;
      default:
        if (mayUnmap && traits.writeSameUnmaps) return Step.ZERO_AND_UNMAP;
        return traits.writeSame ? Step.ZERO : Step.WRITE_ZEROES;
    }
  }

  /** What follows when all pieces of a step are done; null at the end. */
  #nextStep(io: BlockIo): Step | null {
    const { traits } = this.#device;
    const isWriting = io.op === BlockOp.WRITE || io.op === BlockOp.UNMAP || io.op === BlockOp.WRITE_ZEROES;
    const isStable = this.#step === Step.SYNCHRONIZE || (this.#step === Step.WRITE && traits.fua);
    // UNMAP alone is but a hint (SBC-3 4.7.3.4): what must read as zeroes has been zeroed before.
    const zeroed = this.#step === Step.ZERO || this.#step === Step.WRITE_ZEROES;
    if (zeroed && io.op === BlockOp.UNMAP && traits.unmap) return Step.UNMAP;
    return isWriting && io.fua && !isStable ? Step.SYNCHRONIZE : null;
  }

  #send(): void {
    const io = this.io!;
    const { traits, blockSize } = this.#device;
    const lba = (io.offset + this.#position) / blockSize;
    const { cdb, buffer } = this;
    buffer.clear();
    this.isRead = false;
    this.isWrite = true;
    switch (this.#step) {
      case Step.READ:
      case Step.WRITE: {
        const blocks = this.#piece(traits.maximumTransfer);
        const isRead = this.#step === Step.READ;
        const fua = !isRead && io.fua && traits.fua;
        this.isRead = isRead;
        this.isWrite = !isRead;
        buffer.addFrom(io.data, this.#position, this.#pieceLength);
        if (traits.longCommands) (isRead ? cdbs.read16 : cdbs.write16)(cdb, lba, blocks, fua);
        else (isRead ? cdbs.read10 : cdbs.write10)(cdb, lba, blocks, fua);
        break;
      }
      case Step.ZERO:
      case Step.ZERO_AND_UNMAP:
        cdbs.writeSame16(cdb, lba, this.#piece(traits.maximumWriteSame), this.#step === Step.ZERO_AND_UNMAP);
        buffer.add(ZEROES, 0, blockSize);
        break;
      case Step.WRITE_ZEROES: {
        const blocks = this.#piece(Math.min(traits.maximumTransfer, ZEROES.length / blockSize));
        buffer.add(ZEROES, 0, this.#pieceLength);
        if (traits.longCommands) cdbs.write16(cdb, lba, blocks, false);
        else cdbs.write10(cdb, lba, blocks, false);
        break;
      }
      case Step.UNMAP:
        this.#unmapList(lba, this.#piece(traits.maximumUnmap));
        cdbs.unmap(cdb, UNMAP_LIST);
        break;
      case Step.SYNCHRONIZE:
        this.#pieceLength = io.length - this.#position;
        this.isWrite = false;
        cdbs.synchronizeCache(cdb);
        break;
      case Step.EXTENTS: {
        const memory = this.#parameterMemory();
        this.isRead = true;
        this.isWrite = false;
        buffer.add(memory, 0, memory.length);
        cdbs.getLbaStatus(cdb, lba, memory.length);
        break;
      }
    }
    this.renew();
    this.path.submit(this);
  }

  /** Aim at what comes next, at most `limit` blocks; how many blocks it is. */
  #piece(limit: number): number {
    const { blockSize } = this.#device;
    this.#pieceLength = Math.min(this.io!.length - this.#position, limit * blockSize);
    return this.#pieceLength / blockSize;
  }

  #parameterMemory(): Memory {
    return (this.#parameters ??= Memory.allocate(8 + 16 * LBA_STATUSES));
  }

  #unmapList(lba: number, blocks: number): void {
    const memory = this.#parameterMemory();
    const list = memory.bytes.fill(0, 0, UNMAP_LIST);
    putU16(list, 0, UNMAP_LIST - 2);
    putU16(list, 2, UNMAP_LIST - 8);
    putU64(list, 8, lba);
    putU32(list, 16, blocks);
    this.buffer.add(memory, 0, UNMAP_LIST);
  }

  protected override completed(): void {
    const io = this.io!;
    if (this.error !== null) {
      io.fail(BlockStatus.NOT_READY, io.offset + this.#position, this.error);
      this.#finish();
    } else if (this.status !== Status.GOOD) {
      this.#failed(io);
    } else if (this.#step === Step.EXTENTS) {
      this.#takeExtents(io);
      this.#finish();
    } else if (this.residual !== 0) {
      const cause = new RiserError('SHORT_TRANSFER', `${this.residual} bytes were not transferred`, {
        by: 'device',
        costs: 'task',
      });
      io.fail(BlockStatus.MEDIUM_ERROR, io.offset + this.#position, cause);
      this.#finish();
    } else {
      this.#position += this.#pieceLength;
      if (this.#position < io.length) this.#goOn(io);
      else this.#stepDone(io);
    }
  }

  /** The next command, unless the operation was cancelled during the last one. */
  #goOn(io: BlockIo): void {
    if (this.abortError?.by !== 'local') {
      this.#send();
      return;
    }
    io.fail(BlockStatus.NOT_READY, io.offset + this.#position, this.abortError);
    this.#finish();
  }

  #stepDone(io: BlockIo): void {
    const next = this.#nextStep(io);
    if (next === null) {
      this.#finish();
      return;
    }
    this.#step = next;
    this.#position = 0;
    this.#goOn(io);
  }

  #failed(io: BlockIo): void {
    const sense = this.status === Status.CHECK_CONDITION ? this.parsedSense : null;
    const cause = new CommandFailed(OPERATIONS[io.op], { status: this.status, sense });
    let errorOffset = io.offset + this.#position;
    let status: BlockStatus = BlockStatus.MEDIUM_ERROR;
    const code = sense === null ? 0 : (sense.asc << 8) | sense.ascq;
    if (sense?.key === SenseKey.DATA_PROTECT && code === NO_SPACE) status = BlockStatus.NO_SPACE;
    else if (sense?.key === SenseKey.DATA_PROTECT && sense.asc === WRITE_PROTECTED >> 8)
      status = BlockStatus.READ_ONLY;
    else if (sense?.key === SenseKey.ILLEGAL_REQUEST && code === OUT_OF_RANGE)
      status = BlockStatus.OUT_OF_RANGE;
    else if (sense?.key === SenseKey.NOT_READY) status = BlockStatus.NOT_READY;
    else if (sense?.key === SenseKey.MEDIUM_ERROR && sense.information !== null) {
      const at = sense.information * this.#device.blockSize;
      if (at >= io.offset && at < io.offset + io.length) errorOffset = at;
    }
    io.fail(status, errorOffset, cause);
    this.#finish();
  }

  /** SBC-3 5.4.2; only what is deallocated and reads as zeroes is a hole. */
  #takeExtents(io: BlockIo): void {
    const { blockSize } = this.#device;
    const end = io.offset + io.length;
    let at = io.offset;
    const answer = this.#parameterMemory().bytes.subarray(0, this.transferred);
    for (const { lba, blocks, isMapped } of parseLbaStatus(answer)) {
      const to = Math.min((lba + blocks) * blockSize, end);
      if (lba * blockSize > at || to <= at) break;
      if (!io.addExtent(to - at, isMapped)) break;
      at = to;
      if (at === end) break;
    }
    // A unit that does not tell is taken to have everything mapped.
    if (io.extents.length === 0) io.addExtent(io.length, true);
  }

  #finish(): void {
    const io = this.io!;
    this.io = null;
    this.buffer.clear();
    this.#isDone = true;
    this.#device.release(this);
    if (!this.#isBeginning) io.done();
  }
}

const OPERATIONS: Readonly<Record<BlockOp, string>> = {
  [BlockOp.READ]: 'READ',
  [BlockOp.WRITE]: 'WRITE',
  [BlockOp.FLUSH]: 'SYNCHRONIZE CACHE',
  [BlockOp.UNMAP]: 'unmapping',
  [BlockOp.WRITE_ZEROES]: 'writing zeroes',
  [BlockOp.EXTENTS]: 'GET LBA STATUS',
};
