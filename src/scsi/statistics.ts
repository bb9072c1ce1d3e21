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

/** `task.waitsSince` of one that has not waited. */
export const NOT_WAITED = -1;
const NOT_IDLE = -1;

/**
 * Times are in milliseconds. The clock is looked at for commands that wait, for their turn, for data or for the device: one that is
 * over in the call that submitted it took no time worth the look.
 */
export class Statistics {
  reads = 0;
  writes = 0;
  /** Bytes of logical blocks that reads transmitted and writes received. */
  bytesTransmitted = 0;
  bytesReceived = 0;
  /** From the time that commands began to wait until they ended. */
  readTime = 0;
  writeTime = 0;
  /** Times that the medium could not be read or written. */
  readErrors = 0;
  writeErrors = 0;
  #idleTime = 0;
  /** Since when no command waits; {@link NOT_IDLE} while one does. */
  #idleSince: number;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
    this.#idleSince = now();
  }

  /** While no command waited, until now. */
  idleTime(): number {
    return this.#idleTime + (this.#idleSince === NOT_IDLE ? 0 : this.#now() - this.#idleSince);
  }

  /** `task` is not over in the call that submitted it. */
  waits(task: Task): void {
    const now = this.#now();
    task.waitsSince = now;
    if (this.#idleSince === NOT_IDLE) return;
    this.#idleTime += now - this.#idleSince;
    this.#idleSince = NOT_IDLE;
  }

  /** `task` is over, and no other is there if `isLast`. */
  ended(task: Task, isLast: boolean): void {
    const time = task.waitsSince === NOT_WAITED ? 0 : this.#now() - task.waitsSince;
    if (isLast && this.#idleSince === NOT_IDLE) this.#idleSince = this.#now();
    const counted = task.operation?.counted ?? Counted.NOT;
    if (counted === Counted.NOT) return;
    const isGood = task.scsiStatus === Status.GOOD;
    if (counted === Counted.READ || counted === Counted.READ_WITHOUT_BLOCKS) {
      this.reads++;
      this.readTime += time;
      if (isGood && counted === Counted.READ) this.bytesTransmitted += task.transferLength;
    } else {
      this.writes++;
      this.writeTime += time;
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
    if (this.#idleSince !== NOT_IDLE) this.#idleSince = this.#now();
  }

  reset(): void {
    this.resetPerformance();
    this.readErrors = this.writeErrors = 0;
  }
}
