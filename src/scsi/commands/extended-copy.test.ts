import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { BlockOp, BlockStatus } from '../../block/device.js';
import { MemoryDevice } from '../../block/memory.js';
import { LogicalUnitInventory, MappedUnits } from '../inventory.js';
import { Sense } from '../sense.js';
import { Status } from '../status.js';
import { abortTask, logicalUnitReset } from '../task-management.js';
import { copyList, type CopyTarget, FakeCopies } from '../testing/fake-copies.js';
import { fakeNexus, senseText } from '../testing/fake-task.js';
import { reserveOut, ServiceAction } from '../testing/persistent-reserve.js';
import { SlowDevice } from '../testing/slow-device.js';

const MIB = 1 << 20;

function pattern(length: number, seed = 1): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + (i >>> 9) * 31 + seed) & 0xff));
}

/** The byte of the parameter list that the sense data points at, and the segment that it names. */
function pointed(sense: Buffer): { parameter: number | null; segment: number } {
  const isValid = (sense[15]! & 0x80) !== 0;
  assert.equal(sense[15]! & 0x40, 0, 'not of the CDB');
  return { parameter: isValid ? sense.readUInt16BE(16) : null, segment: sense.readUInt32BE(8) };
}

/** Where descriptor `index` of one with `units` CSCD descriptors begins. */
const segmentAt = (units: number, index = 0): number => 16 + 32 * units + 28 * index;

describe('EXTENDED COPY', () => {
  test('copies segments between two logical units, more than a piece of each', () => {
    const copies = new FakeCopies();
    const [a, b] = [copies.add(), copies.add()];
    const data = pattern(3 * MIB);
    a.write(0, data);
    const segments = [
      { blocks: 5000, from: 0, to: 3000 },
      { blocks: 0, from: 0, to: 0 },
      { blocks: 1144, from: 5000, to: 1 },
    ];
    assert.equal(a.extendedCopy(copyList([a.unit, b.unit], segments)).outcome, 'GOOD');
    assert.ok(b.read(3000, 5000).equals(data.subarray(0, 5000 * 512)));
    assert.ok(b.read(1, 1144).equals(data.subarray(5000 * 512)));
    assert.ok(b.read(0, 1).equals(Buffer.alloc(512)));
    assert.equal(copies.manager.running, 0);
  });

  test('is taken by the destination, by a third unit, and for FFFFh by the unit itself', () => {
    const copies = new FakeCopies();
    const [a, b, c] = [copies.add(), copies.add(), copies.add()];
    a.write(0, pattern(1024));
    for (const [i, target] of [b, c].entries()) {
      const list = copyList([a.unit, b.unit], [{ blocks: 2, to: 8 * (i + 1) }]);
      assert.equal(target.extendedCopy(list).outcome, 'GOOD');
      assert.deepEqual(b.read(8 * (i + 1), 2), pattern(1024));
    }
    const list = copyList([], [{ source: 0xffff, destination: 0xffff, blocks: 2, to: 64 }]);
    assert.equal(a.extendedCopy(list).outcome, 'GOOD');
    assert.deepEqual(a.read(64, 2), pattern(1024));
  });

  test('between blocks of 512 and of 4096 bytes, whose count DC says', () => {
    const copies = new FakeCopies();
    const a = copies.add();
    const b = copies.add(new MemoryDevice({ size: 4 * MIB, blockSize: 4096 }));
    a.write(0, pattern(8192));
    const list = copyList([a.unit, b.unit], [{ blocks: 16, to: 3 }]);
    assert.equal(a.extendedCopy(list).outcome, 'GOOD');
    assert.deepEqual(b.read(3, 2), pattern(8192));
    const counted = copyList([a.unit, b.unit], [{ blocks: 2, to: 9, flags: 2 }]);
    assert.equal(a.extendedCopy(counted).outcome, 'GOOD');
    assert.deepEqual(b.read(9, 2), pattern(8192));
    const inexact = a.extendedCopy(copyList([a.unit, b.unit], [{ blocks: 15 }]));
    assert.equal(inexact.outcome, senseText(Sense.UNEXPECTED_INEXACT_SEGMENT));
    assert.deepEqual(pointed(inexact.sense.bytes), { parameter: segmentAt(2) + 10, segment: 0 });
  });

  test('onto blocks that it has yet to read', () => {
    const copies = new FakeCopies();
    const a = copies.add();
    const data = pattern(3 * MIB);
    a.write(0, data);
    const list = copyList([a.unit], [{ destination: 0, blocks: 6144, from: 0, to: 100 }]);
    assert.equal(a.extendedCopy(list).outcome, 'GOOD');
    assert.ok(a.read(100, 6144).equals(data));
    const back = copyList([a.unit], [{ destination: 0, blocks: 6144, from: 100, to: 50 }]);
    assert.equal(a.extendedCopy(back).outcome, 'GOOD');
    assert.ok(a.read(50, 6144).equals(data));
  });

  test('leaves holes where the source has them', () => {
    const copies = new FakeCopies();
    const device = new MemoryDevice({ size: 4 * MIB, blockSize: 512 });
    const slow = new SlowDevice({ size: 4 * MIB, blockSize: 512 }, false);
    const [a, b] = [copies.add(device), copies.add(slow)];
    a.write(4096, pattern(MIB));
    b.write(0, pattern(4 * MIB, 2));
    slow.submitted.length = 0;
    assert.equal(a.extendedCopy(copyList([a.unit, b.unit], [{ blocks: 8192 }])).outcome, 'GOOD');
    const written = slow.submitted.filter(({ op }) => op === BlockOp.WRITE);
    assert.equal(
      written.reduce((sum, { length }) => sum + length, 0),
      MIB,
    );
    assert.ok(b.read(0, 4096).equals(Buffer.alloc(2 * MIB)));
    assert.ok(b.read(4096, 2048).equals(pattern(MIB)));
    assert.ok(b.read(6144, 2048).equals(Buffer.alloc(MIB)));
  });

  test('lets other commands have their turn, and writes through without a write cache', () => {
    const copies = new FakeCopies();
    const slow = new SlowDevice({ size: 4 * MIB, blockSize: 512 }, false);
    const [a, b] = [copies.add(), copies.add(slow, { writeCache: false })];
    a.write(0, pattern(3 * MIB));
    const list = copyList([a.unit, b.unit], [{ blocks: 6144 }]);
    const task = a.startExtendedCopy(list);
    assert.equal(task.ending, 'none');
    assert.equal(slow.submitted.filter(({ op }) => op === BlockOp.WRITE).length, 1);
    assert.equal(a.start([0, 0, 0, 0, 0, 0]).outcome, 'GOOD');
    const status = a.results(0x00, 1).dataIn;
    assert.deepEqual([status[4], status.readUInt16BE(5), status[7], status.readUInt32BE(8)], [0, 0, 0, MIB]);
    const again = a.extendedCopy(list);
    assert.equal(again.outcome, senseText(Sense.OPERATION_IN_PROGRESS));
    copies.host.turnAll();
    assert.equal(task.outcome, 'GOOD');
    assert.ok(slow.submitted.every(({ op, fua }) => op !== BlockOp.WRITE || fua));
  });

  test('the lists are checked before memory is taken, and before anything is copied', () => {
    const copies = new FakeCopies();
    const [a, b] = [copies.add(), copies.add()];
    const good = copyList([a.unit, b.unit], [{ blocks: 1 }, { blocks: 1 }]);
    const outcome = (list: Buffer): string => a.extendedCopy(list).outcome;
    const changed = (at: number, value: number): Buffer => {
      const list = Buffer.from(good);
      list[at] = value;
      return list;
    };
    assert.equal(a.extendedCopy(Buffer.alloc(0)).outcome, 'GOOD');
    assert.equal(outcome(good.subarray(0, 15)), senseText(Sense.PARAMETER_LIST_LENGTH_ERROR));
    assert.equal(outcome(good.subarray(0, good.length - 1)), senseText(Sense.PARAMETER_LIST_LENGTH_ERROR));
    const huge = a.start([0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0]);
    assert.deepEqual([huge.outcome, huge.requests], [senseText(Sense.PARAMETER_LIST_LENGTH_ERROR), 0]);
    const many = copyList(new Array(17).fill(a.unit) as never, [{ blocks: 1 }]);
    assert.equal(outcome(many), senseText(Sense.TOO_MANY_TARGET_DESCRIPTORS));
    const segments = copyList([a.unit], new Array(65).fill({ blocks: 1, destination: 0 }) as never);
    assert.equal(outcome(segments), senseText(Sense.TOO_MANY_SEGMENT_DESCRIPTORS));
    assert.equal(
      outcome(copyList([a.unit], [], { inlineLength: 1 })),
      senseText(Sense.INLINE_DATA_LENGTH_EXCEEDED),
    );
    for (const [list, sense, parameter] of [
      [changed(16 + 32, 0xe0), Sense.UNSUPPORTED_TARGET_DESCRIPTOR_TYPE, 48],
      [changed(segmentAt(2, 1), 0x03), Sense.UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE, segmentAt(2, 1)],
      [changed(segmentAt(2) + 3, 23), Sense.INVALID_FIELD_IN_PARAMETER_LIST, segmentAt(2) + 2],
      [changed(1, 0x08), Sense.INVALID_FIELD_IN_PARAMETER_LIST, 1],
      [changed(1, 0x18), Sense.INVALID_FIELD_IN_PARAMETER_LIST, 0],
    ] as const) {
      const task = a.extendedCopy(list);
      assert.equal(task.outcome, senseText(sense));
      assert.equal(pointed(task.sense.bytes).parameter, parameter);
    }
    assert.ok(b.read(0, 1).equals(Buffer.alloc(512)));
  });

  test('a segment that cannot be carried out ends the copy behind those before it', () => {
    const copies = new FakeCopies();
    const [a, b] = [copies.add(), copies.add()];
    a.write(0, pattern(512));
    for (const [segment, sense, field] of [
      [{ blocks: 1, destination: 2 }, Sense.UNREACHABLE_COPY_TARGET, 6],
      [{ blocks: 1, source: 0xc000 }, Sense.UNREACHABLE_COPY_TARGET, 4],
      [{ blocks: 2, from: 8191 }, Sense.COPY_TARGET_DEVICE_NOT_REACHABLE, 12],
      [{ blocks: 2, to: 8191 }, Sense.COPY_TARGET_DEVICE_NOT_REACHABLE, 20],
      [{ blocks: 1, to: 2 ** 60 }, Sense.COPY_TARGET_DEVICE_NOT_REACHABLE, 20],
    ] as const) {
      b.write(7, Buffer.alloc(512));
      const task = a.extendedCopy(copyList([a.unit, b.unit], [{ blocks: 1, to: 7 }, segment]));
      assert.equal(task.outcome, senseText(sense));
      assert.deepEqual(pointed(task.sense.bytes), { parameter: segmentAt(2, 1) + field, segment: 1 });
      assert.deepEqual(b.read(7, 1), pattern(512));
      const status = a.results(0x00, 1).dataIn;
      assert.deepEqual([status[4], status.readUInt16BE(5), status.readUInt32BE(8)], [2, 1, 512]);
      const details = a.results(0x04, 1).dataIn;
      assert.deepEqual([details.readUInt32BE(0), details[56]], [details.length - 4, Status.CHECK_CONDITION]);
      const told = details.subarray(60, 60 + details.readUInt16BE(58));
      assert.deepEqual(told, task.sense.bytes.subarray(0, task.sense.length));
    }
  });

  test('a CSCD descriptor of another kind of device, of blocks of another length, and of an unknown unit', () => {
    const copies = new FakeCopies();
    const [a, b] = [copies.add(), copies.add()];
    for (const [at, value, sense] of [
      [16 + 32 + 1, 0x01, Sense.INCORRECT_COPY_TARGET_DEVICE_TYPE],
      [16 + 32 + 30, 0x10, Sense.INVALID_FIELD_IN_COPY_PARAMETERS],
      [16 + 32 + 12, 0xff, Sense.UNREACHABLE_COPY_TARGET],
      [16 + 32 + 7, 0xff, Sense.UNREACHABLE_COPY_TARGET],
    ] as const) {
      const list = copyList([a.unit, b.unit], [{ blocks: 1 }]);
      list[at] = value;
      assert.equal(a.extendedCopy(list).outcome, senseText(sense));
    }
  });

  test('a device that fails', () => {
    const copies = new FakeCopies();
    const slow = new SlowDevice({ size: MIB, blockSize: 512 }, false);
    const [a, b] = [copies.add(), copies.add(slow)];
    a.write(0, pattern(512));
    const told: number[] = [];
    b.unit.events = {
      deviceFailed: (_unit, io) => told.push(io.errorOffset),
      reservationsNotKept: () => undefined,
      accessStatesSet: () => undefined,
      sanitized: () => undefined,
      sanitizeNotKept: () => undefined,
    };
    slow.fault = () => BlockStatus.MEDIUM_ERROR;
    const task = a.extendedCopy(copyList([a.unit, b.unit], [{ blocks: 1, to: 5 }]));
    assert.equal(task.outcome, senseText(Sense.THIRD_PARTY_DEVICE_FAILURE));
    assert.deepEqual(told, [5 * 512]);
    assert.equal(copies.manager.running, 0);
  });
});

describe('what an EXTENDED COPY may touch', () => {
  test('reservations of both sides hold, also those that come while it runs', () => {
    const copies = new FakeCopies();
    const [a, b] = [copies.add(), copies.add()];
    const other = fakeNexus('b');
    copies.inventory.addNexus(other);
    a.write(0, pattern(2 * MIB));
    const list = copyList([a.unit, b.unit], [{ blocks: 4096 }]);
    const running = a.startExtendedCopy(list);
    const WRITE_EXCLUSIVE = 1;
    const EXCLUSIVE_ACCESS = 3;
    reserveOut(b, other, ServiceAction.REGISTER, { newKey: 7 });
    reserveOut(b, other, ServiceAction.RESERVE, { key: 7, type: WRITE_EXCLUSIVE });
    copies.host.turnAll();
    assert.equal(running.outcome, senseText(Sense.THIRD_PARTY_DEVICE_FAILURE));
    assert.equal(a.results(0x00, 1).dataIn.readUInt32BE(8), MIB);
    // The other way round the reservation lets it through: it reads there.
    const back = copyList([b.unit, a.unit], [{ blocks: 1 }]);
    assert.equal(a.extendedCopy(back).outcome, 'GOOD');
    assert.equal(b.extendedCopy(back).outcome, 'RESERVATION_CONFLICT');
    reserveOut(b, other, ServiceAction.RELEASE, { key: 7, type: WRITE_EXCLUSIVE });
    reserveOut(b, other, ServiceAction.RESERVE, { key: 7, type: EXCLUSIVE_ACCESS });
    assert.equal(a.extendedCopy(back).outcome, senseText(Sense.THIRD_PARTY_DEVICE_FAILURE));
  });

  test('a medium that is write protected, or gone', () => {
    const copies = new FakeCopies();
    const a = copies.add();
    const b = copies.add(undefined, { readOnly: true });
    const c = copies.add(undefined, { removable: true });
    const copy = (from: CopyTarget, to: CopyTarget): string =>
      a.extendedCopy(copyList([from.unit, to.unit], [{ blocks: 1 }])).outcome;
    assert.equal(copy(a, b), senseText(Sense.THIRD_PARTY_DEVICE_FAILURE));
    assert.equal(copy(b, a), 'GOOD');
    assert.equal(copy(a, c), 'GOOD');
    c.unit.medium.eject(c.unit.nexuses);
    assert.equal(copy(a, c), senseText(Sense.THIRD_PARTY_DEVICE_FAILURE));
    assert.equal(copy(c, a), senseText(Sense.THIRD_PARTY_DEVICE_FAILURE));
  });

  test('no logical unit that the nexus does not see', () => {
    const inventory = new LogicalUnitInventory();
    const view = new MappedUnits(inventory, new Map([[0, 0]]));
    const copies = new FakeCopies({ ...fakeNexus(), view });
    inventory.addNexus(copies.nexus);
    const seen = copies.add(undefined, {}, inventory);
    const hidden = copies.add(undefined, {}, inventory);
    seen.write(0, pattern(2 * MIB));
    for (const pair of [
      [hidden.unit, seen.unit],
      [seen.unit, hidden.unit],
    ]) {
      const task = seen.extendedCopy(copyList(pair, [{ blocks: 1 }]));
      assert.equal(task.outcome, senseText(Sense.UNREACHABLE_COPY_TARGET));
    }
  });

  test('logical units of other targets that the nexus could use as well, for as long as it could', () => {
    const elsewhere = new LogicalUnitInventory();
    let isAdmitted = true;
    const copies = new FakeCopies({ ...fakeNexus(), elsewhere: () => (isAdmitted ? [elsewhere] : []) });
    const a = copies.add();
    const b = copies.add(undefined, {}, elsewhere);
    a.write(0, pattern(3 * MIB));
    const list = copyList([a.unit, b.unit], [{ blocks: 6144 }]);
    assert.equal(a.extendedCopy(list).outcome, 'GOOD');
    assert.ok(b.read(0, 6144).equals(pattern(3 * MIB)));
    const running = a.startExtendedCopy(list);
    isAdmitted = false;
    copies.host.turnAll();
    assert.equal(running.outcome, senseText(Sense.UNREACHABLE_COPY_TARGET));
  });
});

describe('an EXTENDED COPY that is stopped', () => {
  function running(): { copies: FakeCopies; a: CopyTarget; task: ReturnType<CopyTarget['start']> } {
    const copies = new FakeCopies();
    const [a, b] = [copies.add(), copies.add()];
    a.write(0, pattern(4 * MIB));
    const list = copyList([a.unit, b.unit], [{ blocks: 8192 }]);
    const task = a.startExtendedCopy(list);
    return { copies, a, task };
  }

  test('ABORT TASK is complete when its memory is free', () => {
    const { copies, a, task } = running();
    let isComplete = false;
    assert.equal(
      abortTask(a.unit, task, () => (isComplete = true)),
      false,
    );
    assert.equal(isComplete, false);
    copies.host.turn();
    assert.deepEqual([isComplete, task.outcome, copies.manager.running], [true, 'ABORTED', 0]);
    assert.equal(copies.host.turn(), false);
    assert.equal(a.results(0x00, 1).dataIn[4], 2);
  });

  test('LOGICAL UNIT RESET, after which nothing is known of it', () => {
    const { copies, a, task } = running();
    logicalUnitReset(a.unit, copies.nexus, () => undefined);
    copies.host.turnAll();
    assert.equal(task.outcome, 'ABORTED');
    a.start([0, 0, 0, 0, 0, 0]);
    assert.equal(a.results(0x00, 1).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
  });

  test('loss of the nexus', () => {
    const { copies, task } = running();
    copies.inventory.removeNexus(copies.nexus);
    copies.host.turnAll();
    assert.deepEqual([task.outcome, copies.manager.running], ['ABORTED', 0]);
  });

  test('COPY OPERATION ABORT', () => {
    const { copies, a, task } = running();
    const abort = (identifier: number): string =>
      a.start([0x83, 0x1c, 0, 0, 0, identifier, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).outcome;
    assert.equal(abort(2), senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(abort(1), 'GOOD');
    copies.host.turnAll();
    assert.equal(task.outcome, senseText(Sense.COPY_ABORTED));
  });

  test('32 copies run at a time; one more is told to wait', () => {
    const copies = new FakeCopies();
    const [a, b] = [copies.add(), copies.add()];
    a.write(0, pattern(2 * MIB));
    const copy = (listIdentifier: number) => {
      const list = copyList([a.unit, b.unit], [{ blocks: 4096 }], { listIdentifier });
      return a.startExtendedCopy(list);
    };
    const tasks = Array.from({ length: 32 }, (_, i) => copy(i));
    assert.equal(copy(32).outcome, 'BUSY');
    copies.host.turnAll();
    assert.ok(tasks.every(({ outcome }) => outcome === 'GOOD'));
    assert.equal(copies.manager.running, 0);
  });
});
