/** The sanitize operation of a logical unit (SBC-3 4.11), and the task that waits for it: what SANITIZE commands do, and what others hear. */

import type { LogicalUnit } from './logical-unit.js';
import type { SavedSanitize } from './sanitize-store.js';
import { Sanitizer } from './sanitizer.js';
import { Sense, SenseData } from './sense.js';
import { TaskState, type Task } from './task.js';

export class UnitSanitize {
  readonly sanitizer: Sanitizer;
  readonly #unit: LogicalUnit;
  /** The task that waits for the end of the operation. */
  #waiter: Task | null = null;
  readonly #sense = new SenseData();

  constructor(unit: LogicalUnit) {
    this.#unit = unit;
    const { sanitizeStore, runLater, now } = unit.configuration;
    this.sanitizer = new Sanitizer(unit.device, sanitizeStore, {
      ended: (cause) => this.#ended(cause),
      runLater,
      now,
    });
  }

  /** End with what the operation, which is not over well, has to say. */
  fail(task: Task): void {
    this.setSense(this.#sense, this.#unit.modePages.descriptorSense);
    this.#unit.failWith(task, this.#sense);
  }

  /** The sense data of a unit that is being sanitized, or whose sanitize operation has failed. */
  setSense(sense: SenseData, isDescriptor: boolean): void {
    const isRunning = this.sanitizer.state === 'running';
    sense.set(isRunning ? Sense.SANITIZE_IN_PROGRESS : Sense.SANITIZE_COMMAND_FAILED, isDescriptor);
    if (isRunning) sense.setProgress(this.sanitizer.progress);
  }

  /** Sanitize as `wanted`; `task`, an exclusive one, ends when that has begun, or unless `isImmediate` when it is over. */
  start(task: Task, wanted: SavedSanitize, isImmediate: boolean): void {
    const unit = this.#unit;
    task.state = TaskState.AWAITING_DATA;
    this.#waiter = task;
    this.sanitizer.start(wanted, (cause) => {
      const waiter = this.#waiter;
      if (cause !== null) {
        unit.events?.sanitizeNotKept(unit, cause);
        this.#waiter = null;
        if (waiter !== null) unit.fail(waiter, Sense.WRITE_ERROR);
        return;
      }
      unit.copies.revokeAll();
      if (isImmediate) {
        this.#waiter = null;
        if (waiter !== null) unit.good(waiter);
      }
    });
    // Others are answered from now on, mostly with SANITIZE IN PROGRESS.
    if (this.#waiter === task) unit.share(task);
  }

  /** EXIT FAILURE MODE for `task`. */
  exitFailure(task: Task): void {
    const unit = this.#unit;
    task.state = TaskState.AWAITING_DATA;
    this.#waiter = task;
    this.sanitizer.exitFailure((cause) => {
      const waiter = this.#waiter;
      this.#waiter = null;
      if (cause !== null) unit.events?.sanitizeNotKept(unit, cause);
      if (waiter === null) return;
      if (cause === null) unit.good(waiter);
      else unit.fail(waiter, Sense.WRITE_ERROR);
    });
  }

  /** `task` is aborted; the operation goes on without it. */
  aborted(task: Task): void {
    if (task === this.#waiter) this.#waiter = null;
  }

  #ended(cause: Error | null): void {
    const waiter = this.#waiter;
    this.#waiter = null;
    this.#unit.events?.sanitized(this.#unit, cause);
    if (waiter === null) return;
    if (cause === null) this.#unit.good(waiter);
    else this.fail(waiter);
  }
}
