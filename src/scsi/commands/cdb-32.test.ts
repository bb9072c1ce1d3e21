/** The commands whose CDB has 32 bytes do what those of 16 do; what is their own is the CDB. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp } from '../../block/device.js';
import { MAXIMUM_TRANSFER_BYTES } from '../limits.js';
import { Sense } from '../sense.js';
import { cdb32 } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText, type FakeTask } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const READ = 0x09;
const VERIFY = 0x0a;
const WRITE = 0x0b;
const WRITE_AND_VERIFY = 0x0c;
const WRITE_SAME = 0x0d;
const ORWRITE = 0x0e;
const ALL = [READ, VERIFY, WRITE, WRITE_AND_VERIFY, WRITE_SAME, ORWRITE];
const BLOCKS = 2048;
const FUA = 0x08;

const pattern = (blocks: number, value: number): Buffer => Buffer.alloc(blocks * 512, value);

function pointer(task: FakeTask): [number, number] {
  assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
  return [task.sense.bytes.readUInt16BE(16), task.sense.bytes[15]! & 7];
}

test('they write, verify, combine and read', () => {
  const target = new FakeTarget();
  const run = (action: number, flags: number, blocks: number, dataOut?: Buffer): FakeTask =>
    target.run(cdb32(action, flags, BLOCKS - 4, blocks), { ...(dataOut && { dataOut }) });
  const medium = (): Buffer => run(READ, 0, 4).dataIn;

  assert.equal(run(WRITE, 0, 4, pattern(4, 0x0f)).outcome, 'GOOD');
  assert.ok(medium().equals(pattern(4, 0x0f)));
  assert.equal(run(VERIFY, 0x02, 4, pattern(4, 0x0f)).outcome, 'GOOD');
  assert.equal(run(VERIFY, 0x02, 4, pattern(4, 0)).outcome, senseText(Sense.MISCOMPARE_DURING_VERIFY));
  assert.equal(run(ORWRITE, 0, 4, pattern(4, 0xf0)).outcome, 'GOOD');
  assert.ok(medium().equals(pattern(4, 0xff)));
  assert.equal(run(WRITE_AND_VERIFY, 0x02, 4, pattern(4, 0x33)).outcome, 'GOOD');
  assert.ok(medium().equals(pattern(4, 0x33)));
  assert.equal(run(WRITE_SAME, 0, 4, pattern(1, 0x44)).outcome, 'GOOD');
  assert.ok(medium().equals(pattern(4, 0x44)));
  // UNMAP and NDOB.
  assert.equal(run(WRITE_SAME, 0x09, 4).outcome, 'GOOD');
  assert.ok(medium().equals(pattern(4, 0)));
});

test('FUA is obeyed', () => {
  const { target, device } = slowTarget({ size: 1 << 20 }, false);
  for (const action of [WRITE, ORWRITE]) {
    for (const flags of [0, FUA]) {
      device.submitted.length = 0;
      target.run(cdb32(action, flags, 0, 1), { dataOut: pattern(1, 1) });
      assert.equal(device.submitted.find((io) => io.op === BlockOp.WRITE)?.fua, flags === FUA);
    }
  }
});

describe('a field that is refused has a pointer at it', () => {
  const target = new FakeTarget(fakeUnit({ size: 32 << 20 }));
  for (const action of ALL) {
    const run = (change: (cdb: number[]) => void): FakeTask => {
      const cdb = cdb32(action, 0, 0, 1);
      change(cdb);
      return target.run(cdb, { dataOut: pattern(1, 0) });
    };
    test(`service action ${action}`, () => {
      const count = action === WRITE_SAME ? (16 << 20) / 512 : MAXIMUM_TRANSFER_BYTES / 512;
      assert.deepEqual(pointer(run((cdb) => (cdb[10] = 0x20))), [10, 5], 'protection');
      assert.deepEqual(
        pointer(run((cdb) => cdb.splice(28, 4, ...Buffer.from([0, 0, (count + 1) >> 8, 1])))),
        [28, 0],
      );
      assert.deepEqual(pointer(run((cdb) => (cdb[1] = 0x04))), [1, 2], 'NACA');
      assert.deepEqual(pointer(run((cdb) => (cdb[2] = 1))), [2, 0], 'reserved');
      for (const length of [0, 0x10, 0x17, 0x19, 0x58])
        assert.equal(pointer(run((cdb) => (cdb[7] = length)))[0], 7, `ADDITIONAL CDB LENGTH ${length}`);
    });
  }

  test('BYTCHK of VERIFY', () => {
    assert.deepEqual(pointer(target.run(cdb32(VERIFY, 0x04, 0, 1))), [10, 2]);
  });

  test('a service action that is not there', () => {
    for (const action of [0, 0x08, 0x0f, 0x1f, 0x20, 0x109, 0xffff])
      assert.deepEqual(pointer(target.run(cdb32(action, 0, 0, 1))), [8, 7]);
  });
});

test('the fields for protection information may hold anything', () => {
  const cdb = cdb32(READ, 0, 0, 1);
  for (let at = 20; at < 28; at++) cdb[at] = 0xff;
  assert.equal(new FakeTarget().run(cdb).outcome, 'GOOD');
});

test('a CDB that came without its end is refused, whatever the last command left there', () => {
  const target = new FakeTarget();
  for (const length of [16, 20, 31]) {
    const task = target.task(cdb32(WRITE, 0, 0, 1), { dataOut: pattern(1, 1) });
    task.cdbLength = length;
    target.unit.submit(task);
    assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(task.requests, 0);
  }
});

test('REPORT SUPPORTED OPERATION CODES tells of each, and does not list them', () => {
  const target = new FakeTarget();
  const all = target.run([0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0]).dataIn;
  for (let at = 4; at < all.length; at += 8) assert.notEqual(all[at], 0x7f);
  for (const action of ALL) {
    const one = target.run([0xa3, 0x0c, 2, 0x7f, 0, action, 0, 0, 0xff, 0xff, 0, 0]).dataIn;
    assert.deepEqual([...one.subarray(0, 4)], [0, 3, 0, 32]);
    assert.deepEqual([one[4], one[11], one.readUInt16BE(12)], [0x7f, 0x18, action]);
  }
});
