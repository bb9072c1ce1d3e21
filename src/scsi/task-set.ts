/**
 * The task set of a logical unit: which commands are there, and when each one's turn comes (SAM-5 8).
 *
 * Tasks are chained in order of arrival through `task.previous` and `task.next`, so entering and
 * leaving allocates nothing. As long as every task is SIMPLE, each is enabled on arrival; the list is
 * only walked while an ORDERED or HEAD OF QUEUE task is present.
 *
 * An exclusive task is an ORDERED one, whatever its attribute says, that HEAD OF QUEUE tasks wait for
 * once it runs: no command comes between the steps of its operation.
 */

import { TaskAttribute, TaskState, type Task } from './task.js';

/** What a task without a priority counts as. */
const NO_PRIORITY = 8;

export class TaskSet {
  /** Tasks present, waiting ones included. */
  count = 0;
  /** The oldest task; follow `next`. */
  first: Task | null = null;
  #last: Task | null = null;
  #ordered = 0;
  #headOfQueue = 0;
  #waiting = 0;
  /** Tasks with a priority; without any the list need not be searched for the best. */
  #prioritised = 0;
  /** Exclusive tasks that are running: one, or those that {@link isolate} has made so. */
  #exclusive = 0;

  /** Append `task`. True when it is enabled at once; otherwise it is AWAITING_TURN and {@link takeEnabled} yields it later. */
  enter(task: Task, isExclusive = false): boolean {
    task.isExclusive = isExclusive;
    if (isExclusive) task.attribute = TaskAttribute.ORDERED;
    task.previous = this.#last;
    task.next = null;
    if (this.#last === null) this.first = task;
    else this.#last.next = task;
    this.#last = task;
    this.count++;
    if (task.priority !== 0) this.#prioritised++;
    if (task.attribute === TaskAttribute.SIMPLE) {
      if (this.#ordered === 0 && this.#headOfQueue === 0) return true;
    } else if (task.attribute === TaskAttribute.HEAD_OF_QUEUE) {
      this.#headOfQueue++;
      if (this.#exclusive === 0) return true;
    } else {
      this.#ordered++;
      if (this.count === 1) {
        if (isExclusive) this.#exclusive++;
        return true;
      }
    }
    task.state = TaskState.AWAITING_TURN;
    this.#waiting++;
    return false;
  }

  /** Take `task` out, whatever it waits for. */
  leave(task: Task): void {
    if (task.previous === null) this.first = task.next;
    else task.previous.next = task.next;
    if (task.next === null) this.#last = task.previous;
    else task.next.previous = task.previous;
    task.previous = null;
    task.next = null;
    this.count--;
    if (task.priority !== 0) this.#prioritised--;
    if (task.attribute === TaskAttribute.ORDERED) this.#ordered--;
    else if (task.attribute === TaskAttribute.HEAD_OF_QUEUE) this.#headOfQueue--;
    if (task.state === TaskState.AWAITING_TURN) this.#waiting--;
    else if (task.isExclusive) this.#exclusive--;
  }

  /** The exclusive task that is running runs alone no longer: what waits for it may have its turn. */
  share(task: Task): void {
    if (!task.isExclusive) return;
    this.#exclusive--;
    this.#ordered--;
    task.isExclusive = false;
    task.attribute = TaskAttribute.SIMPLE;
  }

  /** What has not begun waits for the end of `task`, which is running; beside it goes on what has. */
  isolate(task: Task): void {
    if (task.isExclusive) return;
    if (task.attribute === TaskAttribute.HEAD_OF_QUEUE) this.#headOfQueue--;
    if (task.attribute !== TaskAttribute.ORDERED) this.#ordered++;
    task.attribute = TaskAttribute.ORDERED;
    task.isExclusive = true;
    this.#exclusive++;
  }

  /** Whether any task waits for its turn. */
  get hasWaiting(): boolean {
    return this.#waiting > 0;
  }

  /**
   * A waiting task whose turn has come, no longer AWAITING_TURN; null when there is none. Of several SIMPLE ones
   * it is that of the best priority, and of these the oldest.
   * A SIMPLE task waits for all HEAD OF QUEUE and all older ORDERED tasks to end, an ORDERED one for
   * all HEAD OF QUEUE and all older tasks (SAM-5 8.9). All wait for an exclusive one that runs.
   */
  takeEnabled(): Task | null {
    if (this.#waiting === 0 || this.#exclusive > 0) return null;
    const wanted = this.#headOfQueue > 0 ? TaskAttribute.HEAD_OF_QUEUE : TaskAttribute.SIMPLE;
    let best: Task | null = null;
    for (let task = this.first; task !== null; task = task.next) {
      const isWaiting = task.state === TaskState.AWAITING_TURN;
      if (task.attribute === wanted) {
        if (isWaiting && (best === null || rank(task) < rank(best))) best = task;
        if (best !== null && this.#prioritised === 0) break;
      } else if (task.attribute === TaskAttribute.ORDERED && this.#headOfQueue === 0) {
        if (isWaiting && task.previous === null) best = task;
        break;
      }
    }
    if (best === null) return null;
    best.state = TaskState.IDLE;
    this.#waiting--;
    if (best.isExclusive) this.#exclusive++;
    return best;
  }
}

/** Where a task stands among SIMPLE ones that might begin; HEAD OF QUEUE tasks go by their age alone. */
function rank(task: Task): number {
  return task.attribute === TaskAttribute.SIMPLE ? task.priority || NO_PRIORITY : 0;
}
