import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { InitiatorTask } from './task.js';
import { TaskQueue } from './task-queue.js';

class Task extends InitiatorTask {
  override done(): void {
    throw new Error('a queue ends no task');
  }
}

function filled(length: number): { queue: TaskQueue; tasks: Task[] } {
  const queue = new TaskQueue();
  const tasks = Array.from({ length }, () => new Task());
  for (const task of tasks) queue.push(task);
  return { queue, tasks };
}

describe('task queue', () => {
  it('gives tasks in order, and takes others when it was empty', () => {
    const { queue, tasks } = filled(3);
    for (let round = 0; round < 2; round++) {
      for (const task of tasks) assert.equal(queue.shift(), task);
      assert.equal(queue.first, null);
      for (const task of tasks) queue.push(task);
    }
  });

  for (const at of [0, 1, 2]) {
    it(`lets go of a task at place ${at} of three`, () => {
      const { queue, tasks } = filled(3);
      const [removed] = tasks.splice(at, 1);
      queue.remove(removed!);
      assert.equal(removed!.nextQueued, null);
      queue.push(removed!);
      assert.deepEqual(queue.takeAll(), [...tasks, removed]);
    });
  }

  it('is empty without its only task', () => {
    const { queue, tasks } = filled(1);
    queue.remove(tasks[0]!);
    assert.deepEqual(queue.takeAll(), []);
    queue.push(tasks[0]!);
    assert.equal(queue.shift(), tasks[0]);
  });
});
