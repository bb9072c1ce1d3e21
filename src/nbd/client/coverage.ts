/** Which bytes of a range have come, when they may come in parts and in any order. */

/** Parts that are not yet joined; a server that scatters a reply further is up to no good. */
const MOST_GAPS = 1024;

export class Coverage {
  /** Sorted, and never touching each other. */
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  /** Nothing has come. */
  clear(): void {
    this.#starts.length = 0;
    this.#ends.length = 0;
  }

  /** Bytes `start` up to, not including, `end` have come. False when some of them had already. */
  add(start: number, end: number): boolean {
    const starts = this.#starts;
    const ends = this.#ends;
    // Behind all others, where nearly every part is.
    let at = starts.length;
    while (at > 0 && starts[at - 1]! >= end) at--;
    if (at > 0 && ends[at - 1]! > start) return false;
    const joinsBefore = at > 0 && ends[at - 1] === start;
    const joinsBehind = at < starts.length && starts[at] === end;
    if (joinsBefore && joinsBehind) {
      ends[at - 1] = ends[at]!;
      starts.splice(at, 1);
      ends.splice(at, 1);
    } else if (joinsBefore) {
      ends[at - 1] = end;
    } else if (joinsBehind) {
      starts[at] = start;
    } else {
      if (starts.length === MOST_GAPS) return false;
      starts.splice(at, 0, start);
      ends.splice(at, 0, end);
    }
    return true;
  }

  /** Whether all bytes from `start` up to `end` have come. */
  covers(start: number, end: number): boolean {
    return start === end || (this.#starts.length === 1 && this.#starts[0]! <= start && this.#ends[0]! >= end);
  }
}
