/**
 * Outstanding R2Ts by Target Transfer Tag. A tag is an index into the table with a generation above
 * it, so that Data-Out for an R2T that is gone is told from that of the one that has its place now.
 */

import type { TargetTransfer } from '../datamover.js';

/** One outstanding R2T (RFC 7143 11.8). */
export interface R2T {
  /** Null: free. */
  transfer: TargetTransfer | null;
  /** Target Transfer Tag. */
  tag: number;
  readonly index: number;
  /** Buffer offset of the next Data-Out, and the end of what was asked for. */
  nextOffset: number;
  end: number;
  nextDataSN: number;
  /** Data was lost: what still comes is dropped, up to the final PDU. */
  hasFailed: boolean;
  /** What was lost is asked for again then. */
  isRecovered: boolean;
  /** R2TSN, and the first byte that was asked for. */
  number: number;
  offset: number;
}

const INDEX_BITS = 16;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
const GENERATIONS = 0x7fff;

export class R2TTable {
  readonly #all: R2T[] = [];
  readonly #free: R2T[] = [];

  /** A new R2T for `length` bytes from `offset` on. */
  take(transfer: TargetTransfer, offset: number, length: number): R2T {
    let r2t = this.#free.pop();
    if (r2t === undefined) {
      const index = this.#all.length;
      r2t = {
        transfer: null,
        tag: index,
        index,
        nextOffset: 0,
        end: 0,
        nextDataSN: 0,
        hasFailed: false,
        isRecovered: false,
        number: 0,
        offset: 0,
      };
      this.#all.push(r2t);
    }
    const generation = ((r2t.tag >>> INDEX_BITS) + 1) & GENERATIONS;
    r2t.tag = (generation << INDEX_BITS) | r2t.index;
    r2t.transfer = transfer;
    r2t.nextOffset = offset;
    r2t.end = offset + length;
    r2t.nextDataSN = 0;
    r2t.hasFailed = false;
    r2t.isRecovered = false;
    r2t.number = transfer.dataSN;
    r2t.offset = offset;
    return r2t;
  }

  /** The outstanding R2T with this tag, or null. */
  find(tag: number): R2T | null {
    const r2t = this.#all[tag & INDEX_MASK];
    return r2t?.tag === tag && r2t.transfer !== null ? r2t : null;
  }

  /** Those of `transfer` in the order of their numbers; for control paths. */
  of(transfer: TargetTransfer): R2T[] {
    return this.#all.filter((r2t) => r2t.transfer === transfer).sort((a, b) => a.number - b.number);
  }

  release(r2t: R2T): void {
    r2t.transfer = null;
    this.#free.push(r2t);
  }

  releaseAll(transfer: TargetTransfer): void {
    for (const r2t of this.#all) {
      if (r2t.transfer === transfer) this.release(r2t);
    }
  }

  clear(): void {
    for (const r2t of this.#all) {
      if (r2t.transfer !== null) this.release(r2t);
    }
  }
}
