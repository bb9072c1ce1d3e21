import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RiserError } from '../util/errors.js';
import { ClientTask, type TaskPath } from './task.js';

/** A path that notes what it is asked for, and carries nothing. */
class FakePath implements TaskPath {
  submissions = 0;
  readonly delays: number[] = [];
  unitAttentions = 0;
  submit(task: ClientTask): void {
    task.abortError = null;
    this.submissions++;
  }
  submitLater(_task: ClientTask, delayMs: number): void {
    this.delays.push(delayMs);
  }
  cancel(): void {
    throw new Error('nobody cancels here');
  }
  unitAttention(): void {
    this.unitAttentions++;
  }
  hasOtherWay = false;
  accessRefused(): boolean {
    return this.hasOtherWay;
  }
}

class Task extends ClientTask {
  completions = 0;
  protected override completed(): void {
    this.completions++;
  }
  begin(): void {
    this.renew();
  }
}

const lost = new RiserError('CONNECTION_LOST', 'gone', { by: 'peer', costs: 'connection' });
const GIVEN_UP = new RiserError('ABORTED', 'enough', { by: 'local', costs: 'task' });

function start(isIdempotent = true): { task: Task; path: FakePath } {
  const path = new FakePath();
  const task = new Task(path);
  task.isIdempotent = isIdempotent;
  path.submit(task);
  task.wasSent = true;
  return { task, path };
}

/** End the task's attempt with a status, and sense data of the fixed format. */
function end(task: Task, status: number, key = 0, code = 0): void {
  task.error = null;
  task.status = status;
  task.sense.fill(0);
  task.sense[0] = 0x70;
  task.sense[2] = key;
  task.sense[12] = code >> 8;
  task.sense[13] = code & 0xff;
  task.senseLength = status === 2 ? 18 : 0;
  task.done();
}

function lose(task: Task): void {
  task.error = lost;
  task.done();
}

describe('a lost connection', () => {
  it('sends again what may be carried out twice, and what was not sent', () => {
    for (const [isIdempotent, wasSent] of [
      [true, true],
      [true, false],
      [false, false],
    ] as const) {
      const { task, path } = start(isIdempotent);
      task.wasSent = wasSent;
      lose(task);
      assert.deepEqual([path.submissions, task.completions], [2, 0]);
    }
  });

  it('ends what may not be repeated, with an outcome that is not known', () => {
    const { task, path } = start(false);
    lose(task);
    assert.deepEqual([path.submissions, task.completions], [1, 1]);
    assert.equal(task.error?.code, 'OUTCOME_UNKNOWN');
    assert.equal(task.error.cause, lost);
  });

  it('ends any command that has lost ten of them; the next starts afresh', () => {
    const { task, path } = start();
    for (let i = 0; i < 10; i++) lose(task);
    assert.deepEqual([path.submissions, task.completions, task.error?.code], [10, 1, 'CONNECTION_LOST']);
    task.begin();
    path.submit(task);
    lose(task);
    assert.equal(task.completions, 1);
  });
});

it('an error that is none of the connection is an outcome', () => {
  for (const code of ['TASK_TIMEOUT', 'REJECTED', 'TARGET_FAILURE', 'ABORTED']) {
    const { task, path } = start();
    task.error = new RiserError(code, code, { by: 'peer', costs: 'task' });
    task.done();
    assert.deepEqual([path.submissions, task.completions, task.error.code], [1, 1, code]);
  }
});

it('unit attentions are passed over at once, whatever the command, but not without end', () => {
  const { task, path } = start(false);
  for (let i = 0; i < 17; i++) end(task, 2, 6, 0x2900);
  assert.deepEqual([path.submissions, path.unitAttentions, path.delays.length], [17, 16, 0]);
  assert.deepEqual([task.completions, task.status], [1, 2]);
});

it('a busy target is asked again after growing pauses, for a minute or so', () => {
  for (const status of [0x08, 0x28]) {
    const { task, path } = start(false);
    while (task.completions === 0) end(task, status);
    assert.equal(task.status, status);
    assert.deepEqual(path.delays.slice(0, 4), [10, 20, 40, 80]);
    assert.equal(Math.max(...path.delays), 2000);
    const total = path.delays.reduce((sum, delay) => sum + delay, 0);
    assert.ok(total > 45_000 && total < 90_000, `${total} ms`);
  }
});

for (const [what, status, key, code, isForAll] of [
  ['ABORTED COMMAND', 2, 0x0b, 0x4700, false],
  ['TASK ABORTED', 0x40, 0, 0, false],
  ['a unit that is becoming ready', 2, 2, 0x0401, true],
] as const) {
  it(`${what} is tried again a few times${isForAll ? '' : ', if it may be'}`, () => {
    const { task, path } = start();
    while (task.completions === 0) end(task, status, key, code);
    assert.equal(path.delays.length, 10);
    const other = start(false);
    end(other.task, status, key, code);
    assert.equal(other.path.delays.length, isForAll ? 1 : 0);
  });
}

it('a target port that gives no access is tried again if there is another way, or it is in transition', () => {
  for (const [code, withoutOtherWay] of [
    [0x040a, 36],
    [0x040b, 0],
    [0x040c, 0],
  ] as const) {
    for (const hasOtherWay of [false, true]) {
      const { task, path } = start(false);
      path.hasOtherWay = hasOtherWay;
      while (task.completions === 0) end(task, 2, 2, code);
      assert.equal(path.delays.length, hasOtherWay ? 36 : withoutOtherWay);
    }
  }
});

it('everything else is an outcome', () => {
  for (const [status, key, code] of [
    [0, 0, 0],
    [2, 2, 0x3a00],
    [2, 3, 0x1100],
    [2, 5, 0x2400],
    [0x18, 0, 0],
    [0x55, 0, 0],
  ] as const) {
    const { task, path } = start();
    end(task, status, key, code);
    assert.deepEqual([path.submissions, path.delays.length, task.completions], [1, 0, 1]);
  }
  const { task } = start();
  task.status = 2;
  task.senseLength = 0;
  task.done();
  assert.equal(task.completions, 1, 'CHECK CONDITION without sense data');
});

it('what was given up is not tried again', () => {
  for (const [status, key, code] of [
    [0x08, 0, 0],
    [2, 6, 0x2900],
    [2, 0x0b, 0],
  ] as const) {
    const { task, path } = start();
    task.abortError = GIVEN_UP;
    end(task, status, key, code);
    assert.deepEqual([path.submissions, path.delays.length, task.completions], [1, 0, 1]);
    assert.equal(task.error, GIVEN_UP);
  }
});
