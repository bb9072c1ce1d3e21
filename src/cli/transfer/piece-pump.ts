/** Keeps a number of pieces of a walk under way until the walk is over, or is stopped. */

import { setImmediate } from 'node:timers';
import type { PieceWalker } from './piece-walker.js';

/** One place for a piece under way, with what it needs; used again for the next. */
export interface PieceSlot {
  /** First byte of its piece. */
  offset: number;
  /** Start with the walker's piece: true if it is over already, else `pump.finished` tells. */
  start(piece: PieceWalker): boolean;
}

/** Pieces that are started in one go, before others get their turn of the event loop. */
const BATCH = 64;

export class PiecePump<Slot extends PieceSlot> {
  /** Bytes that are over with. */
  processed = 0;
  readonly #walker: PieceWalker;
  readonly #free: Slot[];
  readonly #busy = new Set<Slot>();
  #isStopped = false;
  #isPumping = false;
  #isScheduled = false;
  #error: Error | null = null;
  /** First byte of what failed. */
  #failedAt = Infinity;
  #settle: (() => void) | null = null;

  constructor(walker: PieceWalker, slots: Slot[]) {
    this.#walker = walker;
    this.#free = slots;
  }

  /** Resolves when all is done, or what is under way after {@link stop} is. Rejects with what {@link fail} was told first. */
  async run(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
      this.pump();
    });
    if (this.#error !== null) throw this.#error;
  }

  /** Begin nothing more. */
  stop(): void {
    this.#isStopped = true;
    this.pump();
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Everything below is done; nothing is known of what is above. */
  get position(): number {
    let position = Math.min(this.#walker.position, this.#failedAt);
    for (const slot of this.#busy) position = Math.min(position, slot.offset);
    return position;
  }

  /** The piece of `slot` cannot be done. It is over by that: the slot says so as ever. */
  fail(slot: Slot, error: Error): void {
    this.#failedAt = Math.min(this.#failedAt, slot.offset);
    this.#error ??= error;
    this.#isStopped = true;
  }

  /** The piece of `slot` is over, after `start` had returned. */
  finished(slot: Slot, length: number): void {
    this.#release(slot, length);
    this.pump();
  }

  /** Start as many pieces as there are slots. */
  pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    const isOver = this.#startPieces();
    this.#isPumping = false;
    if (isOver && this.#busy.size === 0) {
      this.#settle?.();
      this.#settle = null;
    }
  }

  /** Whether nothing more will be started. */
  #startPieces(): boolean {
    for (let started = 0; !this.#isStopped; started++) {
      if (this.#free.length === 0) return false;
      if (started === BATCH) {
        this.#goOnLater();
        return false;
      }
      const step = this.#walker.next();
      if (step === 'waiting') return false;
      if (step === 'end') return true;
      const slot = this.#free.pop()!;
      slot.offset = this.#walker.offset;
      this.#busy.add(slot);
      if (slot.start(this.#walker)) this.#release(slot, this.#walker.length);
    }
    return true;
  }

  #release(slot: Slot, length: number): void {
    this.#busy.delete(slot);
    this.#free.push(slot);
    this.processed += length;
  }

  #goOnLater(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.pump();
    });
  }
}
