import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { Sense } from '../sense.js';
import { cdb10, cdb32 } from '../testing/cdb.js';
import { FakeTarget, fakeNexus, fakeUnit, senseText } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const READ = cdb10(0x28, 0, 0, 1);
const noMedium = senseText(Sense.MEDIUM_NOT_PRESENT);
const prevented = senseText(Sense.MEDIUM_REMOVAL_PREVENTED);
const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);
const startStop = (flags: number, immediate = 0) => [0x1b, immediate, 0, 0, flags, 0];
const preventAllow = (prevent: number) => [0x1e, 0, 0, 0, prevent, 0];
const STOP = startStop(0);
const START = startStop(1);
const EJECT = startStop(2);
const LOAD = startStop(3);

describe('READ CAPACITY (SBC-3 5.15, 5.16)', () => {
  const capacity16 = (length: number) => [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];

  test('10 bytes: last block and block length', () => {
    const data = new FakeTarget(fakeUnit({ blockSize: 4096 })).run([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]).dataIn;
    assert.equal(data.toString('hex'), '000000ff' + '00001000');
  });

  test('10 bytes: all ones when the disk is larger than it can say', () => {
    const just = new FakeTarget(fakeUnit({ size: 2 ** 32 * 512 }));
    const over = new FakeTarget(fakeUnit({ size: (2 ** 32 + 1) * 512 }));
    for (const target of [just, over]) {
      assert.equal(target.run([0x25]).dataIn.toString('hex', 0, 4), 'ffffffff');
    }
    assert.equal(over.run(capacity16(32)).dataIn.toString('hex', 0, 8), '0000000100000000');
  });

  test('16 bytes: provisioning, and any allocation length', () => {
    const thin = new FakeTarget();
    const whole = '00000000000007ff' + '00000200' + '0000c000' + '00'.repeat(16);
    assert.equal(thin.run(capacity16(255)).dataIn.toString('hex'), whole);
    const full = new FakeTarget(fakeUnit({ provisioning: 'full' }));
    assert.equal(full.run(capacity16(32)).dataIn[14], 0);
    for (let length = 0; length <= 16; length++) {
      assert.equal(thin.run(capacity16(length)).dataIn.toString('hex'), whole.slice(0, 2 * length));
    }
  });

  test('the obsolete fields are refused', () => {
    const target = new FakeTarget();
    assert.equal(target.run([0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0]).outcome, invalidField);
    assert.equal(target.run([0x25, 0, 0, 0, 0, 0, 0, 0, 1, 0]).outcome, invalidField);
  });
});

describe('REQUEST SENSE', () => {
  test('tells the state of the unit', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    assert.equal(target.run([0x03, 0, 0, 0, 252, 0]).dataIn.toString('hex', 0, 3), '700000');
    target.run(EJECT);
    const { dataIn } = target.run([0x03, 1, 0, 0, 252, 0]);
    assert.equal(dataIn.toString('hex'), '72023a0000000000');
  });
});

describe('START STOP UNIT (SBC-3 5.25)', () => {
  test('ejects and loads a removable medium, any number of times', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    for (const cdb of [EJECT, EJECT, startStop(2, 1)]) {
      assert.equal(target.run(cdb).outcome, 'GOOD');
      assert.equal(target.run(TEST_UNIT_READY).outcome, noMedium);
      assert.equal(target.run(READ).outcome, noMedium);
    }
    assert.equal(target.run([0x12, 0, 0, 0, 96, 0]).outcome, 'GOOD');
    for (const cdb of [LOAD, LOAD]) {
      assert.equal(target.run(cdb).outcome, 'GOOD');
      assert.equal(target.run(READ).outcome, 'GOOD');
    }
  });

  test('no command that needs the medium runs without it', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    target.run(EJECT);
    const withoutMedium = new Set([
      0x03, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x1e, 0x4c, 0x4d, 0x55, 0x5a, 0x5e, 0x5f, 0xa0, 0xa3,
    ]);
    for (const { name, opcode, serviceAction } of target.unit.operations.operations) {
      const cdb = opcode === 0x7f ? cdb32(serviceAction!, 0, 0, 0) : [opcode, serviceAction ?? 0];
      const { outcome } = target.run(cdb);
      assert.equal(outcome === noMedium, !withoutMedium.has(opcode), name);
    }
  });

  test('other nexuses learn of a loaded medium', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    const nexus = fakeNexus('b');
    target.unit.addNexus(nexus);
    target.run(LOAD);
    assert.equal(target.run(TEST_UNIT_READY, { nexus }).outcome, 'GOOD', 'it was in already');
    target.run(EJECT);
    target.run(LOAD);
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    const changed = senseText(Sense.MEDIUM_MAY_HAVE_CHANGED);
    assert.equal(target.run(TEST_UNIT_READY, { nexus }).outcome, changed);
  });

  test('LOEJ is refused where the medium is not removable', () => {
    const target = new FakeTarget();
    const task = target.run(EJECT);
    assert.equal(task.outcome, invalidField);
    assert.equal(task.sense.bytes.toString('hex', 15, 18), 'c90004');
  });

  test('stopping and power conditions leave the unit ready', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    const powerConditions = Array.from({ length: 15 }, (_, i) => startStop(((i + 1) << 4) | 2, 1));
    for (const cdb of [STOP, START, startStop(4), startStop(5), ...powerConditions]) {
      assert.equal(target.run(cdb).outcome, 'GOOD');
      assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    }
  });

  test('a stop flushes, unless told not to', () => {
    const { target, device } = slowTarget({ size: 1 << 20 }, false, { removable: true });
    for (const cdb of [START, LOAD, startStop(4), startStop(6), LOAD]) target.run(cdb);
    assert.equal(device.submitted.length, 0);
    for (const cdb of [STOP, EJECT]) target.run(cdb);
    assert.deepEqual(
      device.submitted.map((io) => io.op),
      [BlockOp.FLUSH, BlockOp.FLUSH],
    );
  });

  test('a medium that cannot be flushed stays in', () => {
    const { target, device } = slowTarget({ size: 1 << 20 }, false, { removable: true });
    device.fault = () => BlockStatus.MEDIUM_ERROR;
    assert.equal(target.run(EJECT).outcome, senseText(Sense.WRITE_ERROR));
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
  });
});

describe('PREVENT ALLOW MEDIUM REMOVAL (SPC-4 6.15)', () => {
  test('one nexus prevents for all, until it allows or is lost', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    const nexus = fakeNexus('b');
    target.unit.addNexus(nexus);
    target.run(preventAllow(1));
    target.run(preventAllow(1), { nexus });
    assert.equal(target.run(EJECT).outcome, prevented);
    assert.equal(target.run(EJECT, { nexus }).outcome, prevented);
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    target.run(preventAllow(0));
    assert.equal(target.run(EJECT).outcome, prevented);
    target.unit.removeNexus(nexus);
    assert.equal(target.run(EJECT).outcome, 'GOOD');
    target.run(preventAllow(1));
    assert.equal(target.run(LOAD).outcome, prevented);
  });

  test('obsolete values, and units without a removable medium', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    assert.equal(target.run(preventAllow(2)).outcome, invalidField);
    const fixed = new FakeTarget().run(preventAllow(1));
    assert.equal(fixed.outcome, senseText(Sense.INVALID_COMMAND_OPERATION_CODE));
  });
});
