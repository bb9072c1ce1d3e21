/** What is known of one third-party copy: kept for whoever asks how it goes, or how it went (SPC-4 5.17). */

import type { Nexus } from '../nexus.js';
import { SenseData } from '../sense.js';
import { Status } from '../status.js';

export const CopyState = {
  RUNNING: 0,
  COMPLETED: 1,
  FAILED: 2,
  ABORTED: 3,
} as const;
export type CopyState = (typeof CopyState)[keyof typeof CopyState];

export class CopyRecord {
  readonly nexus: Nexus;
  /** LIST IDENTIFIER; null: nobody can ask for it. */
  readonly listIdentifier: number | null;
  readonly serviceAction: number;
  /** The command has ended, or will end, without waiting for the copy (IMMED). */
  readonly isInBackground: boolean;
  state: CopyState = CopyState.RUNNING;
  /** What the command ended with, or would have. */
  status: Status = Status.GOOD;
  readonly sense = new SenseData();
  /** Segments that are done. */
  segments = 0;
  /** Bytes that are where they were to go, or that a ROD token represents. */
  bytes = 0;
  /** Completed device operations. */
  operations = 0;
  /** The ROD token that POPULATE TOKEN made. */
  token: Buffer | null = null;
  /** Somebody wants it to stop. */
  isCancelled = false;

  constructor(nexus: Nexus, listIdentifier: number | null, serviceAction: number, isInBackground: boolean) {
    this.nexus = nexus;
    this.listIdentifier = listIdentifier;
    this.serviceAction = serviceAction;
    this.isInBackground = isInBackground;
  }
}
