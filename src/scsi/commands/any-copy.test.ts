/** Whatever bytes come as the parameter list of a third-party copy: one outcome, no exception, and all memory given back. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';

import { Status } from '../status.js';
import { copyList, FakeCopies, populateList, writeUsingList, zeroToken } from '../testing/fake-copies.js';

/** What is done to a good list: bytes that change, and where it is cut. */
const damages = fc.record({
  changes: fc.array(
    fc.tuple(fc.nat({ max: 600 }), fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0, 1, 255))),
    { maxLength: 4 },
  ),
  cut: fc.option(fc.nat({ max: 600 })),
});

test('any parameter list has one outcome', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(0x00, 0x10, 0x11, 0x1c),
      fc.boolean(),
      damages,
      (serviceAction, isOwnToken, damage) => {
        const copies = new FakeCopies();
        const [a, b] = [copies.add(), copies.add()];
        a.populate([
          [0, 64],
          [100, 3000],
        ]);
        const token = isOwnToken ? a.token() : zeroToken();
        const lists: Record<number, Buffer> = {
          0x00: copyList([a.unit, b.unit], [{ blocks: 3000 }, { blocks: 7, from: 4000, to: 1 }]),
          0x10: populateList([
            [0, 64],
            [100, 3000],
          ]),
          0x11: writeUsingList(token, [
            [7, 2000],
            [3000, 64],
          ]),
          0x1c: Buffer.alloc(0),
        };
        const list = Buffer.from(lists[serviceAction]!);
        for (const [at, value] of damage.changes) if (at < list.length) list[at] = value;
        const dataOut = list.subarray(0, damage.cut ?? list.length);
        const identifier = [0, 0, 0, 5];
        const task = b.finish(
          [
            0x83,
            serviceAction,
            0,
            0,
            0,
            0,
            ...identifier,
            0,
            0,
            dataOut.length >>> 8,
            dataOut.length & 0xff,
            0,
            0,
          ],
          { dataOut },
        );
        assert.equal(task.ending, 'finished');
        if (task.scsiStatus === Status.CHECK_CONDITION) assert.ok(task.sense.length > 0);
        assert.equal(copies.manager.running, 0);
        assert.equal(copies.host.turn(), false);
        for (const action of [0x00, 0x04, 0x05, 0x07]) assert.equal(b.results(action, 5).ending, 'finished');
      },
    ),
    { numRuns: 1000 },
  );
});
