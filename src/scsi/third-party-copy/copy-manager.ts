/**
 * The copy manager of a server (SPC-4 5.17): what all of its logical units share of third-party copies, which are the
 * memory that data passes through, and the ROD tokens.
 */

import { BufferPool } from '../../util/memory.js';
import { RodTokens } from './rod-tokens.js';

/** What a copy needs of whoever owns the event loop. */
export interface CopyHost {
  /** Milliseconds since some moment; only ever forward. */
  now(): number;
  /** Call `resume` soon, and let other work have its turn before. */
  defer(resume: () => void): void;
}

/** The most bytes of a copy that are under way at a time. */
export const PIECE_LENGTH = 1 << 20;

/** TOTAL CONCURRENT COPIES; one more gets BUSY. */
export const MAXIMUM_COPIES = 32;

export class CopyManager {
  readonly host: CopyHost;
  readonly buffers = new BufferPool(MAXIMUM_COPIES * PIECE_LENGTH);
  readonly tokens: RodTokens;
  /** Copies that run. */
  running = 0;

  constructor(host: CopyHost) {
    this.host = host;
    this.tokens = new RodTokens(host);
  }
}
