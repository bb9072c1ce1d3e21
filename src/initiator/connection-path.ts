/** Tasks go by one connection, and end with it: for looking at it before others may use it. */

import type { InitiatorFullFeature } from '../iscsi/index.js';
import { RiserError } from '../util/errors.js';
import type { ClientTask, TaskPath } from './task.js';
import { WaitingTasks } from './waiting-tasks.js';

export class ConnectionPath implements TaskPath {
  readonly #phase: InitiatorFullFeature;
  /** Those that wait for a busy target. */
  readonly #waiting = new WaitingTasks();
  readonly #submit = (task: ClientTask): void => {
    this.submit(task);
  };
  #end: RiserError | null = null;

  constructor(phase: InitiatorFullFeature) {
    this.#phase = phase;
  }

  submit(task: ClientTask): void {
    if (this.#end !== null || this.#phase.isOver) {
      task.fail(this.#end ?? lostAgain());
      return;
    }
    task.deadline = performance.now() + task.timeoutMs;
    this.#phase.submit(task);
    this.#phase.flush();
  }

  submitLater(task: ClientTask, delayMs: number): void {
    if (this.#end !== null) task.fail(this.#end);
    else this.#waiting.delay(task, delayMs, this.#submit);
  }

  cancel(task: ClientTask, error: RiserError): void {
    if (!this.#waiting.cancel(task, error)) this.#phase.abort(task, error);
  }

  unitAttention(): void {
    // What it tells is being looked at.
  }

  accessRefused(): boolean {
    return false;
  }

  /** No task goes by it any more: those that wait fail with `error` now, those under way when the connection ends. */
  end(error: RiserError): void {
    this.#end ??= error;
    this.#waiting.failAll(error);
  }
}

export function lostAgain(): RiserError {
  return new RiserError('CONNECT', 'the connection was lost again', { by: 'peer', costs: 'session' });
}
