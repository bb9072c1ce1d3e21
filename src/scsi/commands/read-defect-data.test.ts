import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sense } from '../sense.js';
import { FakeTarget, senseText } from '../testing/fake-task.js';

const read10 = (asked: number, length: number): number[] => [0x37, 0, asked, 0, 0, 0, 0, 0, length, 0];
const read12 = (asked: number, length: number): number[] => [0xb7, asked, 0, 0, 0, 9, 0, 0, 0, length, 0, 0];

test('the lists that are asked for are empty, in the format that is asked for', () => {
  const target = new FakeTarget();
  for (const asked of [0x00, 0x08, 0x10, 0x1b, 0x05]) {
    assert.deepEqual([...target.run(read10(asked, 32)).dataIn], [0, asked, 0, 0]);
    assert.deepEqual([...target.run(read12(asked, 32)).dataIn], [0, asked, 0, 0, 0, 0, 0, 0]);
  }
  assert.deepEqual([...target.run(read12(0x18, 2)).dataIn], [0, 0x18]);
});

test('the reserved format is refused with a pointer at it', () => {
  const target = new FakeTarget();
  for (const [cdb, byte] of [
    [read10(0x0f, 8), 2],
    [read12(0x07, 8), 1],
  ] as const) {
    const task = target.run(cdb);
    assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.deepEqual([...task.sense.bytes.subarray(15, 18)], [0xca, 0, byte]);
  }
});
