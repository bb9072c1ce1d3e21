/** The pauses between attempts to reach somebody who is away: none before the first, then each twice the last. */

export class BackOff {
  readonly #firstMs: number;
  readonly #longestMs: number;
  readonly #random: () => number;
  #pauseMs = 0;

  /**
   * @param firstMs the pause after the attempt that is made at once, milliseconds
   * @param longestMs pauses grow no longer than this, milliseconds, but for what chance adds
   * @param random a number from 0 to less than 1
   */
  constructor(firstMs: number, longestMs: number, random: () => number = Math.random) {
    this.#firstMs = firstMs;
    this.#longestMs = longestMs;
    this.#random = random;
  }

  /**
   * The pause before the next attempt, milliseconds. It is up to a quarter shorter or longer than its turn, so
   * that all who lost the same peer do not come back in the same moment.
   */
  next(): number {
    const pauseMs = this.#pauseMs;
    this.#pauseMs = Math.min(Math.max(2 * pauseMs, this.#firstMs), this.#longestMs);
    return pauseMs * (0.75 + this.#random() / 2);
  }

  /** An attempt has succeeded: the next one is made at once again. */
  reset(): void {
    this.#pauseMs = 0;
  }
}
