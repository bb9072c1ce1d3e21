/** Walks over several devices at once in pieces, each of which is either data or a hole on every one of them. */

import { type BlockDevice, BlockIo, BlockOp, BlockStatus } from '../../block/index.js';

/** Bytes of the longest hole that is one piece: an operation on it must not take for ever. */
const LONGEST_HOLE = 64 << 20;

/** Where the data and the holes of one device are, looked up as the walk comes along. */
class ExtentCursor extends BlockIo {
  readonly #device: BlockDevice;
  readonly #end: number;
  readonly #answered: () => void;
  /** Index in `extents` of the one that was found last; what is before it lies behind. */
  #index = 0;
  #isAsking = false;

  constructor(device: BlockDevice, end: number, answered: () => void) {
    super();
    this.#device = device;
    this.#end = end;
    this.#answered = answered;
    this.op = BlockOp.EXTENTS;
  }

  /** Whether it is known what is at `offset`; if not, `answered` tells when to come back. */
  seek(offset: number): boolean {
    while (!this.#isAsking) {
      for (; this.#index < this.extents.length; this.#index++) if (this.#current.end > offset) return true;
      this.#ask(offset);
    }
    return false;
  }

  get mapped(): boolean {
    return this.#current.mapped;
  }

  /** Where the extent ends. */
  get end(): number {
    return this.#current.end;
  }

  get #current(): { mapped: boolean; end: number } {
    const { offset, length, mapped } = this.extents[this.#index]!;
    return { mapped, end: offset + length };
  }

  #ask(offset: number): void {
    this.offset = offset;
    this.length = this.#end - offset;
    this.#isAsking = true;
    if (this.#device.submit(this)) this.#take();
  }

  #take(): void {
    this.#isAsking = false;
    this.#index = 0;
    // What cannot be told is data.
    if (this.status === BlockStatus.GOOD && this.extents.length > 0) return;
    this.extents.length = 0;
    this.extents.push({ offset: this.offset, length: this.length, mapped: true });
  }

  override done(): void {
    this.#take();
    this.#answered();
  }
}

export interface WalkOptions {
  /** First byte, and the one behind the last; multiples of `unit`. */
  from: number;
  to: number;
  /** Bytes of the longest piece with data in it, a multiple of `unit`. */
  pieceLength: number;
  /** Bytes that every piece is a multiple of, at a multiple of: whole blocks of all who take part. */
  unit: number;
  /** It is known what was asked for: `next` again. */
  ready: () => void;
}

export class PieceWalker {
  /** The piece that `next` came to. */
  offset = 0;
  length = 0;
  /** For each device whether it has data there; if not, it reads as zeroes. */
  readonly mapped: boolean[] = [];
  readonly #cursors: ExtentCursor[];
  readonly #options: WalkOptions;
  #at: number;

  constructor(devices: readonly BlockDevice[], options: WalkOptions) {
    this.#options = options;
    this.#at = options.from;
    this.#cursors = devices.map((device) => new ExtentCursor(device, options.to, options.ready));
  }

  /** Where the next piece begins. */
  get position(): number {
    return this.#at;
  }

  /** Go to the next piece; `waiting` until it is known where it ends. */
  next(): 'piece' | 'waiting' | 'end' {
    const { to, pieceLength, unit } = this.#options;
    if (this.#at >= to) return 'end';
    let isKnown = true;
    for (const cursor of this.#cursors) isKnown = cursor.seek(this.#at) && isKnown;
    if (!isKnown) return 'waiting';
    let end = to;
    this.#cursors.forEach((cursor, i) => {
      // A hole that is no whole unit counts as data, and so does what is mixed.
      const holeEnd = cursor.mapped || cursor.end === to ? cursor.end : cursor.end - (cursor.end % unit);
      this.mapped[i] = cursor.mapped || holeEnd <= this.#at;
      const pieceEnd = this.mapped[i] ? Math.ceil(cursor.end / unit) * unit : holeEnd;
      end = Math.min(end, pieceEnd);
    });
    this.offset = this.#at;
    const longest = this.mapped.includes(true) ? pieceLength : LONGEST_HOLE;
    this.length = Math.min(end - this.#at, longest);
    this.#at += this.length;
    return 'piece';
  }
}
