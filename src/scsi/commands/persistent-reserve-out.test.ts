import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import type { Nexus } from '../nexus.js';
import { Sense } from '../sense.js';
import { FakeTarget, fakeNexus, senseText } from '../testing/fake-task.js';
import {
  readKeys,
  readReservation,
  reserveIn,
  reserveOut,
  reserveOutCdb,
  reserveOutList,
  ServiceAction,
} from '../testing/persistent-reserve.js';
import { encodeTransportId } from '../transport-id.js';

const { REGISTER, RESERVE, REGISTER_AND_IGNORE, REGISTER_AND_MOVE } = ServiceAction;
const SPEC_I_PT = 8;
const invalidParameter = senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST);
const wrongLength = senseText(Sense.PARAMETER_LIST_LENGTH_ERROR);

function sized(...ids: Buffer[]): Buffer {
  const all = Buffer.concat(ids);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(all.length);
  return Buffer.concat([length, all]);
}

describe('PERSISTENT RESERVE OUT (SPC-4 6.16)', () => {
  let target: FakeTarget;
  let a: Nexus;
  const b = fakeNexus('b');

  beforeEach(() => {
    target = new FakeTarget();
    a = target.nexus;
    target.unit.addNexus(b);
  });

  test('the parameter list has 24 bytes', () => {
    for (const length of [0, 23, 70_000]) {
      const cdb = [
        0x5f,
        REGISTER,
        0,
        0,
        0,
        0,
        (length >>> 16) & 0xff,
        (length >>> 8) & 0xff,
        length & 0xff,
        0,
      ];
      assert.equal(target.run(cdb, { dataOut: Buffer.alloc(length) }).outcome, wrongLength);
    }
    const more = Buffer.alloc(4);
    assert.equal(reserveOut(target, a, REGISTER, { newKey: 1, more }).outcome, wrongLength);
    assert.deepEqual(readKeys(target), { generation: 0, keys: [] });
  });

  test('a scope that is not the unit, and types that there are not', () => {
    reserveOut(target, a, REGISTER, { newKey: 1 });
    for (const type of [0, 2, 4, 9, 15, 0x11])
      assert.equal(
        reserveOut(target, a, RESERVE, { key: 1, type }).outcome,
        senseText(Sense.INVALID_FIELD_IN_CDB),
      );
    assert.equal(readReservation(target), null);
  });

  test('service actions that there are not', () => {
    const list = reserveOutList({});
    for (const action of [8, 31])
      assert.equal(
        target.run(reserveOutCdb(action, 0, 24), { dataOut: list }).outcome,
        senseText(Sense.INVALID_FIELD_IN_CDB),
      );
  });

  test('APTPL is refused: nothing is kept over the loss of power', () => {
    const task = reserveOut(target, a, REGISTER, { newKey: 1, flags: 1 });
    assert.equal(task.outcome, invalidParameter);
    assert.deepEqual(readKeys(target).keys, []);
  });

  test('SPEC_I_PT registers others, too: ports, and the ports of an initiator that are logged in', () => {
    const device = Buffer.concat([Buffer.from([5, 0, 0, 20]), Buffer.from(b.initiatorName.padEnd(20, '\0'))]);
    const elsewhere = 'iqn.2026-01.test:elsewhere,i,0x00023d00000F';
    const more = sized(encodeTransportId(elsewhere), device);
    assert.equal(reserveOut(target, a, REGISTER, { newKey: 5, flags: SPEC_I_PT, more }).outcome, 'GOOD');
    assert.deepEqual(readKeys(target), { generation: 1, keys: ['5', '5', '5'] });
    const text = reserveIn(target, 3).toString('latin1');
    for (const name of [a.initiatorPort, b.initiatorPort, 'iqn.2026-01.test:elsewhere,i,0x00023d00000f'])
      assert.ok(text.includes(name), name);
  });

  test('SPEC_I_PT: nothing is registered when anything in it is wrong', () => {
    const id = encodeTransportId(b.initiatorPort);
    const fibre = Buffer.from(id);
    fibre[0] = 0;
    const unknown = Buffer.concat([
      Buffer.from([5, 0, 0, 20]),
      Buffer.from('iqn.2026-01.test:x'.padEnd(20, '\0')),
    ]);
    const own = encodeTransportId(a.initiatorPort);
    const wrong: [Buffer, string][] = [
      [Buffer.alloc(0), wrongLength],
      [Buffer.from([0, 0, 1, 0]), wrongLength],
      [sized(id.subarray(0, 12)), invalidParameter],
      [sized(id, Buffer.from([1, 2])), invalidParameter],
      [sized(fibre), invalidParameter],
      [sized(unknown), invalidParameter],
      [sized(own), invalidParameter],
      [sized(id, id), invalidParameter],
    ];
    for (const [more, outcome] of wrong)
      assert.equal(reserveOut(target, a, REGISTER, { newKey: 5, flags: SPEC_I_PT, more }).outcome, outcome);
    const ignoring = { newKey: 5, flags: SPEC_I_PT, more: sized(id) };
    assert.equal(reserveOut(target, a, REGISTER_AND_IGNORE, ignoring).outcome, invalidParameter);
    assert.deepEqual(readKeys(target), { generation: 0, keys: [] });
  });

  describe('REGISTER AND MOVE', () => {
    interface Move {
      key?: number;
      newKey?: number;
      unregisters?: boolean;
      port?: number;
      id?: Buffer;
    }

    function move(nexus: Nexus, { key = 1, newKey = 2, unregisters = false, port = 1, id }: Move): string {
      const transportId = id ?? encodeTransportId(b.initiatorPort);
      const list = reserveOutList({ key, newKey, more: transportId });
      list[17] = unregisters ? 2 : 0;
      list.writeUInt16BE(port, 18);
      list.writeUInt32BE(transportId.length, 20);
      return target.run(reserveOutCdb(REGISTER_AND_MOVE, 0, list.length), { nexus, dataOut: list }).outcome;
    }

    beforeEach(() => {
      reserveOut(target, a, REGISTER, { newKey: 1 });
    });

    test('hands the reservation on', () => {
      reserveOut(target, a, RESERVE, { key: 1, type: 3 });
      assert.equal(move(a, {}), 'GOOD');
      assert.deepEqual(readReservation(target), { key: '2', type: 3 });
      assert.deepEqual(readKeys(target), { generation: 2, keys: ['1', '2'] });
      assert.equal(move(a, {}), 'RESERVATION_CONFLICT');
      const back = encodeTransportId(a.initiatorPort);
      assert.equal(move(b, { key: 2, newKey: 9, unregisters: true, id: back }), 'GOOD');
      assert.deepEqual(readKeys(target).keys, ['9']);
      assert.deepEqual(readReservation(target), { key: '9', type: 3 });
    });

    test('is refused without a reservation, for one of all, and with anything wrong', () => {
      assert.equal(move(a, {}), senseText(Sense.INVALID_FIELD_IN_CDB));
      reserveOut(target, a, RESERVE, { key: 1, type: 7 });
      assert.equal(move(a, {}), 'RESERVATION_CONFLICT');
      reserveOut(target, a, ServiceAction.PREEMPT, { key: 1, newKey: 0, type: 3 });
      assert.equal(move(a, { key: 4 }), 'RESERVATION_CONFLICT');
      assert.equal(move(a, { newKey: 0 }), invalidParameter);
      assert.equal(move(a, { port: 0 }), invalidParameter);
      assert.equal(move(a, { id: encodeTransportId(a.initiatorPort) }), invalidParameter);
      assert.equal(move(a, { id: Buffer.alloc(24) }), invalidParameter);
      assert.deepEqual(readReservation(target), { key: '1', type: 3 });
    });
  });
});
