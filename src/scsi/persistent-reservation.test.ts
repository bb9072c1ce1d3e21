import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type { Nexus } from './nexus.js';
import { ReservationType } from './persistent-reservation.js';
import { Sense } from './sense.js';
import { cdb10 } from './testing/cdb.js';
import type { ReservationStore, SavedReservations } from './reservation-store.js';
import { FakeTarget, fakeNexus, fakeUnit, senseText } from './testing/fake-task.js';
import {
  readKeys,
  readReservation,
  reserveIn,
  type ReserveOut,
  reserveOut,
  ServiceAction,
} from './testing/persistent-reserve.js';

const {
  WRITE_EXCLUSIVE,
  EXCLUSIVE_ACCESS,
  WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
  EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
  WRITE_EXCLUSIVE_ALL_REGISTRANTS,
  EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
} = ReservationType;
const { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE } = ServiceAction;
const CONFLICT = 'RESERVATION_CONFLICT';
const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const READ = cdb10(0x28, 0, 0, 1);
const WRITE = cdb10(0x2a, 0, 0, 1);
const BLOCK = Buffer.alloc(512, 0x5a);

describe('persistent reservations (SPC-4 5.13)', () => {
  let target: FakeTarget;
  let a: Nexus;
  const b = fakeNexus('b');
  const c = fakeNexus('c');

  beforeEach(() => {
    target = new FakeTarget();
    a = target.nexus;
    target.unit.addNexus(b);
    target.unit.addNexus(c);
  });

  const out = (nexus: Nexus, serviceAction: number, parameters: ReserveOut): string =>
    reserveOut(target, nexus, serviceAction, parameters).outcome;
  const register = (nexus: Nexus, newKey: number): void =>
    assert.equal(out(nexus, REGISTER_AND_IGNORE, { newKey }), 'GOOD');
  const read = (nexus: Nexus): string => target.run(READ, { nexus }).outcome;
  const write = (nexus: Nexus): string => target.run(WRITE, { nexus, dataOut: BLOCK }).outcome;
  const news = (nexus: Nexus): string => target.run(TEST_UNIT_READY, { nexus }).outcome;

  test('REGISTER: the key has to be right, 0 unregisters, and every change counts', () => {
    assert.equal(out(a, REGISTER, { key: 7, newKey: 1 }), CONFLICT);
    assert.equal(out(a, REGISTER, { newKey: 1 }), 'GOOD');
    assert.deepEqual(readKeys(target), { generation: 1, keys: ['1'] });
    assert.equal(out(a, REGISTER, { newKey: 2 }), CONFLICT);
    assert.equal(out(a, REGISTER, { key: 1, newKey: 2 }), 'GOOD');
    assert.equal(out(b, REGISTER_AND_IGNORE, { key: 99, newKey: 0xb }), 'GOOD');
    assert.deepEqual(readKeys(target), { generation: 3, keys: ['2', 'b'] });
    assert.equal(out(a, REGISTER, { key: 2 }), 'GOOD');
    assert.equal(out(c, REGISTER, {}), 'GOOD');
    assert.deepEqual(readKeys(target), { generation: 4, keys: ['b'] });
  });

  test('who is not registered, or has another key, can do nothing else', () => {
    register(b, 0xb);
    for (const action of [RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT]) {
      assert.equal(out(a, action, { newKey: 0xb, type: WRITE_EXCLUSIVE }), CONFLICT);
      assert.equal(out(b, action, { key: 1, newKey: 0xb, type: WRITE_EXCLUSIVE }), CONFLICT);
    }
    assert.deepEqual(readKeys(target), { generation: 1, keys: ['b'] });
  });

  const may = (reads: boolean, writes: boolean) => [reads ? 'GOOD' : CONFLICT, writes ? 'GOOD' : CONFLICT];
  const cases = [
    { type: WRITE_EXCLUSIVE, registered: may(true, false), others: may(true, false) },
    { type: EXCLUSIVE_ACCESS, registered: may(false, false), others: may(false, false) },
    { type: WRITE_EXCLUSIVE_REGISTRANTS_ONLY, registered: may(true, true), others: may(true, false) },
    { type: EXCLUSIVE_ACCESS_REGISTRANTS_ONLY, registered: may(true, true), others: may(false, false) },
    { type: WRITE_EXCLUSIVE_ALL_REGISTRANTS, registered: may(true, true), others: may(true, false) },
    { type: EXCLUSIVE_ACCESS_ALL_REGISTRANTS, registered: may(true, true), others: may(false, false) },
  ];
  for (const { type, registered, others } of cases) {
    test(`type ${type}: who may read and write`, () => {
      register(a, 0xa);
      register(b, 0xb);
      assert.equal(out(a, RESERVE, { key: 0xa, type }), 'GOOD');
      assert.equal(out(a, RESERVE, { key: 0xa, type }), 'GOOD');
      assert.deepEqual([read(a), write(a)], may(true, true));
      assert.deepEqual([read(b), write(b)], registered);
      assert.deepEqual([read(c), write(c)], others);
      for (const nexus of [a, b, c]) assert.equal(news(nexus), 'GOOD');
      const isOfAll = type >= WRITE_EXCLUSIVE_ALL_REGISTRANTS;
      assert.deepEqual(readReservation(target), { key: isOfAll ? '0' : 'a', type });
      const another = type === WRITE_EXCLUSIVE ? EXCLUSIVE_ACCESS : WRITE_EXCLUSIVE;
      assert.equal(out(a, RESERVE, { key: 0xa, type: another }), CONFLICT);
      assert.equal(out(b, RESERVE, { key: 0xb, type }), isOfAll ? 'GOOD' : CONFLICT);
      assert.equal(
        out(a, RELEASE, { key: 0xa, type: another }),
        senseText(Sense.INVALID_RELEASE_OF_PERSISTENT_RESERVATION),
      );
      assert.equal(out(a, RELEASE, { key: 0xa, type }), 'GOOD');
      assert.equal(readReservation(target), null);
      const isNews = type !== WRITE_EXCLUSIVE && type !== EXCLUSIVE_ACCESS;
      assert.equal(news(b), isNews ? senseText(Sense.RESERVATIONS_RELEASED) : 'GOOD');
      assert.equal(news(a), 'GOOD');
      assert.equal(news(c), 'GOOD');
    });
  }

  test('RELEASE by who holds nothing changes nothing', () => {
    register(a, 0xa);
    register(b, 0xb);
    assert.equal(out(a, RESERVE, { key: 0xa, type: EXCLUSIVE_ACCESS }), 'GOOD');
    assert.equal(out(b, RELEASE, { key: 0xb, type: WRITE_EXCLUSIVE }), 'GOOD');
    assert.deepEqual(readReservation(target), { key: 'a', type: EXCLUSIVE_ACCESS });
  });

  test('a reservation goes when its holder unregisters, and that of all with the last of them', () => {
    for (const type of [WRITE_EXCLUSIVE_REGISTRANTS_ONLY, EXCLUSIVE_ACCESS_ALL_REGISTRANTS]) {
      register(a, 0xa);
      register(b, 0xb);
      assert.equal(out(a, RESERVE, { key: 0xa, type }), 'GOOD');
      register(a, 0);
      const isOfAll = type === EXCLUSIVE_ACCESS_ALL_REGISTRANTS;
      assert.equal(news(b), isOfAll ? 'GOOD' : senseText(Sense.RESERVATIONS_RELEASED));
      assert.equal(readReservation(target) !== null, isOfAll);
      register(b, 0);
      assert.equal(readReservation(target), null);
      assert.equal(write(c), 'GOOD');
    }
  });

  test('loss of the nexus and resets leave it alone', () => {
    register(a, 0xa);
    assert.equal(out(a, RESERVE, { key: 0xa, type: EXCLUSIVE_ACCESS }), 'GOOD');
    target.unit.removeNexus(a);
    target.unit.reset();
    assert.equal(read(b), CONFLICT);
    target.unit.addNexus(a);
    assert.equal(write(a), 'GOOD');
  });

  test('CLEAR', () => {
    for (const [nexus, key] of [[a, 0xa] as const, [b, 0xb] as const]) register(nexus, key);
    assert.equal(out(a, RESERVE, { key: 0xa, type: EXCLUSIVE_ACCESS }), 'GOOD');
    assert.equal(out(b, CLEAR, { key: 0xb }), 'GOOD');
    assert.equal(news(a), senseText(Sense.RESERVATIONS_PREEMPTED));
    assert.deepEqual(readKeys(target), { generation: 3, keys: [] });
    assert.equal(readReservation(target), null);
    assert.deepEqual([news(b), news(c)], ['GOOD', 'GOOD']);
  });

  describe('PREEMPT', () => {
    beforeEach(() => {
      register(a, 0xa);
      register(b, 0xb);
      register(c, 0xc);
    });

    test('the holder: its reservation is taken over with the new type', () => {
      assert.equal(out(a, RESERVE, { key: 0xa, type: WRITE_EXCLUSIVE }), 'GOOD');
      assert.equal(out(b, PREEMPT, { key: 0xb, newKey: 0xa }), senseText(Sense.INVALID_FIELD_IN_CDB));
      assert.equal(out(b, PREEMPT, { key: 0xb, newKey: 0xa, type: EXCLUSIVE_ACCESS }), 'GOOD');
      assert.equal(read(a), CONFLICT);
      assert.equal(news(a), senseText(Sense.REGISTRATIONS_PREEMPTED));
      assert.deepEqual(readReservation(target), { key: 'b', type: EXCLUSIVE_ACCESS });
      assert.deepEqual(readKeys(target), { generation: 4, keys: ['b', 'c'] });
      assert.equal(news(c), senseText(Sense.RESERVATIONS_RELEASED));
      assert.equal(news(b), 'GOOD');
    });

    test('somebody else: only the registration goes; nobody: a conflict', () => {
      assert.equal(out(a, RESERVE, { key: 0xa, type: WRITE_EXCLUSIVE }), 'GOOD');
      assert.equal(out(b, PREEMPT, { key: 0xb, newKey: 0xc, type: EXCLUSIVE_ACCESS }), 'GOOD');
      assert.deepEqual(readReservation(target), { key: 'a', type: WRITE_EXCLUSIVE });
      assert.deepEqual(readKeys(target).keys, ['a', 'b']);
      assert.equal(out(b, PREEMPT, { key: 0xb, newKey: 0x99, type: EXCLUSIVE_ACCESS }), CONFLICT);
      assert.equal(
        out(b, PREEMPT, { key: 0xb, newKey: 0, type: EXCLUSIVE_ACCESS }),
        senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST),
      );
    });

    test('by the holder itself: the type changes at once', () => {
      assert.equal(out(a, RESERVE, { key: 0xa, type: WRITE_EXCLUSIVE }), 'GOOD');
      assert.equal(out(a, PREEMPT, { key: 0xa, newKey: 0xa, type: EXCLUSIVE_ACCESS }), 'GOOD');
      assert.deepEqual(readReservation(target), { key: 'a', type: EXCLUSIVE_ACCESS });
      assert.deepEqual(readKeys(target).keys, ['a', 'b', 'c']);
    });

    test('of all registrants: key 0 for the reservation and all others, another for some of them', () => {
      const type = WRITE_EXCLUSIVE_ALL_REGISTRANTS;
      assert.equal(out(a, RESERVE, { key: 0xa, type }), 'GOOD');
      assert.equal(out(b, PREEMPT, { key: 0xb, newKey: 0xa, type: EXCLUSIVE_ACCESS }), 'GOOD');
      assert.equal(news(a), senseText(Sense.REGISTRATIONS_PREEMPTED));
      assert.deepEqual(readReservation(target), { key: '0', type });
      assert.deepEqual(readKeys(target).keys, ['b', 'c']);
      assert.equal(out(b, PREEMPT, { key: 0xb, newKey: 0, type: EXCLUSIVE_ACCESS }), 'GOOD');
      assert.deepEqual(readReservation(target), { key: 'b', type: EXCLUSIVE_ACCESS });
      assert.deepEqual(readKeys(target).keys, ['b']);
    });

    test('PREEMPT AND ABORT ends the tasks of whom it is about, and no others', () => {
      const held = (nexus: Nexus) => target.run(WRITE, { nexus, dataOut: BLOCK, holdsData: true });
      const [ofA, ofB, ofC] = [held(a), held(b), held(c)];
      assert.equal(out(b, PREEMPT_AND_ABORT, { key: 0xb, newKey: 0xa, type: WRITE_EXCLUSIVE }), 'GOOD');
      assert.deepEqual([ofA.outcome, ofB.outcome, ofC.outcome], ['ABORTED', 'NOT ENDED', 'NOT ENDED']);
      assert.equal(news(a), senseText(Sense.REGISTRATIONS_PREEMPTED));
      assert.equal(news(a), senseText(Sense.COMMANDS_CLEARED_BY_ANOTHER_INITIATOR));
      assert.deepEqual([news(b), news(c)], ['GOOD', 'GOOD']);
    });
  });

  test('RESERVE(6) and persistent reservations keep each other out (SPC-2 5.5.1)', () => {
    const RESERVE_6 = [0x16, 0, 0, 0, 0, 0];
    const RELEASE_6 = [0x17, 0, 0, 0, 0, 0];
    assert.equal(target.run(RESERVE_6).outcome, 'GOOD');
    assert.equal(out(a, REGISTER, { newKey: 1 }), CONFLICT);
    assert.equal(target.run([0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0]).outcome, CONFLICT);
    assert.equal(target.run(RELEASE_6).outcome, 'GOOD');
    register(a, 1);
    assert.equal(target.run(RESERVE_6).outcome, CONFLICT);
    assert.equal(target.run(RELEASE_6).outcome, CONFLICT);
  });

  test('START STOP UNIT and PREVENT ALLOW: only what changes nothing for others (SPC-4 table 60, SBC-3 table 13)', () => {
    register(a, 1);
    assert.equal(out(a, RESERVE, { key: 1, type: WRITE_EXCLUSIVE }), 'GOOD');
    assert.equal(target.run([0x1b, 0, 0, 0, 1, 0], { nexus: b }).outcome, 'GOOD');
    assert.equal(target.run([0x1b, 0, 0, 0, 0, 0], { nexus: b }).outcome, CONFLICT);
    assert.equal(target.run([0x1b, 0, 0, 0, 0, 0]).outcome, 'GOOD');
  });

  test('READ FULL STATUS tells who is who', () => {
    register(a, 0xa);
    assert.equal(out(b, REGISTER, { newKey: 0xb, flags: 4 }), 'GOOD');
    assert.equal(out(a, RESERVE, { key: 0xa, type: WRITE_EXCLUSIVE }), 'GOOD');
    const data = reserveIn(target, 3);
    assert.equal(data.readUInt32BE(4), data.length - 8);
    const first = data.subarray(8);
    assert.deepEqual([first.readBigUInt64BE(0), first[12], first[13]], [0xan, 1, WRITE_EXCLUSIVE]);
    assert.equal(first.readUInt16BE(18), a.relativeTargetPort);
    const length = first.readUInt32BE(20);
    assert.equal(first[24], 0x45);
    assert.equal(first.toString('utf8', 28, 24 + length).replace(/\0+$/, ''), a.initiatorPort);
    const second = first.subarray(24 + length);
    assert.deepEqual([second.readBigUInt64BE(0), second[12], second[13]], [0xbn, 2, 0]);
  });

  test('ALL_TG_PT registers for every target port, and takes the place of what was for one', () => {
    const elsewhere = { ...b, relativeTargetPort: 2 };
    target.unit.addNexus(elsewhere);
    register(b, 0xb);
    assert.equal(out(b, RESERVE, { key: 0xb, type: WRITE_EXCLUSIVE }), 'GOOD');
    assert.equal(write(elsewhere), CONFLICT);
    assert.equal(out(elsewhere, REGISTER, { newKey: 0xbb, flags: 4 }), 'GOOD');
    assert.deepEqual(readKeys(target).keys, ['bb']);
    assert.deepEqual([write(b), write(elsewhere), write(a)], ['GOOD', 'GOOD', CONFLICT]);
  });

  test('REPORT CAPABILITIES', () => {
    assert.equal(reserveIn(target, 2).toString('hex'), '00080c90ea010000');
  });

  describe('over the loss of power (APTPL)', () => {
    /** Keeps what it is given in the end, once it is let. */
    class SlowStore implements ReservationStore {
      kept: SavedReservations | null = null;
      asked: (SavedReservations | null)[] = [];
      ends: ((cause: Error | null) => void)[] = [];

      keep(reservations: SavedReservations | null, kept: (cause: Error | null) => void): void {
        this.asked.push(reservations);
        this.ends.push(kept);
      }
    }

    const APTPL = 1;
    const restarted = (store: SlowStore): FakeTarget => {
      const after = new SlowStore();
      after.kept = store.asked.at(-1) ?? null;
      return new FakeTarget(fakeUnit({ reservationStore: after }));
    };
    let store: SlowStore;

    beforeEach(() => {
      store = new SlowStore();
      target = new FakeTarget(fakeUnit({ reservationStore: store }));
      a = target.nexus;
      target.unit.addNexus(b);
    });

    const kept = (nexus: Nexus, action: number, parameters: ReserveOut): void => {
      const task = reserveOut(target, nexus, action, parameters);
      assert.equal(task.outcome, 'NOT ENDED', 'nothing is acknowledged before it is kept');
      store.ends.at(-1)!(null);
      assert.equal(task.outcome, 'GOOD');
    };

    test('is kept where the last registration asks for it, and there again after it', () => {
      assert.equal(reserveIn(target, 2).toString('hex'), '00080d90ea010000');
      assert.equal(out(a, REGISTER, { newKey: 0xa }), 'GOOD');
      assert.equal(store.asked.length, 0);
      kept(b, REGISTER, { newKey: 0xb, flags: APTPL | 4 });
      kept(a, RESERVE, { key: 0xa, type: EXCLUSIVE_ACCESS });
      assert.equal(reserveIn(target, 2).toString('hex'), '00080d91ea010000');
      const after = restarted(store);
      assert.deepEqual(readKeys(after), { generation: 0, keys: ['a', 'b'] });
      assert.deepEqual(readReservation(after), { key: 'a', type: EXCLUSIVE_ACCESS });
      assert.equal(reserveIn(after, 2).toString('hex'), '00080d91ea010000');
      assert.equal(after.run(WRITE, { nexus: { ...a }, dataOut: BLOCK }).outcome, 'GOOD');
      assert.equal(after.run(READ, { nexus: b }).outcome, CONFLICT);
      kept(a, REGISTER, { key: 0xa, newKey: 0xa });
      assert.equal(store.asked.at(-1), null);
      assert.deepEqual(readKeys(restarted(store)), { generation: 0, keys: [] });
    });

    test('of all registrants', () => {
      kept(a, REGISTER, { newKey: 0xa, flags: APTPL });
      kept(a, RESERVE, { key: 0xa, type: WRITE_EXCLUSIVE_ALL_REGISTRANTS });
      const after = restarted(store);
      assert.deepEqual(readReservation(after), { key: '0', type: WRITE_EXCLUSIVE_ALL_REGISTRANTS });
      assert.equal(after.run(WRITE, { nexus: b, dataOut: BLOCK }).outcome, CONFLICT);
    });

    test('what cannot be kept fails, and is told; the next change keeps all', () => {
      const told: string[] = [];
      target.unit.events = {
        deviceFailed: () => undefined,
        sanitized: () => undefined,
        sanitizeNotKept: () => undefined,
        reservationsNotKept: (_unit, cause) => told.push(cause.message),
        accessStatesSet: () => undefined,
      };
      const task = reserveOut(target, a, REGISTER, { newKey: 0xa, flags: APTPL });
      store.ends.at(-1)!(new Error('no room'));
      assert.equal(task.outcome, senseText(Sense.WRITE_ERROR));
      assert.deepEqual(told, ['no room']);
      kept(b, REGISTER, { newKey: 0xb, flags: APTPL });
      assert.deepEqual(readKeys(restarted(store)).keys, ['a', 'b']);
    });

    test('a task that is aborted meanwhile ends when it is kept', () => {
      const task = reserveOut(target, a, REGISTER, { newKey: 0xa, flags: APTPL });
      target.unit.removeNexus(a);
      assert.equal(task.outcome, 'NOT ENDED');
      store.ends.at(-1)!(null);
      assert.equal(task.outcome, 'ABORTED');
    });
  });
});
