/** Compares a range of two block devices. */

import { type BlockDevice, blockFailure, BlockIo, BlockOp, BlockStatus } from '../../block/index.js';
import { Memory, ScatterList } from '../../util/memory.js';
import { failedAt } from './copier.js';
import { PIECE } from './perform.js';
import { PiecePump, type PieceSlot } from './piece-pump.js';
import { PieceWalker } from './piece-walker.js';

export interface CompareJob {
  a: BlockDevice;
  b: BlockDevice;
  /** First byte, and the one behind the last; whole blocks of both. */
  from: number;
  to: number;
  /** Pieces in flight. */
  depth: number;
}

export interface Differences {
  /** The first byte that differs; null if none does. */
  first: number | null;
  bytes: number;
  /** Blocks of `blockSize` bytes that differ. */
  blocks: number;
  readonly blockSize: number;
}

export class Comparer {
  readonly job: CompareJob;
  readonly differences: Differences;
  readonly pump: PiecePump<CompareSlot>;

  constructor(job: CompareJob) {
    this.job = job;
    const { a, b, from, to, depth } = job;
    const unit = Math.max(a.blockSize, b.blockSize);
    this.differences = { first: null, bytes: 0, blocks: 0, blockSize: unit };
    const slots = Array.from({ length: depth }, () => new CompareSlot(this));
    const walker = new PieceWalker([a, b], {
      from,
      to,
      pieceLength: PIECE,
      unit,
      ready: () => {
        this.pump.pump();
      },
    });
    this.pump = new PiecePump(walker, slots);
  }
}

/** One piece, read from both devices. */
class CompareSlot implements PieceSlot {
  offset = 0;
  #length = 0;
  /** Reads that are under way. */
  #reading = 0;
  #isStarting = false;
  readonly #comparer: Comparer;
  readonly #a: Side;
  readonly #b: Side;

  constructor(comparer: Comparer) {
    this.#comparer = comparer;
    this.#a = new Side(this, comparer.job.a);
    this.#b = new Side(this, comparer.job.b);
  }

  start({ offset, length, mapped }: PieceWalker): boolean {
    if (!mapped[0]! && !mapped[1]!) return true;
    this.#length = length;
    this.#isStarting = true;
    this.#reading = 2;
    if (this.#a.read(offset, length, mapped[0]!)) this.#reading--;
    if (this.#b.read(offset, length, mapped[1]!)) this.#reading--;
    this.#isStarting = false;
    if (this.#reading > 0) return false;
    this.#compare();
    return true;
  }

  /** One side is there. */
  arrived(): void {
    this.#reading--;
    if (this.#isStarting || this.#reading > 0) return;
    this.#compare();
    this.#comparer.pump.finished(this, this.#length);
  }

  #compare(): void {
    for (const side of [this.#a, this.#b]) {
      if (side.status === BlockStatus.GOOD) continue;
      const what = `reading ${side.device.description}`;
      this.#comparer.pump.fail(this, failedAt(what, blockFailure(side)));
      return;
    }
    const length = this.#length;
    const a = this.#a.bytes;
    const b = this.#b.bytes;
    if (a.compare(b, 0, length, 0, length) === 0) return;
    countDifferences(a, b, length, this.offset, this.#comparer.differences);
  }
}

class Side extends BlockIo {
  readonly device: BlockDevice;
  readonly #slot: CompareSlot;
  #memory: Memory | null = null;
  #isHole = false;

  constructor(slot: CompareSlot, device: BlockDevice) {
    super();
    this.#slot = slot;
    this.device = device;
    this.op = BlockOp.READ;
    this.data = new ScatterList();
  }

  /** True if the bytes are there already; a hole has zeroes. */
  read(offset: number, length: number, mapped: boolean): boolean {
    this.#isHole = !mapped;
    this.status = BlockStatus.GOOD;
    if (!mapped) return true;
    this.#memory ??= Memory.allocate(PIECE);
    this.offset = offset;
    this.length = length;
    this.data.clear();
    this.data.add(this.#memory, 0, length);
    return this.device.submit(this);
  }

  get bytes(): Buffer {
    return this.#isHole ? ZEROES : this.#memory!.bytes;
  }

  override done(): void {
    this.#slot.arrived();
  }
}

const ZEROES = Buffer.alloc(PIECE);

/** Add what differs between `a` and `b`, whose first byte is at `offset` of the devices, to `found`. */
export function countDifferences(
  a: Uint8Array,
  b: Uint8Array,
  length: number,
  offset: number,
  found: Differences,
): void {
  for (let block = 0; block < length; block += found.blockSize) {
    const end = Math.min(block + found.blockSize, length);
    let count = 0;
    for (let i = block; i < end; i++) {
      if (a[i] === b[i]) continue;
      count++;
      // Pieces are not compared in order.
      if (found.first === null || offset + i < found.first) found.first = offset + i;
    }
    if (count === 0) continue;
    found.bytes += count;
    found.blocks++;
  }
}
