/**
 * The active tasks of a connection by Initiator Task Tag. A tag is an index into the table with a generation
 * above it, so that what a target sends for a task that is over meets nobody.
 */

import type { InitiatorTask } from './task.js';

const INDEX_BITS = 16;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
/** 15 bits: tags of tasks have bit 31 clear, which leaves the others to control requests. */
const GENERATION_MASK = 0x7fff;

export class TaskTable {
  readonly #tasks: (InitiatorTask | null)[] = [];
  readonly #generations: number[] = [];
  readonly #free: number[] = [];
  /** Tasks in the table. */
  count = 0;

  /** Give `task` a tag that no other task of the connection has; the table must not be full. */
  add(task: InitiatorTask): void {
    const index = this.#free.pop() ?? this.#grow();
    const generation = (this.#generations[index]! + 1) & GENERATION_MASK;
    this.#generations[index] = generation;
    this.#tasks[index] = task;
    task.initiatorTaskTag = (generation << INDEX_BITS) | index;
    this.count++;
  }

  find(tag: number): InitiatorTask | null {
    const task = this.#tasks[tag & INDEX_MASK];
    return task?.initiatorTaskTag === tag ? task : null;
  }

  remove(task: InitiatorTask): void {
    const index = task.initiatorTaskTag & INDEX_MASK;
    this.#tasks[index] = null;
    this.#free.push(index);
    this.count--;
  }

  /** All tasks in no order; for control paths. */
  all(): InitiatorTask[] {
    return this.#tasks.filter((task) => task !== null);
  }

  #grow(): number {
    this.#generations.push(0);
    this.#tasks.push(null);
    return this.#tasks.length - 1;
  }
}
