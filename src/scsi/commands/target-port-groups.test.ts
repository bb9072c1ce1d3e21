import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { MemoryDevice } from '../../block/memory.js';
import { deriveIdentity } from '../identity.js';
import { LogicalUnitInventory } from '../inventory.js';
import { LogicalUnit } from '../logical-unit.js';
import type { Nexus } from '../nexus.js';
import { Sense, type SenseCode } from '../sense.js';
import { AccessState, type AsymmetricAccessOptions, TargetPortGroups } from '../target-port-groups.js';
import { cdb10 } from '../testing/cdb.js';
import { FakeTarget, fakeNexus, fakeUnit, type FakeTask, senseText } from '../testing/fake-task.js';

const { ACTIVE_OPTIMIZED, ACTIVE_NON_OPTIMIZED, STANDBY, UNAVAILABLE, OFFLINE, TRANSITIONING } = AccessState;

/** Group 7 with the ports 1 and 3, group 8 with port 2. */
const OPTIONS: AsymmetricAccessOptions = {
  groups: [
    { id: 7, ports: [1, 3], preferred: true },
    { id: 8, ports: [2], state: ACTIVE_NON_OPTIMIZED },
  ],
  explicit: true,
  transitionTime: 42,
};

const report = (format = 0, length = 0xffff): number[] => [
  ...[0xa3, (format << 5) | 0x0a, 0, 0, 0, 0],
  ...[0, 0, length >>> 8, length & 0xff, 0, 0],
];
const set = (length: number): number[] => [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, length >>> 8, length & 0xff, 0, 0];
const list = (...descriptors: readonly (readonly [state: number, id: number])[]): Buffer =>
  Buffer.from([0, 0, 0, 0, ...descriptors.flatMap(([state, id]) => [state, 0, id >>> 8, id & 0xff])]);
const inquiry = (page: number | null): number[] => [0x12, page === null ? 0 : 1, page ?? 0, 0, 255, 0];

describe('asymmetric logical unit access (SPC-4 5.15)', () => {
  let groups: TargetPortGroups;
  let target: FakeTarget;
  /** By the ports 1 and 2. */
  let a: Nexus;
  let b: Nexus;

  function serve(options: AsymmetricAccessOptions = OPTIONS): void {
    groups = new TargetPortGroups(options);
    target = new FakeTarget(fakeUnit({ targetPortGroups: groups }));
    a = target.nexus;
    b = fakeNexus('b', 2);
    target.unit.addNexus(b);
  }
  beforeEach(() => {
    serve();
  });

  const setStates = (nexus: Nexus, ...descriptors: readonly (readonly [number, number])[]): FakeTask => {
    const dataOut = list(...descriptors);
    return target.run(set(dataOut.length), { nexus, dataOut });
  };

  describe('who has none configured', () => {
    test('reports TPGS 0, has neither command, and every port is a group of its own', () => {
      const plain = new FakeTarget();
      assert.equal(plain.run(inquiry(null)).dataIn[5], 0);
      assert.equal(plain.run(report()).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
      assert.equal(plain.run(set(0)).outcome, senseText(Sense.INVALID_COMMAND_OPERATION_CODE));
      const page = plain.run(inquiry(0x83), { nexus: fakeNexus('c', 5) }).dataIn.toString('hex');
      assert.ok(page.includes('5194000400000005' + '5195000400000005'), page);
      assert.ok(!page.includes('01060004'), page);
    });
  });

  test('TPGS of INQUIRY tells who changes states', () => {
    assert.equal(target.run(inquiry(null)).dataIn[5], 0x30);
    serve({ ...OPTIONS, explicit: false });
    assert.equal(target.run(inquiry(null)).dataIn[5], 0x10);
    assert.equal(target.run(set(0)).outcome, senseText(Sense.INVALID_COMMAND_OPERATION_CODE));
  });

  test('page 83h has the group of the port that asks, and the logical unit group', () => {
    const designators = (nexus: Nexus): string => target.run(inquiry(0x83), { nexus }).dataIn.toString('hex');
    for (const [nexus, port, group] of [
      [a, '0001', '0007'],
      [b, '0002', '0008'],
      [fakeNexus('c', 3), '0003', '0007'],
    ] as const) {
      const page = designators(nexus);
      assert.ok(page.includes(`519400040000${port}`), page);
      assert.ok(page.includes(`519500040000${group}`), page);
      assert.ok(page.includes('0106000400000001'), page);
    }
  });

  describe('REPORT TARGET PORT GROUPS (SPC-4 6.37)', () => {
    const DESCRIPTORS =
      '80cf0007' + '00000002' + '00000001' + '00000003' + '01cf0008' + '00000001' + '00000002';

    test('with the length only header', () => {
      assert.equal(target.run(report()).dataIn.toString('hex'), '0000001c' + DESCRIPTORS);
    });

    test('with the extended header, which has the implicit transition time', () => {
      assert.equal(target.run(report(1)).dataIn.toString('hex'), '00000020' + '102a0000' + DESCRIPTORS);
    });

    test('there is no other format', () => {
      for (let format = 2; format < 8; format++) {
        const task = target.run(report(format));
        assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
        assert.equal(task.sense.bytes.toString('hex', 15, 18), 'cf0001');
      }
    });

    test('is cut to the allocation length, with the whole length in the header', () => {
      const whole = target.run(report()).dataIn;
      for (const length of [0, 3, 4, 8, 31, 32]) {
        assert.deepEqual(target.run(report(0, length)).dataIn, whole.subarray(0, length));
      }
    });

    test('is told to everybody, whoever has reserved', () => {
      assert.equal(target.run([0x16, 0, 0, 0, 0, 0], { nexus: a }).outcome, 'GOOD');
      assert.equal(target.run(report(), { nexus: b }).outcome, 'GOOD');
      assert.equal(target.run(set(0), { nexus: b }).outcome, 'RESERVATION_CONFLICT');
    });

    test('tells how a group came into its state', () => {
      setStates(a, [STANDBY, 8], [ACTIVE_OPTIMIZED, 7]);
      const explicit = target.run(report()).dataIn;
      assert.deepEqual([explicit[4], explicit[9]], [0x80, 0], 'not altered');
      assert.deepEqual([explicit[20], explicit[25]], [STANDBY, 1], 'altered by SET TARGET PORT GROUPS');
      groups.change(new Map([[8, OFFLINE]]), 2);
      groups.prefer(8, true);
      const implicit = target.run(report()).dataIn;
      assert.deepEqual([implicit[20], implicit[25]], [0x80 | OFFLINE, 2], 'altered implicitly');
    });
  });

  describe('SET TARGET PORT GROUPS (SPC-4 6.45)', () => {
    const states = (): AccessState[] => groups.groups.map(({ state }) => state);

    test('changes several groups at once', () => {
      assert.equal(setStates(a, [UNAVAILABLE, 7], [ACTIVE_OPTIMIZED, 8]).outcome, 'GOOD');
      assert.deepEqual(states(), [UNAVAILABLE, ACTIVE_OPTIMIZED]);
    });

    test('a list of length 0, and one without descriptors, change nothing', () => {
      assert.equal(target.run(set(0)).outcome, 'GOOD');
      assert.equal(setStates(a).outcome, 'GOOD');
      assert.deepEqual(states(), [ACTIVE_OPTIMIZED, ACTIVE_NON_OPTIMIZED]);
    });

    test('a list that ends within its header or a descriptor is refused', () => {
      for (const length of [1, 3, 5, 7, 11]) {
        const task = target.run(set(length), { dataOut: Buffer.alloc(length) });
        assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB), `${length} bytes`);
      }
    });

    test('a wrong descriptor is pointed at, and nothing of the list is done', () => {
      const refused: readonly (readonly [readonly [number, number], string])[] = [
        [[TRANSITIONING, 7], '8b0008'],
        [[OFFLINE, 7], '8b0008'],
        [[4, 7], '8b0008'],
        [[STANDBY, 9], '80000a'],
        [[STANDBY, 8], '80000a'],
      ];
      for (const [descriptor, pointer] of refused) {
        const task = setStates(a, [STANDBY, 8], descriptor);
        assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST));
        assert.equal(task.sense.bytes.toString('hex', 15, 18), pointer);
      }
      assert.deepEqual(states(), [ACTIVE_OPTIMIZED, ACTIVE_NON_OPTIMIZED]);
    });

    test('a group that the administrator has taken offline, or that is transitioning, stays so', () => {
      for (const state of [OFFLINE, TRANSITIONING]) {
        groups.change(new Map([[8, state]]), 2);
        const task = setStates(a, [ACTIVE_OPTIMIZED, 8]);
        assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST));
        assert.equal(states()[1], state);
      }
    });

    test('tells all nexuses of all units, but for the unit of the nexus that asked', () => {
      const other = new LogicalUnit(new MemoryDevice({ size: 1 << 20, blockSize: 512 }), {
        identity: deriveIdentity({ targetName: 'iqn.2026-01.test:disk', lun: 1, image: 'other' }),
        targetPortGroups: groups,
      });
      const inventory = new LogicalUnitInventory();
      inventory.add(0, target.unit);
      inventory.add(1, other);
      inventory.addNexus(a);
      inventory.addNexus(b);
      setStates(a, [STANDBY, 7]);
      const pending = (unit: LogicalUnit, nexus: Nexus): SenseCode | null => unit.unitAttentions.peek(nexus);
      const changed = Sense.ASYMMETRIC_ACCESS_STATE_CHANGED;
      assert.deepEqual([pending(target.unit, a), pending(target.unit, b)], [null, changed]);
      assert.deepEqual([pending(other, a), pending(other, b)], [changed, changed]);
      target.unit.unitAttentions.take(b);
      setStates(a, [STANDBY, 7]);
      assert.equal(pending(target.unit, b), null, 'nothing has changed');
    });
  });

  describe('what each state lets through', () => {
    const readCapacity16 = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    const COMMANDS: readonly (readonly [name: string, cdb: readonly number[], limit: AccessState])[] = [
      ['INQUIRY', inquiry(null), TRANSITIONING],
      ['REPORT LUNS', [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], TRANSITIONING],
      ['REQUEST SENSE', [0x03, 0, 0, 0, 18, 0], TRANSITIONING],
      ['REPORT TARGET PORT GROUPS', report(), TRANSITIONING],
      ['SET TARGET PORT GROUPS', set(0), UNAVAILABLE],
      ['MODE SENSE(6)', [0x1a, 0, 0x3f, 0, 255, 0], STANDBY],
      ['MODE SENSE(10)', [0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255, 0], STANDBY],
      ['LOG SENSE', [0x4d, 0, 0x59, 0, 0, 0, 0, 0, 255, 0], STANDBY],
      ['LOG SELECT', [0x4c, 0, 0, 0, 0, 0, 0, 0, 0, 0], STANDBY],
      ['REPORT REFERRALS', [0x9e, 0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], STANDBY],
      ['READ CAPACITY(10)', [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], STANDBY],
      ['READ CAPACITY(16)', readCapacity16, STANDBY],
      ['PERSISTENT RESERVE IN', [0x5e, 0, 0, 0, 0, 0, 0, 0, 255, 0], STANDBY],
      ['REPORT SUPPORTED OPERATION CODES', [0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0], STANDBY],
      ['TEST UNIT READY', [0, 0, 0, 0, 0, 0], ACTIVE_NON_OPTIMIZED],
      ['READ(10)', cdb10(0x28, 0, 0, 1), ACTIVE_NON_OPTIMIZED],
      ['WRITE(10)', cdb10(0x2a, 0, 0, 0), ACTIVE_NON_OPTIMIZED],
      ['SYNCHRONIZE CACHE(10)', cdb10(0x35, 0, 0, 0), ACTIVE_NON_OPTIMIZED],
      ['START STOP UNIT', [0x1b, 0, 0, 0, 1, 0], ACTIVE_NON_OPTIMIZED],
      ['RESERVE(6)', [0x16, 0, 0, 0, 0, 0], ACTIVE_NON_OPTIMIZED],
    ];
    for (const [state, sense] of [
      [ACTIVE_OPTIMIZED, null],
      [ACTIVE_NON_OPTIMIZED, null],
      [STANDBY, Sense.TARGET_PORT_IN_STANDBY_STATE],
      [UNAVAILABLE, Sense.TARGET_PORT_IN_UNAVAILABLE_STATE],
      [TRANSITIONING, Sense.ASYMMETRIC_ACCESS_STATE_TRANSITION],
    ] as const) {
      test(`state ${state}`, () => {
        groups.change(new Map([[8, state]]), 2);
        for (const [name, cdb, limit] of COMMANDS) {
          const expected = sense === null || limit >= state ? 'GOOD' : senseText(sense);
          assert.equal(target.run(cdb, { nexus: b }).outcome, expected, name);
        }
      });
    }

    test('by a port of another group everything goes on', () => {
      groups.change(new Map([[8, UNAVAILABLE]]), 2);
      for (const [name, cdb] of COMMANDS.slice(0, -1))
        assert.equal(target.run(cdb, { nexus: a }).outcome, 'GOOD', name);
    });

    test('REQUEST SENSE tells what TEST UNIT READY would', () => {
      groups.change(new Map([[8, STANDBY]]), 2);
      const sense = target.run([0x03, 0, 0, 0, 18, 0], { nexus: b }).dataIn;
      assert.deepEqual([sense[2], sense[12], sense[13]], [2, 0x04, 0x0b]);
      assert.equal(target.run([0x03, 0, 0, 0, 18, 0], { nexus: a }).dataIn[2], 0);
    });

    test('what has begun is finished, and what waits for its turn meets the state of then', () => {
      const write = target.run(cdb10(0x2a, 0, 0, 1), {
        nexus: b,
        dataOut: Buffer.alloc(512, 1),
        holdsData: true,
      });
      const waiting = target.task(cdb10(0x28, 0, 0, 1), { nexus: b, attribute: 1 });
      target.unit.submit(waiting);
      groups.change(new Map([[8, STANDBY]]), 2);
      write.deliver();
      assert.equal(write.outcome, 'GOOD');
      assert.equal(waiting.outcome, senseText(Sense.TARGET_PORT_IN_STANDBY_STATE));
    });
  });
});
