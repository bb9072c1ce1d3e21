import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { logicalUnitReset } from '../task-management.js';
import type { SanitizeStore, SavedSanitize } from '../sanitize-store.js';
import { Sense } from '../sense.js';
import { cdb16 } from '../testing/cdb.js';
import { FakeTarget, fakeNexus, fakeUnit, senseText, type FakeTask } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const SIZE = 4 << 20;
const BLOCKS = SIZE / 512;
const IMMED = 0x80;
const AUSE = 0x20;
const OVERWRITE = 1;
const BLOCK_ERASE = 2;
const EXIT_FAILURE_MODE = 0x1f;
const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const REQUEST_SENSE = [3, 0, 0, 0, 252, 0];
const inProgress = senseText(Sense.SANITIZE_IN_PROGRESS);
const failed = senseText(Sense.SANITIZE_COMMAND_FAILED);
const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);

const cdb = (flags: number, length = 0): number[] => [
  0x48,
  flags,
  0,
  0,
  0,
  0,
  0,
  length >> 8,
  length & 0xff,
  0,
];

/** The parameter list of OVERWRITE. */
const list = (first: number, pattern: readonly number[], length = pattern.length): Buffer =>
  Buffer.from([first, 0, length >> 8, length & 0xff, ...pattern]);

function overwrite(target: FakeTarget, flags: number, dataOut: Buffer): FakeTask {
  return target.run(cdb(flags | OVERWRITE, dataOut.length), { dataOut });
}

/** Keeps in memory, when the test says so. */
class FakeStore implements SanitizeStore {
  kept: SavedSanitize | null = null;
  fault: Error | null = null;
  readonly states: (SavedSanitize | null)[] = [];

  keep(state: SavedSanitize | null, kept: (cause: Error | null) => void): void {
    if (this.fault === null) {
      this.kept = state;
      this.states.push(state);
    }
    kept(this.fault);
  }
}

describe('what is on the medium afterwards', () => {
  for (const { name, first, pattern, block } of [
    { name: 'a whole block', first: 1, pattern: new Array<number>(512).fill(0xaa), block: 'aa' },
    { name: 'a few bytes, repeated', first: 1, pattern: [1, 2, 3, 4], block: '01020304' },
    { name: 'two passes, the first inverted', first: 0x82, pattern: [0x0f], block: '0f' },
  ]) {
    test(`OVERWRITE: ${name}`, () => {
      const { target, device } = slowTarget({ size: SIZE }, false);
      const write = target.run(cdb16(0x8a, 0, BLOCKS - 1, 1), { dataOut: Buffer.alloc(512, 0x77) });
      assert.equal(write.outcome, 'GOOD');
      device.submitted.length = 0;
      assert.equal(overwrite(target, 0, list(first, pattern)).outcome, 'GOOD');
      const { dataIn } = target.run(cdb16(0x88, 0, 0, BLOCKS), { dataInLimit: SIZE });
      assert.ok(dataIn.equals(Buffer.alloc(SIZE, Buffer.from(block, 'hex'))));
      const written = device.submitted.filter((io) => io.op === BlockOp.WRITE).length;
      assert.equal(written, (first & 0x1f) * (SIZE >> 20), 'in pieces of bounded memory');
      assert.ok(device.submitted.some((io) => io.op === BlockOp.FLUSH));
    });
  }

  test('inverted passes alternate, and the last is the pattern', () => {
    const { target, device } = slowTarget({ size: 1 << 20 }, false);
    const seen: number[] = [];
    device.fault = (io) => {
      if (io.op === BlockOp.WRITE) seen.push(io.data.toBuffer()[0]!);
      return BlockStatus.GOOD;
    };
    overwrite(target, 0, list(0x83, [0x0f]));
    overwrite(target, 0, list(0x03, [0x0f]));
    assert.deepEqual(seen, [0x0f, 0xf0, 0x0f, 0x0f, 0x0f, 0x0f]);
  });

  test('BLOCK ERASE gives all blocks back, and they read as zeroes', () => {
    const target = new FakeTarget(fakeUnit({ size: SIZE }));
    target.run(cdb16(0x8a, 0, 5, 1), { dataOut: Buffer.alloc(512, 0x77) });
    assert.equal(target.run(cdb(BLOCK_ERASE)).outcome, 'GOOD');
    assert.ok(target.run(cdb16(0x88, 0, 5, 1)).dataIn.equals(Buffer.alloc(512)));
    const status = target.run([0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0]).dataIn;
    assert.deepEqual([status.readUInt32BE(16), status[20]! & 0x0f], [BLOCKS, 1]);
    assert.equal(target.run([0x12, 1, 0xb1, 0, 64, 0]).dataIn[7]! >> 6, 1, 'WABEREQ');
  });
});

describe('what is refused', () => {
  test('fields of the CDB and of the parameter list', () => {
    const target = new FakeTarget();
    for (const { first = 1, length, list: bytes = list(first, [1], length), outcome } of [
      { list: Buffer.alloc(4), outcome: Sense.INVALID_FIELD_IN_CDB },
      { list: Buffer.alloc(517, 1), outcome: Sense.INVALID_FIELD_IN_CDB },
      { first: 0, outcome: Sense.INVALID_FIELD_IN_PARAMETER_LIST },
      { first: 0x21, outcome: Sense.INVALID_FIELD_IN_PARAMETER_LIST },
      { length: 0, outcome: Sense.INVALID_FIELD_IN_PARAMETER_LIST },
      { length: 513, outcome: Sense.INVALID_FIELD_IN_PARAMETER_LIST },
      { length: 2, outcome: Sense.PARAMETER_LIST_LENGTH_ERROR },
    ]) {
      assert.equal(overwrite(target, 0, bytes).outcome, senseText(outcome));
    }
    for (const action of [BLOCK_ERASE, EXIT_FAILURE_MODE])
      assert.equal(target.run(cdb(action, 8), { dataOut: Buffer.alloc(8) }).outcome, invalidField);
    // CRYPTOGRAPHIC ERASE, and ZNR.
    for (const flags of [3, 0x40 | BLOCK_ERASE]) assert.equal(target.run(cdb(flags)).outcome, invalidField);
    assert.equal(target.unit.sanitizer.state, 'idle');
  });

  test('BLOCK ERASE of a fully provisioned unit, any of a write protected one, and under a reservation', () => {
    assert.equal(
      new FakeTarget(fakeUnit({ provisioning: 'full' })).run(cdb(BLOCK_ERASE)).outcome,
      invalidField,
    );
    const readOnly = new FakeTarget(fakeUnit({ readOnly: true }));
    assert.equal(readOnly.run(cdb(BLOCK_ERASE)).outcome, senseText(Sense.WRITE_PROTECTED));
    const target = new FakeTarget();
    const nexus = fakeNexus('b');
    target.unit.addNexus(nexus);
    target.run([0x16, 0, 0, 0, 0, 0], { nexus });
    assert.equal(target.run(cdb(BLOCK_ERASE)).outcome, 'RESERVATION_CONFLICT');
  });
});

describe('while it runs', () => {
  test('others are told so, with the progress, and INQUIRY, REPORT LUNS and REQUEST SENSE run', () => {
    const { target, device } = slowTarget({ size: SIZE });
    assert.equal(overwrite(target, IMMED, list(1, [7])).outcome, 'GOOD');
    device.completeNext();
    device.completeNext();
    for (const other of [TEST_UNIT_READY, cdb16(0x88, 0, 0, 1), cdb(EXIT_FAILURE_MODE), cdb(BLOCK_ERASE)]) {
      const task = target.run(other, { attribute: 1 });
      assert.equal(task.outcome, inProgress);
      assert.deepEqual([task.sense.bytes[15], task.sense.bytes.readUInt16BE(16)], [0x80, 0x8000]);
    }
    assert.equal(target.run([0x12, 0, 0, 0, 96, 0]).outcome, 'GOOD');
    assert.equal(target.run([0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0]).outcome, 'GOOD');
    // Whoever looks at the disk anew meanwhile is to find the size and the pages that it had (SBC-4 4.11.2).
    for (const allowed of [
      [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      cdb16(0x9e, 0x10, 0, 32),
      [0x1a, 0, 0x08, 0, 255, 0],
      [0x1a, 0, 0x0a, 0, 255, 0],
      [0x5a, 0, 0x1c, 0, 0, 0, 0, 0, 255, 0],
    ])
      assert.equal(target.run(allowed).outcome, 'GOOD', allowed.join());
    for (const refused of [
      [0x1a, 0, 0x3f, 0, 255, 0],
      [0x1a, 0, 0x01, 0, 255, 0],
      [0x4d, 0, 0x59, 0, 0, 0, 0, 0, 255, 0],
    ])
      assert.equal(target.run(refused).outcome, inProgress, refused.join());
    const sense = target.run(REQUEST_SENSE).dataIn;
    assert.deepEqual([sense[2], sense[12], sense[13], sense.readUInt16BE(16)], [2, 4, 0x1b, 0x8000]);
    device.completeAll();
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    assert.equal(target.run(REQUEST_SENSE).dataIn[2], 0);
  });

  test('without IMMED the status comes with the end; a reset takes the task, and not the work', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const waits = overwrite(target, 0, list(1, [7]));
    assert.equal(waits.outcome, 'NOT ENDED');
    assert.equal(target.run(TEST_UNIT_READY).outcome, inProgress);
    device.completeAll();
    assert.equal(waits.outcome, 'GOOD');

    const aborted = overwrite(target, 0, list(1, [9]));
    device.completeNext();
    assert.equal(
      logicalUnitReset(target.unit, target.nexus, () => undefined),
      true,
    );
    assert.equal(aborted.ending, 'aborted');
    target.run(REQUEST_SENSE);
    assert.equal(target.run(TEST_UNIT_READY).outcome, inProgress);
    device.completeAll();
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    assert.ok(
      device.memory.size === SIZE && device.submitted.filter((io) => io.op === BlockOp.WRITE).length === 8,
    );
  });

  test('it lasts for seconds, however small the unit is', () => {
    let end = (): void => assert.fail('nothing waits');
    const runLater = (call: () => void, delay = 0): void => {
      if (delay === 0) call();
      else end = call;
    };
    const { target } = slowTarget({ size: SIZE }, false, { runLater });
    assert.equal(overwrite(target, IMMED, list(1, [7])).outcome, 'GOOD');
    const task = target.run(TEST_UNIT_READY);
    assert.equal(task.outcome, inProgress);
    assert.equal(task.sense.bytes.readUInt16BE(16), 0xffff);
    end();
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
  });

  test('it begins when older commands have ended', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const write = target.run(cdb16(0x8a, 0, 0, 1), { dataOut: Buffer.alloc(512, 1) });
    const sanitize = overwrite(target, IMMED, list(1, [7]));
    assert.equal(sanitize.outcome, 'NOT ENDED');
    assert.equal(device.pending.length, 1);
    device.completeNext();
    assert.deepEqual([write.outcome, sanitize.outcome], ['GOOD', 'GOOD']);
  });
});

describe('after a failure', () => {
  function broken(flags: number): { target: FakeTarget; repair: () => void; task: FakeTask } {
    const { target, device } = slowTarget({ size: SIZE }, false);
    device.fault = (io) =>
      io.op === BlockOp.WRITE && io.offset > 0 ? BlockStatus.MEDIUM_ERROR : BlockStatus.GOOD;
    return { target, repair: () => (device.fault = null), task: overwrite(target, flags, list(1, [7])) };
  }

  test('commands end with SANITIZE COMMAND FAILED until the next one is done', () => {
    const { target, repair, task } = broken(0);
    assert.equal(task.outcome, failed);
    assert.equal(target.run(TEST_UNIT_READY).outcome, failed);
    assert.deepEqual([...target.run(REQUEST_SENSE).dataIn.subarray(12, 14)], [0x31, 3]);
    assert.equal(target.run(cdb(EXIT_FAILURE_MODE)).outcome, invalidField, 'the restricted completion mode');
    assert.equal(overwrite(target, AUSE, list(1, [7])).outcome, invalidField);
    repair();
    assert.equal(overwrite(target, 0, list(1, [7])).outcome, 'GOOD');
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
  });

  test('with AUSE, EXIT FAILURE MODE leaves it', () => {
    const { target } = broken(AUSE);
    assert.equal(target.run(TEST_UNIT_READY).outcome, failed);
    assert.equal(target.run(cdb(EXIT_FAILURE_MODE)).outcome, 'GOOD');
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
  });
});

describe('over a restart', () => {
  test('what was kept is carried on, and forgotten at the end', () => {
    const store = new FakeStore();
    const first = slowTarget({ size: SIZE }, true, { sanitizeStore: store });
    overwrite(first.target, IMMED | AUSE, list(0x82, [7]));
    first.device.completeNext();
    assert.deepEqual(store.kept, {
      method: 'overwrite',
      pattern: '07',
      passes: 2,
      invert: true,
      allowsExit: true,
      hasFailed: false,
    });

    const { target, device } = slowTarget({ size: SIZE }, true, { sanitizeStore: store });
    assert.equal(target.run(TEST_UNIT_READY).outcome, inProgress);
    target.unit.sanitizer.carryOn();
    device.completeAll();
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    assert.equal(store.kept, null);
    assert.ok(target.unit.device === device && device.submitted.length === 2 * (SIZE >> 20) + 1);
  });

  test('a failure is kept, too', () => {
    const store = new FakeStore();
    const first = slowTarget({ size: SIZE }, false, { sanitizeStore: store });
    first.device.fault = () => BlockStatus.MEDIUM_ERROR;
    overwrite(first.target, 0, list(1, [7]));
    const { target } = slowTarget({ size: SIZE }, false, { sanitizeStore: store });
    target.unit.sanitizer.carryOn();
    assert.equal(target.run(TEST_UNIT_READY).outcome, failed);
  });

  test('a device that is gone leaves what is kept as it is, to be carried on', () => {
    const store = new FakeStore();
    const { target, device } = slowTarget({ size: SIZE }, true, { sanitizeStore: store });
    overwrite(target, IMMED, list(1, [7]));
    device.fault = () => BlockStatus.NOT_READY;
    device.completeAll();
    assert.equal(target.run(TEST_UNIT_READY).outcome, failed);
    assert.equal(store.kept?.hasFailed, false);
  });

  test('what cannot be kept does not begin; what cannot be forgotten has failed', () => {
    const store = new FakeStore();
    store.fault = new Error('no room');
    const { target, device } = slowTarget({ size: SIZE }, true, { sanitizeStore: store });
    assert.equal(overwrite(target, 0, list(1, [7])).outcome, senseText(Sense.WRITE_ERROR));
    assert.equal(device.submitted.length, 0);
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    store.fault = null;
    const task = overwrite(target, 0, list(1, [7]));
    store.fault = new Error('no room');
    device.completeAll();
    assert.equal(task.outcome, failed);
    assert.equal(target.run(TEST_UNIT_READY).outcome, failed);
  });
});
