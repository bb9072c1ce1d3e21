import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Status } from './status.js';
import { TaskAttribute, TaskState } from './task.js';
import { cdb10 } from './testing/cdb.js';
import type { FakeTask } from './testing/fake-task.js';
import { slowTarget } from './testing/slow-device.js';

const { SIMPLE, ORDERED, HEAD_OF_QUEUE } = TaskAttribute;
const READ = cdb10(0x28, 0, 0, 1);
const SIZE = 1 << 20;

/** Tasks that are at the device, by their place in `tasks`. */
function running(tasks: FakeTask[]): number[] {
  return tasks.flatMap((task, i) => (task.state === TaskState.AWAITING_DEVICE ? [i] : []));
}

/** Let the device complete the operation of one task, whichever place it has in its queue. */
function complete(device: { pending: unknown[]; completeNext(): boolean }, task: FakeTask): void {
  const at = device.pending.indexOf(task);
  assert.ok(at >= 0, 'the task is not at the device');
  device.pending.unshift(...device.pending.splice(at, 1));
  device.completeNext();
}

function start(attributes: TaskAttribute[]) {
  const { target, device } = slowTarget({ size: SIZE });
  const tasks = attributes.map((attribute) => target.run(READ, { attribute }));
  return { target, device, tasks };
}

describe('the task set (SAM-5 8.9)', () => {
  test('SIMPLE tasks run side by side', () => {
    const { tasks } = start([SIMPLE, SIMPLE, SIMPLE]);
    assert.deepEqual(running(tasks), [0, 1, 2]);
  });

  test('an ORDERED task waits for all older ones, and younger SIMPLE ones for it', () => {
    const { device, tasks } = start([SIMPLE, SIMPLE, ORDERED, SIMPLE, SIMPLE]);
    assert.deepEqual(running(tasks), [0, 1]);
    complete(device, tasks[1]!);
    assert.deepEqual(running(tasks), [0]);
    complete(device, tasks[0]!);
    assert.deepEqual(running(tasks), [2]);
    complete(device, tasks[2]!);
    assert.deepEqual(running(tasks), [3, 4]);
  });

  test('ORDERED tasks run one after the other', () => {
    const { device, tasks } = start([ORDERED, ORDERED, ORDERED]);
    for (let i = 0; i < 3; i++) {
      assert.deepEqual(running(tasks), [i]);
      complete(device, tasks[i]!);
    }
  });

  test('a HEAD OF QUEUE task runs at once, and what has not started waits for it', () => {
    const { device, tasks } = start([SIMPLE, ORDERED, SIMPLE, HEAD_OF_QUEUE, SIMPLE]);
    assert.deepEqual(running(tasks), [0, 3]);
    complete(device, tasks[0]!);
    assert.deepEqual(running(tasks), [3]);
    complete(device, tasks[3]!);
    assert.deepEqual(running(tasks), [1]);
    complete(device, tasks[1]!);
    assert.deepEqual(running(tasks), [2, 4]);
  });

  test('SIMPLE tasks that may begin do so by their priority, and then by their age (SAM-5 8.7)', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const barrier = target.run(READ, { attribute: ORDERED });
    const priorities = [15, 0, 8, 1, 2, 1];
    const tasks = priorities.map((priority) => target.run(READ, { priority }));
    const behind = target.run(READ, { attribute: ORDERED });
    const last = target.run(READ, { priority: 1 });
    complete(device, barrier);
    assert.deepEqual(
      device.pending,
      [3, 5, 4, 1, 2, 0].map((i) => tasks[i]),
    );
    device.completeAll();
    assert.deepEqual(
      [...tasks, behind, last].map((task) => task.outcome),
      Array(8).fill('GOOD'),
    );
  });

  test('a HEAD OF QUEUE task needs no priority', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const barrier = target.run(READ, { attribute: ORDERED });
    const urgent = target.run(READ, { priority: 1 });
    const first = target.run(READ, { attribute: HEAD_OF_QUEUE, priority: 15 });
    complete(device, barrier);
    assert.deepEqual(device.pending, [first]);
    complete(device, first);
    assert.deepEqual(device.pending, [urgent]);
    device.completeAll();
  });

  test('whatever the mix, every task ends and the rules hold all the while', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(SIMPLE, ORDERED, HEAD_OF_QUEUE), { maxLength: 20 }),
        fc.infiniteStream(fc.nat()),
        (attributes, choices) => {
          const { target, device, tasks } = start(attributes);
          while (running(tasks).length > 0) {
            for (const i of running(tasks)) {
              const older = tasks.slice(0, i).filter((t) => t.ending === 'none');
              if (attributes[i] === ORDERED) {
                assert.deepEqual(
                  older.filter((t) => t.attribute !== HEAD_OF_QUEUE),
                  [],
                );
              } else if (attributes[i] === SIMPLE) {
                assert.ok(older.every((t) => t.attribute !== ORDERED));
              }
            }
            const candidates = running(tasks);
            complete(device, tasks[candidates[choices.next().value! % candidates.length]!]!);
          }
          assert.ok(tasks.every((task) => task.outcome === 'GOOD'));
          assert.equal(target.unit.taskSet.count, 0);
          assert.equal(target.unit.taskSet.first, null);
          assert.equal(target.unit.taskSet.hasWaiting, false);
        },
      ),
    );
  });

  test('many ORDERED tasks that end at once do not exhaust the stack', () => {
    const { target, device } = slowTarget({ size: SIZE }, true, { taskSetLimit: 30_000 });
    const tasks = Array.from({ length: 20_000 }, () => target.run(READ, { attribute: ORDERED }));
    device.defers = false;
    device.completeAll();
    assert.ok(tasks.every((task) => task.outcome === 'GOOD'));
  });

  test('a full task set says so', () => {
    const { target, device } = slowTarget({ size: SIZE }, true, { taskSetLimit: 2 });
    const tasks = [1, 2, 3].map(() => target.run(READ));
    assert.equal(tasks[2]!.scsiStatus, Status.TASK_SET_FULL);
    assert.equal(tasks[2]!.outcome, 'TASK_SET_FULL');
    device.completeAll();
    assert.equal(target.run([0, 0, 0, 0, 0, 0]).outcome, 'GOOD');
  });
});
