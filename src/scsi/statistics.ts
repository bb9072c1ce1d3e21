/**
 * What a logical unit counts of its commands, as its log pages tell it (SPC-4 7.3). Counted at the end of each command; a logical
 * unit reset begins anew, since nothing is saved.
 */

import { BlockOp, BlockStatus } from '../block/device.js';
import { Status } from './status.js';
import type { Task } from './task.js';

/** As what a command counts (SPC-4, the commands of the Statistics and Performance log pages), and whether its data are logical blocks. */
export const Counted = {
  NOT: 0,
  READ: 1,
  WRITE: 2,
  READ_WITHOUT_BLOCKS: 3,
  WRITE_WITHOUT_BLOCKS: 4,
} as const;
export type Counted = (typeof Counted)[keyof typeof Counted];

/** Times are in milliseconds. */
export class Statistics {
  reads = 0;
  writes = 0;
  /** Bytes of logical blocks that reads transmitted and writes received. */
  bytesTransmitted = 0;
  bytesReceived = 0;
  /** From the time that commands came in until they ended. */
  readTime = 0;
  writeTime = 0;
  /** Times that the medium could not be read or written. */
  readErrors = 0;
  writeErrors = 0;
  #idleTime = 0;
  /** Since when there is no command. */
  #idleSince: number;

  constructor(now: number) {
    this.#idleSince = now;
  }

  /** While there was no command. The one that asks is there, so this stands still. */
  get idleTime(): number {
    return this.#idleTime;
  }

  /** There are commands again. */
  idleEnds(now: number): void {
    this.#idleTime += now - this.#idleSince;
  }

  /** `task` is over, and no other is there if `isLast`. */
  ended(task: Task, now: number, isLast: boolean): void {
    if (isLast) this.#idleSince = now;
    const counted = task.operation?.counted ?? Counted.NOT;
    if (counted === Counted.NOT) return;
    const isGood = task.scsiStatus === Status.GOOD;
    if (counted === Counted.READ || counted === Counted.READ_WITHOUT_BLOCKS) {
      this.reads++;
      this.readTime += now - task.submittedAt;
      if (isGood && counted === Counted.READ) this.bytesTransmitted += task.transferLength;
    } else {
      this.writes++;
      this.writeTime += now - task.submittedAt;
      if (isGood && counted === Counted.WRITE) this.bytesReceived += task.transferLength;
    }
  }

  /** The device failed what `task` describes. */
  deviceFailed(task: Task): void {
    if (task.status !== BlockStatus.MEDIUM_ERROR) return;
    if (task.op === BlockOp.READ) this.readErrors++;
    else this.writeErrors++;
  }

  /** All but the errors begins anew. */
  resetPerformance(): void {
    this.reads = this.writes = 0;
    this.bytesTransmitted = this.bytesReceived = 0;
    this.readTime = this.writeTime = 0;
    this.#idleTime = 0;
  }

  reset(): void {
    this.resetPerformance();
    this.readErrors = this.writeErrors = 0;
  }
}
