import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sense } from '../sense.js';
import { FakeTarget, fakeNexus, senseText } from '../testing/fake-task.js';

const RESERVE = [0x16, 0, 0, 0, 0, 0];
const RELEASE = [0x17, 0, 0, 0, 0, 0];
const MODE_SENSE = [0x1a, 0, 0x3f, 0, 255, 0];

test('RESERVE(6) and RELEASE(6) between two nexuses (SPC-2 5.5.1)', () => {
  const target = new FakeTarget();
  const nexus = fakeNexus('b');
  target.unit.addNexus(nexus);
  const mine = (cdb: number[]) => target.run(cdb).outcome;
  const theirs = (cdb: number[]) => target.run(cdb, { nexus }).outcome;

  assert.equal(mine(RESERVE), 'GOOD');
  assert.equal(mine(RESERVE), 'GOOD');
  assert.equal(theirs(RESERVE), 'RESERVATION_CONFLICT');
  assert.equal(theirs(RELEASE), 'GOOD');
  assert.equal(mine(MODE_SENSE), 'GOOD');
  assert.equal(theirs(MODE_SENSE), 'RESERVATION_CONFLICT');
  assert.equal(theirs([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), 'RESERVATION_CONFLICT');
  for (const allowed of [
    [0x12, 0, 0, 0, 96, 0],
    [0x03, 0, 0, 0, 18, 0],
    [0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0],
    [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  ]) {
    assert.equal(theirs(allowed), 'GOOD');
  }
  assert.equal(mine(RELEASE), 'GOOD');
  assert.equal(theirs(RESERVE), 'GOOD');
  assert.equal(mine(RESERVE), 'RESERVATION_CONFLICT');
  target.unit.removeNexus(nexus);
  assert.equal(mine(RESERVE), 'GOOD');
});

test('third-party and extent reservations are refused', () => {
  const target = new FakeTarget();
  for (const flags of [0x01, 0x10]) {
    assert.equal(target.run([0x16, flags, 0, 0, 0, 0]).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
  }
});
