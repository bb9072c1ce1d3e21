import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Sense } from '../sense.js';
import { AccessState, TargetPortGroups } from '../target-port-groups.js';
import { cdb16 } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText } from '../testing/fake-task.js';

const { ACTIVE_NON_OPTIMIZED, STANDBY, UNAVAILABLE, TRANSITIONING } = AccessState;
const inquiry = (page: number): number[] => [0x12, 1, page, 0, 255, 0];
const report = (lba = 0, length = 256, flags = 0): number[] => {
  const cdb = cdb16(0x9e, 0x13, lba, length);
  cdb[14] = flags;
  return cdb;
};

/** With the groups 7 (active/optimized) and 8 (active/non-optimized), and others that do not lead to the data. */
function serve(): FakeTarget {
  const targetPortGroups = new TargetPortGroups({
    groups: [
      { id: 7, ports: [1] },
      { id: 8, ports: [2], state: ACTIVE_NON_OPTIMIZED },
      { id: 9, ports: [3], state: STANDBY },
      { id: 10, ports: [4], state: UNAVAILABLE },
      { id: 0x1234, ports: [5], state: TRANSITIONING },
    ],
  });
  return new FakeTarget(fakeUnit({ targetPortGroups }));
}

describe('REPORT REFERRALS (SBC-3)', () => {
  const SEGMENT = '00000003' + '0000000000000000' + '00000000000007ff';
  const GROUPS = '00000007' + '01000008' + '0f001234';

  test('tells of one segment, the whole unit, and the groups that lead there', () => {
    const target = serve();
    for (const cdb of [report(), report(2047), report(5, 256, 1)])
      assert.equal(target.run(cdb).dataIn.toString('hex'), '00000020' + SEGMENT + GROUPS);
    assert.equal(target.run(report(0, 20)).dataIn.length, 20);
  });

  test('is announced by R_SUP and page B3h', () => {
    const target = serve();
    assert.equal(target.run(inquiry(0x86)).dataIn[8], 0x10);
    assert.equal(target.run(inquiry(0)).dataIn.at(-1), 0xb3);
    assert.equal(target.run(inquiry(0xb3)).dataIn.toString('hex'), '00b3000c' + '00'.repeat(12));
  });

  test('refuses an address behind the medium, and bits that it has not', () => {
    assert.equal(serve().run(report(2048)).outcome, senseText(Sense.LBA_OUT_OF_RANGE));
    const task = serve().run(report(0, 256, 2));
    assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(task.sense.bytes.toString('hex', 15, 18), 'c9000e');
  });

  test('without target port groups there is none of it', () => {
    const target = new FakeTarget();
    assert.equal(target.run(inquiry(0x86)).dataIn[8], 0);
    assert.equal(target.run(inquiry(0xb3)).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(target.run(report()).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
  });
});
