/** Copies a range from one block device to the same place on another: data as data, holes as holes. */

import { type BlockDevice, blockFailure, BlockIo, BlockOp, BlockStatus } from '../../block/index.js';
import { RiserError } from '../../util/errors.js';
import { Memory, ScatterList } from '../../util/memory.js';
import { messageOf } from '../failure.js';
import { PIECE } from './perform.js';
import { PiecePump, type PieceSlot } from './piece-pump.js';
import { PieceWalker } from './piece-walker.js';

export interface CopyJob {
  source: BlockDevice;
  destination: BlockDevice;
  /** First byte, and the one behind the last; whole blocks of both. */
  from: number;
  to: number;
  /** Pieces in flight. */
  depth: number;
  /** The destination reads as zeroes wherever nothing was written: holes need nothing. */
  isBlank: boolean;
}

/** Bytes. */
export interface CopyCounts {
  /** Written as data. */
  data: number;
  /** Holes, and data that was nothing but zeroes: unmapped, or left as they were. */
  holes: number;
}

export class Copier {
  readonly counts: CopyCounts = { data: 0, holes: 0 };
  readonly job: CopyJob;
  readonly pump: PiecePump<CopySlot>;

  constructor(job: CopyJob) {
    this.job = job;
    const { source, destination, from, to } = job;
    const slots = Array.from({ length: job.depth }, () => new CopySlot(this));
    const walker = new PieceWalker([source], {
      from,
      to,
      pieceLength: PIECE,
      unit: Math.max(source.blockSize, destination.blockSize),
      ready: () => {
        this.pump.pump();
      },
    });
    this.pump = new PiecePump(walker, slots);
  }
}

const ZEROES = Buffer.alloc(PIECE);

class CopySlot extends BlockIo implements PieceSlot {
  readonly #copier: Copier;
  /** Allocated when there is data to be moved. */
  #memory: Memory | null = null;

  constructor(copier: Copier) {
    super();
    this.#copier = copier;
    this.data = new ScatterList();
  }

  start(piece: PieceWalker): boolean {
    this.length = piece.length;
    if (!piece.mapped[0]!) return this.#makeHole();
    this.#memory ??= Memory.allocate(PIECE);
    this.data.clear();
    this.data.add(this.#memory, 0, piece.length);
    this.op = BlockOp.READ;
    return this.#submit(this.#copier.job.source);
  }

  override done(): void {
    if (this.#step()) this.#copier.pump.finished(this, this.length);
  }

  /** Whether the piece is over. */
  #submit(device: BlockDevice): boolean {
    return device.submit(this) && this.#step();
  }

  /** What follows when an operation is over; whether the piece is. */
  #step(): boolean {
    const { job, counts, pump } = this.#copier;
    if (this.status !== BlockStatus.GOOD) {
      const isRead = this.op === BlockOp.READ;
      const what = isRead ? `reading ${job.source.description}` : `writing ${job.destination.description}`;
      pump.fail(this, failedAt(what, blockFailure(this)));
      return true;
    }
    if (this.op === BlockOp.READ) {
      if (this.#isZero) return this.#makeHole();
      this.op = BlockOp.WRITE;
      return this.#submit(job.destination);
    }
    if (this.op === BlockOp.WRITE) counts.data += this.length;
    else counts.holes += this.length;
    return true;
  }

  #makeHole(): boolean {
    const { job, counts } = this.#copier;
    if (job.isBlank) {
      counts.holes += this.length;
      return true;
    }
    this.op = BlockOp.UNMAP;
    return this.#submit(job.destination);
  }

  get #isZero(): boolean {
    return this.#memory!.bytes.compare(ZEROES, 0, this.length, 0, this.length) === 0;
  }
}

/** What went wrong, and on which side. */
export function failedAt(what: string, error: RiserError): RiserError {
  const { code, by, costs, remedy } = error;
  return new RiserError(code, `${what} failed: ${messageOf(error)}`, {
    by,
    costs,
    ...(remedy !== undefined && { remedy }),
    cause: error,
  });
}
