import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FakeCopies } from '../testing/fake-copies.js';
import { FakeTarget } from '../testing/fake-task.js';

const INQUIRY = [0x12, 0, 0, 2, 0, 0];
const page = (code: number): number[] => [0x12, 1, code, 2, 0, 0];

/** Descriptors by type. */
function descriptors(data: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  assert.equal(data.readUInt16BE(2), data.length - 4);
  for (let at = 4; at < data.length;) {
    const length = data.readUInt16BE(at + 2);
    assert.equal(length % 4, 0);
    found.set(data.readUInt16BE(at), data.subarray(at, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

test('a copy manager is told by 3PC, by page 8Fh, and by the operating parameters', () => {
  const target = new FakeCopies().add();
  assert.equal(target.start(INQUIRY).dataIn[5]! & 0x08, 0x08);
  assert.ok(target.start(page(0x00)).dataIn.subarray(4).includes(0x8f));
  const found = descriptors(target.start(page(0x8f)).dataIn);
  assert.deepEqual([...found.keys()], [0x0000, 0x0001, 0x0004, 0x0008, 0x000c, 0x0106, 0x0108, 0x8001]);
  assert.deepEqual(
    [...found.get(0x0001)!.subarray(4, 18)],
    [13, 0x83, 4, 0x00, 0x10, 0x11, 0x1c, 0x84, 5, 0x00, 0x03, 0x04, 0x05, 0x07],
  );
  assert.deepEqual([...found.get(0x0008)!.subarray(4, 7)], [2, 0x02, 0xe4]);
  assert.equal(found.get(0x0000)!.readUInt16BE(10), 64);
  assert.equal(found.get(0x0108)!.readUInt32BE(8), 0x0080_0001);
  const parameters = target.start([0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]).dataIn;
  assert.equal(parameters.readUInt32BE(0), parameters.length - 4);
  const [of8f, ofCommand] = [found.get(0x0004)!.subarray(8, 16), parameters.subarray(8, 16)];
  assert.deepEqual(of8f, ofCommand);
  assert.deepEqual([...parameters.subarray(43)], [2, 0x02, 0xe4]);
});

test('without one there is none of it', () => {
  const target = new FakeTarget();
  assert.equal(target.run(INQUIRY).dataIn[5], 0);
  assert.ok(!target.run(page(0x00)).dataIn.subarray(4).includes(0x8f));
  assert.match(target.run(page(0x8f)).outcome, /invalid field in CDB/);
  assert.match(target.run([0x83, 0]).outcome, /invalid command operation code/);
});
