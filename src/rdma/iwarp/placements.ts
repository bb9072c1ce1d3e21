/**
 * Payloads that are being received straight to registered memory, over any number of input events. Whenever
 * rights to memory end, each is asked whether it still has its own (RFC 5040 8.1.1, rule 6).
 */

/** Something that has such a payload. */
export interface Placing {
  /** Where it stands in the list; the list's business. */
  placingIndex: number;
  /** Rights have ended, maybe its own. */
  rightsEnded(): void;
}

export class Placements {
  readonly #all: (Placing | null)[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** `placing` is not in the list. */
  add(placing: Placing): void {
    placing.placingIndex = this.#count;
    this.#all[this.#count++] = placing;
  }

  remove(placing: Placing): void {
    const last = this.#all[--this.#count]!;
    last.placingIndex = placing.placingIndex;
    this.#all[last.placingIndex] = last;
    this.#all[this.#count] = null;
    placing.placingIndex = NOT_PLACING;
  }

  rightsEnded(): void {
    for (let i = 0; i < this.#count; i++) this.#all[i]!.rightsEnded();
  }
}

/** {@link Placing.placingIndex} of what is not in the list. */
export const NOT_PLACING = -1;
