import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decodeLun, encodeLun, LogicalUnitInventory, MappedUnits, MAX_LUN } from './inventory.js';
import { Sense } from './sense.js';
import { targetReset } from './task-management.js';
import { FakeTarget, fakeNexus, fakeUnit, senseText } from './testing/fake-task.js';

const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const reportLuns = (select: number, length = 0x1000) => [
  0xa0,
  0,
  select,
  0,
  0,
  0,
  0,
  0,
  length >>> 8,
  length & 0xff,
];

/** A target with units at `luns`, seen through the first. */
function setUp(luns: number[]) {
  const inventory = new LogicalUnitInventory();
  for (const lun of luns) inventory.add(lun, fakeUnit());
  const target = new FakeTarget(inventory.get(luns[0]!));
  inventory.addNexus(target.nexus);
  const runAt = (lun: number, cdb: readonly number[]) => {
    const task = target.task(cdb);
    inventory.route(lun).submit(task);
    return task;
  };
  return { inventory, target, runAt };
}

describe('REPORT LUNS (SPC-4 6.33)', () => {
  test('lists the units in order, in the addressing that their number needs', () => {
    const { target } = setUp([0, 300, 7]);
    const task = target.run(reportLuns(0));
    const luns = '0000000000000000' + '0007000000000000' + '412c000000000000';
    assert.equal(task.dataIn.toString('hex'), '0000001800000000' + luns);
    assert.deepEqual(target.run(reportLuns(2)).dataIn, task.dataIn);
    assert.equal(target.run(reportLuns(1)).dataIn.toString('hex'), '0000000000000000');
  });

  test('cuts to the allocation length, which is at least 16', () => {
    const { target } = setUp([0, 1]);
    const cut = target.run(reportLuns(0, 16));
    assert.deepEqual([cut.dataIn.length, cut.dataIn.readUInt32BE(0)], [16, 16]);
    assert.equal(target.run(reportLuns(0, 15)).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(target.run(reportLuns(3)).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
  });

  test('tells what REPORTED LUNS DATA HAS CHANGED is about, for all units', () => {
    const { inventory, target, runAt } = setUp([0, 1]);
    inventory.add(2, fakeUnit());
    const changed = senseText(Sense.REPORTED_LUNS_DATA_HAS_CHANGED);
    assert.equal(runAt(0, TEST_UNIT_READY).outcome, changed);
    target.run(reportLuns(0));
    assert.equal(runAt(1, TEST_UNIT_READY).outcome, 'GOOD');
    assert.equal(runAt(2, TEST_UNIT_READY).outcome, 'GOOD');
    inventory.remove(1);
    assert.equal(runAt(2, TEST_UNIT_READY).outcome, changed);
  });
});

describe('a LUN without a logical unit (SPC-4 5.11)', () => {
  test('answers INQUIRY with qualifier 3 and type 1Fh', () => {
    const { runAt } = setUp([0]);
    const task = runAt(5, [0x12, 0, 0, 0, 255, 0]);
    assert.equal(task.outcome, 'GOOD');
    assert.equal(task.dataIn[0], 0x7f);
    assert.equal(task.dataIn.length, task.dataIn[4]! + 5);
    assert.equal(runAt(5, [0x12, 1, 0, 0, 255, 0]).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
  });

  test('answers REPORT LUNS with the list of the target', () => {
    const { runAt } = setUp([3]);
    assert.equal(runAt(0, reportLuns(0)).dataIn.toString('hex'), '00000008000000000003000000000000');
  });

  test('answers REQUEST SENSE with data, and everything else with sense', () => {
    const { runAt } = setUp([0]);
    const sense = runAt(5, [0x03, 0, 0, 0, 18, 0]);
    assert.equal(sense.outcome, 'GOOD');
    assert.equal(sense.dataIn[12], 0x25);
    const unsupported = senseText(Sense.LOGICAL_UNIT_NOT_SUPPORTED);
    for (const cdb of [TEST_UNIT_READY, [0x28], [0xff]]) assert.equal(runAt(-1, cdb).outcome, unsupported);
  });
});

describe('the inventory', () => {
  test('makes nexuses known to units that come later, and forgets them', () => {
    const { inventory, target } = setUp([0]);
    const late = fakeUnit();
    inventory.add(1, late);
    assert.ok(late.nexuses.has(target.nexus));
    inventory.removeNexus(target.nexus);
    assert.equal(late.nexuses.size, 0);
    inventory.add(2, fakeUnit());
    assert.equal(inventory.get(2)!.nexuses.size, 0);
  });

  test('refuses a LUN that is taken or out of range', () => {
    const { inventory } = setUp([0]);
    assert.throws(() => inventory.add(0, fakeUnit()), /taken/);
    assert.throws(() => inventory.add(MAX_LUN + 1, fakeUnit()), /not in/);
    inventory.remove(9);
    assert.deepEqual(inventory.luns, [0]);
  });

  test('nexuses are told apart by identity', () => {
    const { inventory, target } = setUp([0]);
    const twin = fakeNexus('a');
    inventory.addNexus(twin);
    inventory.removeNexus(twin);
    assert.ok(inventory.nexuses.has(target.nexus));
  });
});

describe('a view of a part of the inventory', () => {
  /** Units at LUN 0 to 3, and a nexus that sees the one at 2 as 0, at 3 as 5, and one that is not there as 6. */
  function setUpView() {
    const inventory = new LogicalUnitInventory();
    for (let lun = 0; lun < 4; lun++) inventory.add(lun, fakeUnit());
    const view = new MappedUnits(
      inventory,
      new Map([
        [5, 3],
        [0, 2],
        [6, 9],
      ]),
    );
    const nexus = { ...fakeNexus('b'), view };
    inventory.addNexus(nexus);
    const target = new FakeTarget(inventory.get(2));
    const runAt = (lun: number, cdb: readonly number[]) => {
      const task = target.task(cdb, { nexus });
      view.route(lun).submit(task);
      return task;
    };
    return { inventory, view, nexus, runAt };
  }
  const changed = senseText(Sense.REPORTED_LUNS_DATA_HAS_CHANGED);
  const unsupported = senseText(Sense.LOGICAL_UNIT_NOT_SUPPORTED);

  test('routes to the units that are mapped, and to no other', () => {
    const { inventory, view, runAt } = setUpView();
    assert.equal(view.get(0), inventory.get(2));
    assert.equal(view.get(5), inventory.get(3));
    for (const lun of [1, 2, 3, 6, 9, -1]) {
      assert.equal(view.get(lun), undefined);
      assert.equal(runAt(lun, TEST_UNIT_READY).outcome, unsupported);
    }
    assert.equal(runAt(5, TEST_UNIT_READY).outcome, 'GOOD');
  });

  test('REPORT LUNS lists what is seen, through a unit and where there is none', () => {
    const { view, runAt } = setUpView();
    assert.deepEqual(view.luns, [0, 5]);
    const listed = '0000001000000000' + '0000000000000000' + '0005000000000000';
    assert.equal(runAt(5, reportLuns(0)).dataIn.toString('hex'), listed);
    assert.equal(runAt(1, reportLuns(0)).dataIn.toString('hex'), listed);
  });

  test('only the units that are seen know the nexus', () => {
    const { inventory, nexus } = setUpView();
    const known = () => inventory.luns.filter((lun) => inventory.get(lun)!.nexuses.has(nexus));
    assert.deepEqual(known(), [2, 3]);
    inventory.add(9, fakeUnit());
    inventory.add(10, fakeUnit());
    assert.deepEqual(known(), [2, 3, 9]);
    inventory.removeNexus(nexus);
    assert.deepEqual(known(), []);
  });

  test('what is hidden comes and goes unheard; what is seen does not', () => {
    const { inventory, view, runAt } = setUpView();
    inventory.add(10, fakeUnit());
    inventory.remove(0);
    assert.equal(runAt(0, TEST_UNIT_READY).outcome, 'GOOD');
    inventory.add(9, fakeUnit());
    assert.deepEqual(view.luns, [0, 5, 6]);
    assert.equal(runAt(0, TEST_UNIT_READY).outcome, changed);
    assert.equal(runAt(6, TEST_UNIT_READY).outcome, 'GOOD');
    runAt(0, reportLuns(0));
    assert.equal(runAt(5, TEST_UNIT_READY).outcome, 'GOOD', 'the list was read');
    inventory.remove(3);
    assert.equal(runAt(0, TEST_UNIT_READY).outcome, changed);
    assert.equal(runAt(5, TEST_UNIT_READY).outcome, unsupported);
  });

  test('a reset of the target reaches what is seen', () => {
    const { inventory, view, nexus } = setUpView();
    const other = fakeNexus('c');
    inventory.addNexus(other);
    assert.ok(targetReset(view, nexus, () => undefined));
    const told = inventory.luns.filter((lun) => inventory.get(lun)!.unitAttentions.peek(other) !== null);
    assert.deepEqual(told, [2, 3]);
  });
});

describe('LUN fields (SAM-5 4.7.7)', () => {
  test('every LUN survives the way there and back', () => {
    fc.assert(
      fc.property(fc.nat(MAX_LUN), (lun) => {
        const bytes = Buffer.alloc(10, 0xff);
        encodeLun(lun, bytes, 1);
        assert.equal(decodeLun(bytes, 1), lun);
        assert.deepEqual([bytes[0], bytes[9]], [0xff, 0xff]);
      }),
    );
  });

  test('both methods mean the same low LUN; others mean none', () => {
    assert.equal(decodeLun(Buffer.from('4001000000000000', 'hex'), 0), 1);
    for (const hex of ['0100000000000000', '8001000000000000', 'c101000000000000', '0001000100000000']) {
      assert.equal(decodeLun(Buffer.from(hex, 'hex'), 0), -1, hex);
    }
  });
});
