/** Who waits for aborted tasks to be gone: task management functions whose tasks the device still works on. */

import type { Task } from './task.js';

interface AbortWatch {
  readonly remaining: Set<Task>;
  readonly completed: () => void;
}

export class AbortWatches {
  readonly #watches = new Set<AbortWatch>();

  /** Call `completed` once when every task of `remaining`, which is not empty, is gone. */
  add(remaining: Set<Task>, completed: () => void): void {
    this.#watches.add({ remaining, completed });
  }

  /**
   * An aborted task has left the task set. Returns what is to be called when the transport has heard
   * of it: by then the task may already carry a new command.
   */
  takeCompleted(task: Task): (() => void)[] {
    const completed: (() => void)[] = [];
    for (const watch of this.#watches) {
      if (!watch.remaining.delete(task) || watch.remaining.size > 0) continue;
      this.#watches.delete(watch);
      completed.push(watch.completed);
    }
    return completed;
  }
}
