/**
 * The sanitize operation of a logical unit (SBC-3 4.11): it goes over the whole medium, whatever becomes of the task that
 * asked for it, and a reset does not end it.
 *
 * What it is to do is kept before it changes anything, so that it begins anew after a loss of power, and is forgotten when the
 * medium has it all on stable storage. It writes from one buffer of {@link PIECE_LENGTH} bytes, one piece at a time.
 */

import { BlockIo, BlockOp, BlockStatus, type BlockDevice } from '../block/device.js';
import { Memory, ScatterList } from '../util/memory.js';
import type { SanitizeStore, SavedSanitize } from './sanitize-store.js';

/** Bytes that one device operation writes, and gives back. */
const PIECE_LENGTH = 1 << 20;
const ERASE_LENGTH = 64 << 20;
/**
 * Milliseconds that it lasts at least. Initiators look after seconds how far it is, and libiscsi's suite takes an operation
 * that is over after five for one that a reset has ended.
 */
const SHORTEST = 8_000;
/** PROGRESS INDICATION counts in parts of this (SPC-4 4.5.2.4.4). */
const WHOLE_PROGRESS = 0x1_0000;

export type SanitizeState = 'idle' | 'running' | 'failed';

/** What the logical unit hears of it. */
export interface SanitizerEvents {
  /** It is over; `cause`: why it failed. */
  ended(cause: Error | null): void;
  /** Have `call` called later, when others have had their turn, and after `delay` milliseconds. */
  runLater(call: () => void, delay?: number): void;
  /** The clock's milliseconds. */
  now(): number;
}

export class Sanitizer {
  state: SanitizeState = 'idle';
  readonly #device: BlockDevice;
  readonly #store: SanitizeStore | null;
  readonly #events: SanitizerEvents;
  /** What is done, or has failed. */
  #saved: SavedSanitize | null;
  readonly #io: SanitizeIo;
  #pass = 0;
  /** By the clock. */
  #begun = 0;

  /** Carries on what `store` has kept, with the first call of {@link Sanitizer.carryOn}. */
  constructor(device: BlockDevice, store: SanitizeStore | null, events: SanitizerEvents) {
    this.#device = device;
    this.#store = store;
    this.#events = events;
    this.#io = new SanitizeIo(() => this.#completed());
    this.#saved = store?.kept ?? null;
    if (this.#saved !== null) this.state = this.#saved.hasFailed ? 'failed' : 'running';
  }

  /** How much is done, as PROGRESS INDICATION has it. */
  get progress(): number {
    const total = (this.#saved?.passes ?? 1) * this.#device.size;
    const done = this.#pass * this.#device.size + this.#io.offset;
    return Math.min(WHOLE_PROGRESS - 1, Math.floor((done / total) * WHOLE_PROGRESS));
  }

  /** After a failure: whether EXIT FAILURE MODE may leave it. */
  get allowsExit(): boolean {
    return this.#saved?.allowsExit !== false;
  }

  /** Go on with what was kept over a restart. */
  carryOn(): void {
    if (this.state === 'running') this.#begin();
  }

  /**
   * Sanitize: `wanted` is kept, then `accepted` is called and the work begins. When it cannot be kept, `accepted` tells why, and
   * everything is as before.
   */
  start(wanted: SavedSanitize, accepted: (cause: Error | null) => void): void {
    const before = this.state;
    const beforeSaved = this.#saved;
    this.state = 'running';
    this.#saved = wanted;
    this.#pass = 0;
    this.#io.offset = 0;
    this.#keep(wanted, (cause) => {
      if (cause !== null) {
        this.state = before;
        this.#saved = beforeSaved;
        accepted(cause);
        return;
      }
      accepted(null);
      this.#begin();
    });
  }

  /** EXIT FAILURE MODE; `left` tells why not when it cannot be forgotten. */
  exitFailure(left: (cause: Error | null) => void): void {
    this.#keep(null, (cause) => {
      if (cause === null) {
        this.state = 'idle';
        this.#saved = null;
      }
      left(cause);
    });
  }

  #begin(): void {
    this.#begun = this.#events.now();
    this.#pass = 0;
    this.#io.offset = 0;
    this.#preparePass();
    this.#events.runLater(() => this.#next());
  }

  /** Aim at what the pass writes. */
  #preparePass(): void {
    const { method, pattern, passes, invert } = this.#saved!;
    if (method === 'block-erase') {
      this.#io.op = BlockOp.UNMAP;
      return;
    }
    this.#io.op = BlockOp.WRITE;
    const isInverted = invert && (passes - 1 - this.#pass) % 2 === 1;
    const bytes = Buffer.from(pattern, 'hex');
    if (isInverted) for (let i = 0; i < bytes.length; i++) bytes[i]! ^= 0xff;
    this.#io.fill(Buffer.alloc(this.#device.blockSize, bytes));
  }

  /** Do the piece at `#io.offset`, or what comes after the last. */
  #next(): void {
    const io = this.#io;
    const left = this.#device.size - io.offset;
    if (left <= 0) {
      this.#passDone();
      return;
    }
    io.length = Math.min(left, io.op === BlockOp.UNMAP ? ERASE_LENGTH : PIECE_LENGTH);
    this.#submit();
  }

  #submit(): void {
    this.#io.status = BlockStatus.GOOD;
    // A device that answers at once must not keep everybody else from being answered.
    if (this.#device.submit(this.#io)) this.#events.runLater(() => this.#completed());
  }

  #completed(): void {
    const io = this.#io;
    if (io.status !== BlockStatus.GOOD) {
      this.#failed(io.cause ?? new Error(`the device failed at byte ${io.errorOffset}`), io.status);
    } else if (io.op === BlockOp.FLUSH) {
      this.#stable();
    } else {
      io.offset += io.length;
      this.#next();
    }
  }

  #passDone(): void {
    if (++this.#pass < this.#saved!.passes) {
      this.#io.offset = 0;
      this.#preparePass();
      this.#next();
      return;
    }
    const left = this.#begun + SHORTEST - this.#events.now();
    this.#events.runLater(() => this.#flush(), Math.max(0, Math.ceil(left)));
  }

  #flush(): void {
    this.#io.op = BlockOp.FLUSH;
    this.#io.offset = 0;
    this.#io.length = 0;
    this.#submit();
  }

  /** Only when it is forgotten for good may anybody write: after a restart that would be sanitized as well. */
  #stable(): void {
    this.#keep(null, (cause) => {
      if (cause !== null) {
        this.#failed(cause, BlockStatus.GOOD);
        return;
      }
      this.#saved = null;
      this.#end('idle', null);
    });
  }

  #failed(cause: Error, status: BlockStatus): void {
    const failure: SavedSanitize = { ...this.#saved!, hasFailed: true };
    // A device that is gone, as when the server ends, is sanitized when it is there again.
    if (status === BlockStatus.NOT_READY) {
      this.#end(
        'failed',
        new Error('the device is not ready; it is sanitized when it is served anew', { cause }),
      );
      return;
    }
    this.#saved = failure;
    // When that cannot be kept, a restart begins the work anew: the medium is protected all the same.
    this.#keep(failure, () => this.#end('failed', cause));
  }

  #end(state: SanitizeState, cause: Error | null): void {
    this.state = state;
    this.#io.release();
    this.#events.ended(cause);
  }

  #keep(state: SavedSanitize | null, kept: (cause: Error | null) => void): void {
    if (this.#store === null) kept(null);
    else this.#store.keep(state, kept);
  }
}

class SanitizeIo extends BlockIo {
  override data = new ScatterList();
  readonly #completed: () => void;

  constructor(completed: () => void) {
    super();
    this.#completed = completed;
  }

  override done(): void {
    this.#completed();
  }

  /** Have `block` in `data`, again and again. */
  fill(block: Buffer): void {
    this.release();
    const memory = Memory.allocate(PIECE_LENGTH);
    memory.bytes.fill(block);
    this.data.add(memory, 0, PIECE_LENGTH);
  }

  release(): void {
    this.data.clear();
  }
}
