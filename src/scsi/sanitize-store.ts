/** Where a sanitize operation outlives the loss of power, so that it is carried on (SBC-3 4.11). */

/** As JSON holds it. */
export interface SavedSanitize {
  readonly method: 'overwrite' | 'block-erase';
  /** Of an overwrite, hexadecimal digits: what a block begins with, repeated to its end. */
  readonly pattern: string;
  /** OVERWRITE COUNT; 1 for a block erase. */
  readonly passes: number;
  /** Whether the pattern is inverted from pass to pass; the last one writes it as it is. */
  readonly invert: boolean;
  /** AUSE: whether a failure may be left by EXIT FAILURE MODE. */
  readonly allowsExit: boolean;
  readonly hasFailed: boolean;
}

export interface SanitizeStore {
  /** What was kept when the store was opened; null: nothing. */
  readonly kept: SavedSanitize | null;
  /**
   * Keep `state` in place of what was kept before, null: nothing. In the order of the calls; `kept` is called later, when it
   * is on stable storage, or with the reason why it cannot be: then what was kept before is still there.
   */
  keep(state: SavedSanitize | null, kept: (cause: Error | null) => void): void;
}
