import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Sense } from './sense.js';
import { FakeTarget, fakeNexus, fakeUnit, senseText } from './testing/fake-task.js';
import { UnitAttentions } from './unit-attention.js';

const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const changed = senseText(Sense.CAPACITY_DATA_HAS_CHANGED);

describe('UnitAttentions', () => {
  const a = fakeNexus('a');
  const b = fakeNexus('b');

  test('each nexus hears every condition once, in order', () => {
    const attentions = new UnitAttentions();
    attentions.addNexus(a);
    attentions.addNexus(b);
    attentions.establishForAll(Sense.CAPACITY_DATA_HAS_CHANGED);
    attentions.establishForAll(Sense.CAPACITY_DATA_HAS_CHANGED);
    attentions.establishForAll(Sense.MODE_PARAMETERS_CHANGED, a);
    assert.equal(attentions.pending, 3);
    assert.equal(attentions.take(b), Sense.CAPACITY_DATA_HAS_CHANGED);
    assert.equal(attentions.take(b), Sense.MODE_PARAMETERS_CHANGED);
    assert.equal(attentions.take(b), null);
    assert.equal(attentions.take(a), Sense.CAPACITY_DATA_HAS_CHANGED);
    assert.equal(attentions.pending, 0);
  });

  test('a reset makes older news void', () => {
    const attentions = new UnitAttentions();
    attentions.addNexus(a);
    attentions.establish(a, Sense.MODE_PARAMETERS_CHANGED);
    attentions.establish(a, Sense.BUS_DEVICE_RESET_OCCURRED);
    assert.equal(attentions.pending, 1);
    assert.equal(attentions.take(a), Sense.BUS_DEVICE_RESET_OCCURRED);
  });

  test('a nexus that goes takes its conditions along', () => {
    const attentions = new UnitAttentions();
    attentions.addNexus(a);
    attentions.establishForAll(Sense.CAPACITY_DATA_HAS_CHANGED);
    attentions.removeNexus(a);
    assert.equal(attentions.pending, 0);
    assert.equal(attentions.peek(a), null);
  });
});

describe('unit attentions in the device server (SAM-5 5.14)', () => {
  const resized = () => {
    const target = new FakeTarget();
    target.unit.device.events!.resized();
    return target;
  };

  test('fail one command, then are gone', () => {
    const target = resized();
    assert.equal(target.run(TEST_UNIT_READY).outcome, changed);
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
  });

  test('pass INQUIRY and REPORT LUNS by, and stay', () => {
    const target = resized();
    assert.equal(target.run([0x12, 0, 0, 0, 96, 0]).outcome, 'GOOD');
    assert.equal(target.run([0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).outcome, 'GOOD');
    assert.equal(target.run(TEST_UNIT_READY).outcome, changed);
  });

  test('REQUEST SENSE returns them as data, in the format asked for', () => {
    for (const descriptor of [0, 1]) {
      const target = resized();
      const task = target.run([0x03, descriptor, 0, 0, 252, 0]);
      assert.equal(task.outcome, 'GOOD');
      const asc = task.dataIn.subarray(descriptor === 1 ? 2 : 12).subarray(0, 2);
      assert.deepEqual([task.dataIn[0], ...asc], [descriptor === 1 ? 0x72 : 0x70, 0x2a, 0x09]);
      assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    }
  });

  test('a new nexus has none', () => {
    const target = resized();
    const late = fakeNexus('late');
    target.unit.addNexus(late);
    assert.equal(target.run(TEST_UNIT_READY, { nexus: late }).outcome, 'GOOD');
  });

  test('a reservation conflict goes before all but a reset', () => {
    const target = new FakeTarget(fakeUnit());
    const other = fakeNexus('b');
    target.unit.addNexus(other);
    target.run([0x16, 0, 0, 0, 0, 0]);
    target.unit.unitAttentions.establish(other, Sense.MODE_PARAMETERS_CHANGED);
    assert.equal(target.run(TEST_UNIT_READY, { nexus: other }).outcome, 'RESERVATION_CONFLICT');
    target.unit.unitAttentions.establish(other, Sense.BUS_DEVICE_RESET_OCCURRED);
    assert.equal(
      target.run(TEST_UNIT_READY, { nexus: other }).outcome,
      senseText(Sense.BUS_DEVICE_RESET_OCCURRED),
    );
    assert.equal(target.run(TEST_UNIT_READY, { nexus: other }).outcome, 'RESERVATION_CONFLICT');
  });
});
