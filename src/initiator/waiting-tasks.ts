/** Tasks of a path that no connection has: those that wait for one, and those that wait for a busy target. */

import type { RiserError } from '../util/errors.js';
import type { ClientTask } from './task.js';

export class WaitingTasks {
  /** In order. */
  #waiting: ClientTask[] = [];
  readonly #delayed = new Set<ClientTask>();

  /** Keep a task until {@link takeAll}. */
  add(task: ClientTask): void {
    this.#waiting.push(task);
  }

  /** Keep a task for `delayMs` milliseconds, then hand it to `submit`. */
  delay(task: ClientTask, delayMs: number, submit: (task: ClientTask) => void): void {
    this.#delayed.add(task);
    task.waitTimer = setTimeout(() => {
      this.#delayed.delete(task);
      task.waitTimer = null;
      submit(task);
    }, delayMs);
  }

  /** Those that wait for a connection; they are the caller's now. */
  takeAll(): ClientTask[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }

  /** End a task with `error`; false if it does not wait here. */
  cancel(task: ClientTask, error: RiserError): boolean {
    const at = this.#waiting.indexOf(task);
    if (at >= 0) this.#waiting.splice(at, 1);
    else if (!this.#delayed.delete(task)) return false;
    this.#end(task, error);
    return true;
  }

  /** End those that wait for a connection. */
  failWaiting(error: RiserError): void {
    for (const task of this.takeAll()) this.#end(task, error);
  }

  /** End all of them. */
  failAll(error: RiserError): void {
    this.failWaiting(error);
    const delayed = [...this.#delayed];
    this.#delayed.clear();
    for (const task of delayed) this.#end(task, error);
  }

  #end(task: ClientTask, error: RiserError): void {
    if (task.waitTimer !== null) clearTimeout(task.waitTimer);
    task.waitTimer = null;
    task.fail(error);
  }
}
