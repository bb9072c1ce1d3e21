/** Tasks that wait for the target's command window to open: a list that is linked by the tasks themselves. */

import type { InitiatorTask } from './task.js';

export class TaskQueue {
  /** Null if the queue is empty; {@link InitiatorTask.nextQueued} leads on. */
  first: InitiatorTask | null = null;
  #last: InitiatorTask | null = null;

  push(task: InitiatorTask): void {
    task.nextQueued = null;
    if (this.#last === null) this.first = task;
    else this.#last.nextQueued = task;
    this.#last = task;
  }

  /** Take the first task out; there must be one. */
  shift(): InitiatorTask {
    const task = this.first!;
    this.first = task.nextQueued;
    if (this.first === null) this.#last = null;
    task.nextQueued = null;
    return task;
  }

  /** Take `task` out, which is in the queue; for control paths. */
  remove(task: InitiatorTask): void {
    let before: InitiatorTask | null = null;
    for (let at = this.first; at !== task && at !== null; at = at.nextQueued) before = at;
    if (before === null) this.first = task.nextQueued;
    else before.nextQueued = task.nextQueued;
    if (this.#last === task) this.#last = before;
    task.nextQueued = null;
  }

  /** Take all tasks out, in order; for control paths. */
  takeAll(): InitiatorTask[] {
    const all: InitiatorTask[] = [];
    while (this.first !== null) all.push(this.shift());
    return all;
  }
}
