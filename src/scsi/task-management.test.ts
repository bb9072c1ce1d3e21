import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deriveIdentity } from './identity.js';
import { LogicalUnitInventory } from './inventory.js';
import { LogicalUnit } from './logical-unit.js';
import { Sense } from './sense.js';
import {
  abortTask,
  abortTaskSet,
  clearTaskSet,
  logicalUnitReset,
  nexusReset,
  queryTask,
  queryTaskSet,
  targetReset,
} from './task-management.js';
import { TaskAttribute } from './task.js';
import { cdb10 } from './testing/cdb.js';
import { FakeTarget, fakeNexus, senseText } from './testing/fake-task.js';
import { SlowDevice } from './testing/slow-device.js';

const READ = cdb10(0x28, 0, 0, 1);
const WRITE = cdb10(0x2a, 0, 0, 1);
const BLOCK = Buffer.alloc(512, 'x');
const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];

/** A target of two units on slow devices, and two nexuses. */
function setUp(units = 1) {
  const inventory = new LogicalUnitInventory();
  const targets: FakeTarget[] = [];
  const devices: SlowDevice[] = [];
  for (let lun = 0; lun < units; lun++) {
    const device = new SlowDevice({ size: 1 << 20 });
    const identity = deriveIdentity({ targetName: 'iqn.2026-01.test:t', lun, image: `${lun}` });
    const unit = new LogicalUnit(device, { identity, removable: true });
    inventory.add(lun, unit);
    targets.push(new FakeTarget(unit));
    devices.push(device);
  }
  const other = fakeNexus('b');
  inventory.addNexus(other);
  for (const target of targets) inventory.addNexus(target.nexus);
  let calls = 0;
  const completed = () => {
    calls++;
  };
  const target = targets[0]!;
  return { inventory, targets, target, devices, device: devices[0]!, other, completed, calls: () => calls };
}

describe('ABORT TASK', () => {
  test('of a task that waits for its turn or for data is complete at once', () => {
    const { target, completed, calls } = setUp();
    const waiting = target.run(WRITE, { dataOut: BLOCK, holdsData: true });
    const queued = target.run(READ, { attribute: TaskAttribute.ORDERED });
    assert.equal(abortTask(target.unit, queued, completed), true);
    assert.equal(abortTask(target.unit, waiting, completed), true);
    assert.deepEqual([waiting.outcome, queued.outcome], ['ABORTED', 'ABORTED']);
    assert.equal(calls(), 0);
    assert.equal(target.unit.taskSet.count, 0);
  });

  test('of a task at the device is complete when the device lets go of its buffers', () => {
    const { target, device, completed, calls } = setUp();
    const task = target.run(READ);
    assert.equal(abortTask(target.unit, task, completed), false);
    assert.equal(abortTask(target.unit, task, completed), false);
    assert.deepEqual([task.outcome, calls()], ['NOT ENDED', 0]);
    device.completeAll();
    assert.deepEqual([task.outcome, calls()], ['ABORTED', 2]);
  });

  test('lets those run that waited for the task', () => {
    const { target, device, completed } = setUp();
    const ordered = target.run(WRITE, {
      attribute: TaskAttribute.ORDERED,
      dataOut: BLOCK,
      holdsData: true,
    });
    const simple = target.run(READ);
    assert.equal(device.pending.length, 0);
    abortTask(target.unit, ordered, completed);
    assert.deepEqual(device.pending, [simple]);
  });
});

test('ABORT TASK SET ends the tasks of one nexus, and none of them starts meanwhile', () => {
  const { target, device, other, completed } = setUp();
  const { unit, nexus } = target;
  const blocking = target.run(WRITE, {
    attribute: TaskAttribute.ORDERED,
    dataOut: BLOCK,
    holdsData: true,
  });
  const mine = target.run(READ);
  const theirs = target.run(READ, { nexus: other });
  assert.equal(abortTaskSet(unit, nexus, completed), true);
  assert.deepEqual([blocking.outcome, mine.outcome], ['ABORTED', 'ABORTED']);
  assert.deepEqual(device.pending, [theirs]);
});

describe('CLEAR TASK SET', () => {
  test('ends all tasks, and tells the nexuses that lost some', () => {
    const { target, device, other, completed, calls } = setUp();
    const idle = fakeNexus('idle');
    target.unit.addNexus(idle);
    const mine = target.run(READ);
    const theirs = target.run(READ, { nexus: other });
    assert.equal(clearTaskSet(target.unit, target.nexus, completed), false);
    device.completeNext();
    assert.equal(calls(), 0);
    device.completeNext();
    assert.equal(calls(), 1);
    assert.deepEqual([mine.outcome, theirs.outcome], ['ABORTED', 'ABORTED']);
    const cleared = senseText(Sense.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR);
    assert.equal(target.run(TEST_UNIT_READY, { nexus: other }).outcome, cleared);
    assert.equal(target.run(TEST_UNIT_READY, { nexus: idle }).outcome, 'GOOD');
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
  });

  test('ends the tasks of others with TASK ABORTED instead when TAS is set', () => {
    const { target, device, other, completed } = setUp();
    target.unit.modePages.find(0x0a)!.current[5] = 0x40;
    target.unit.modePages.applied();
    const mine = target.run(READ);
    const theirs = target.run(READ, { nexus: other });
    clearTaskSet(target.unit, target.nexus, completed);
    device.completeAll();
    assert.deepEqual([mine.outcome, theirs.outcome], ['ABORTED', 'TASK_ABORTED']);
    assert.equal(target.run(TEST_UNIT_READY, { nexus: other }).outcome, 'GOOD');
  });
});

describe('resets', () => {
  test('LOGICAL UNIT RESET ends tasks, reservation, prevention and mode parameters, and all nexuses hear of it', () => {
    const { target, device, other, completed, calls } = setUp();
    const { unit } = target;
    unit.reservations.reserve(other);
    unit.medium.prevent(other);
    unit.modePages.find(0x0a)!.current[2] = 0x04;
    unit.modePages.applied();
    const task = target.run(READ, { nexus: other });
    assert.equal(logicalUnitReset(unit, target.nexus, completed), false);
    device.completeAll();
    assert.deepEqual([task.outcome, calls()], ['ABORTED', 1]);
    assert.equal(unit.reservations.holder, null);
    assert.equal(unit.medium.isRemovalPrevented, false);
    assert.equal(unit.modePages.descriptorSense, false);
    for (const nexus of [target.nexus, other]) {
      const outcome = senseText(Sense.BUS_DEVICE_RESET_OCCURRED);
      assert.equal(target.run(TEST_UNIT_READY, { nexus }).outcome, outcome);
      assert.equal(target.run(TEST_UNIT_READY, { nexus }).outcome, 'GOOD');
    }
  });

  test('a target reset waits for the tasks of all units', () => {
    const { inventory, targets, devices, other, completed, calls } = setUp(3);
    const tasks = targets.map((target) => target.run(READ, { nexus: other }));
    assert.equal(targetReset(inventory, other, completed), false);
    for (const device of devices) {
      assert.equal(calls(), 0);
      device.completeAll();
    }
    assert.equal(calls(), 1);
    assert.ok(tasks.every((task) => task.outcome === 'ABORTED'));
    for (const target of targets) {
      const outcome = senseText(Sense.POWER_ON_OR_RESET_OCCURRED);
      assert.equal(target.run(TEST_UNIT_READY, { nexus: other }).outcome, outcome);
    }
    assert.equal(targetReset(inventory, other, completed), true);
    assert.equal(calls(), 1);
  });

  test('I_T NEXUS RESET touches one nexus only', () => {
    const { inventory, target, device, other, completed, calls } = setUp();
    target.unit.reservations.reserve(other);
    target.unit.medium.prevent(target.nexus);
    const mine = target.run(READ, { nexus: other });
    const theirs = target.run([0x12, 0, 0, 0, 96, 0]);
    assert.equal(nexusReset(inventory, other, completed), false);
    device.completeAll();
    assert.deepEqual([mine.outcome, theirs.outcome, calls()], ['ABORTED', 'GOOD', 1]);
    assert.equal(target.unit.reservations.holder, null);
    assert.equal(target.unit.medium.isRemovalPrevented, true);
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    const lost = senseText(Sense.I_T_NEXUS_LOSS_OCCURRED);
    assert.equal(target.run(TEST_UNIT_READY, { nexus: other }).outcome, lost);
  });
});

test('QUERY TASK and QUERY TASK SET', () => {
  const { target, device, other } = setUp();
  const task = target.run(READ);
  assert.deepEqual([queryTask(target.unit, task), queryTaskSet(target.unit, target.nexus)], [true, true]);
  assert.equal(queryTaskSet(target.unit, other), false);
  device.completeAll();
  assert.deepEqual([queryTask(target.unit, task), queryTaskSet(target.unit, target.nexus)], [false, false]);
});
