import assert from 'node:assert/strict';
import { it } from 'node:test';
import { TaskTable } from './task-table.js';
import { RecordedTask } from './testing/fake-datamover.js';

it('gives tags that find their task, with bit 31 clear, and none of an earlier one', () => {
  const table = new TaskTable();
  const seen = new Set<number>();
  const task = new RecordedTask();
  for (let life = 0; life < 0x8000; life++) {
    table.add(task);
    const tag = task.initiatorTaskTag;
    assert.ok(tag >= 0 && tag < 0x8000_0000 && !seen.has(tag));
    seen.add(tag);
    assert.equal(table.find(tag), task);
    assert.equal(table.find(tag + 1), null);
    assert.equal(table.find(tag + 0x8000_0000), null);
    table.remove(task);
    assert.equal(table.find(tag), null);
  }
});

it('has room for 65536 tasks', () => {
  const table = new TaskTable();
  const tasks = Array.from({ length: 65536 }, () => new RecordedTask());
  for (const task of tasks) table.add(task);
  assert.equal(table.count, 65536);
  assert.equal(new Set(tasks.map(({ initiatorTaskTag }) => initiatorTaskTag)).size, 65536);
  table.remove(tasks[99]!);
  assert.equal(table.count, 65535);
  assert.equal(table.all().length, 65535);
  for (const tag of [0, 0xffff_ffff, 0x7fff_ffff, 0xffff]) assert.equal(table.find(tag) === null, true);
});
