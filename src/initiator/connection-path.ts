/** Tasks go by one connection, and end with it: for looking at it before others may use it. */

import type { InitiatorFullFeature } from '../iscsi/index.js';
import { RiserError } from '../util/errors.js';
import type { ClientTask, TaskPath } from './task.js';

export class ConnectionPath implements TaskPath {
  readonly #phase: InitiatorFullFeature;

  constructor(phase: InitiatorFullFeature) {
    this.#phase = phase;
  }

  submit(task: ClientTask): void {
    if (this.#phase.isOver) {
      task.fail(lostAgain());
      return;
    }
    task.deadline = performance.now() + task.timeoutMs;
    this.#phase.submit(task);
    this.#phase.flush();
  }

  submitLater(task: ClientTask, delayMs: number): void {
    setTimeout(() => {
      this.submit(task);
    }, delayMs);
  }

  cancel(task: ClientTask, error: RiserError): void {
    this.#phase.abort(task, error);
  }

  unitAttention(): void {
    // What it tells is being looked at.
  }
}

export function lostAgain(): RiserError {
  return new RiserError('CONNECT', 'the connection was lost again', { by: 'peer', costs: 'session' });
}
