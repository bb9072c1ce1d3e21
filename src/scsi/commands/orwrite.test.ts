import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { Memory } from '../../util/memory.js';
import { MAXIMUM_TRANSFER_BYTES } from '../limits.js';
import { Sense } from '../sense.js';
import { TaskAttribute } from '../task.js';
import { cdb16 } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText, type FakeTask } from '../testing/fake-task.js';
import { slowTarget, type SlowDevice } from '../testing/slow-device.js';

/** The largest transfer at either end leaves the middle alone. */
const SIZE = 32 << 20;
const BLOCKS = SIZE / 512;
const MAXIMUM = MAXIMUM_TRANSFER_BYTES / 512;
/** More than one piece, and not a multiple of it: 2.5 MiB. */
const MANY = 5120;
const READ = 0x88;
const WRITE = 0x8a;
const ORWRITE = 0x8b;
const attributes = [TaskAttribute.SIMPLE, TaskAttribute.ORDERED, TaskAttribute.HEAD_OF_QUEUE];

function pattern(length: number, step: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * step + (i >>> 9)) & 0xff;
  return bytes;
}

const or = (a: Buffer, b: Buffer): Buffer => Buffer.from(a.map((byte, i) => byte | b[i]!));

const ops = (device: SlowDevice): BlockOp[] => device.submitted.map((io) => io.op);

for (const { kind, target, settle } of [
  { kind: 'memory that is lent', target: new FakeTarget(fakeUnit({ size: SIZE })), settle: () => undefined },
  { kind: 'at once', target: slowTarget({ size: SIZE }, false).target, settle: () => undefined },
  (() => {
    const { target, device } = slowTarget({ size: SIZE });
    return { kind: 'later', target, settle: () => device.completeAll() };
  })(),
]) {
  const run = (opcode: number, lba: number, blocks: number, dataOut?: Buffer): FakeTask => {
    const task = target.run(cdb16(opcode, 0, lba, blocks), {
      dataInLimit: SIZE,
      ...(dataOut && { dataOut }),
    });
    settle();
    assert.equal(task.outcome, 'GOOD');
    return task;
  };

  describe(`a device that answers: ${kind}`, () => {
    for (const blocks of [1, 2, MANY, MAXIMUM]) {
      for (const lba of [0, BLOCKS - blocks]) {
        test(`${blocks} blocks at ${lba}`, () => {
          const medium = pattern(blocks * 512, 31);
          const dataOut = pattern(blocks * 512, 7);
          run(WRITE, lba, blocks, medium);
          const task = run(ORWRITE, lba, blocks, dataOut);
          assert.equal(task.transferLength, dataOut.length);
          assert.ok(run(READ, lba, blocks).dataIn.equals(or(medium, dataOut)));
        });
      }
    }

    test('blocks that were never written take the Data-Out, and their neighbours stay', () => {
      const lba = BLOCKS / 2 + 1;
      run(ORWRITE, lba, 2, Buffer.alloc(1024, 0xa5));
      const expected = Buffer.concat([Buffer.alloc(512), Buffer.alloc(1024, 0xa5), Buffer.alloc(512)]);
      assert.deepEqual(run(READ, lba - 1, 4).dataIn, expected);
    });

    test('fewer whole blocks than the CDB says are ORed, and the residual tells of the rest', () => {
      run(WRITE, 7, 3, Buffer.alloc(1536, 0x0f));
      const task = run(ORWRITE, 7, 3, Buffer.alloc(1024, 0xf0));
      assert.equal(task.transferLength, 1536);
      const expected = Buffer.concat([Buffer.alloc(1024, 0xff), Buffer.alloc(512, 0x0f)]);
      assert.deepEqual(run(READ, 7, 3).dataIn, expected);
    });
  });
}

test('Data-Out in segments of odd lengths', () => {
  const target = new FakeTarget();
  const [medium, dataOut] = [pattern(1024, 31), pattern(1024, 7)];
  target.run(cdb16(WRITE, 0, 1, 2), { dataOut: medium });
  const task = target.task(cdb16(ORWRITE, 0, 1, 2), { dataOut });
  for (const length of [1, 6, 505, 3, 509]) task.data.add(Memory.allocate(length + 3), 3, length);
  target.unit.submit(task);
  assert.equal(task.outcome, 'GOOD');
  assert.deepEqual(target.run(cdb16(READ, 0, 1, 2)).dataIn, or(medium, dataOut));
});

test('the medium is read in pieces, and written once when all of it was read', () => {
  const { target, device } = slowTarget({ size: SIZE }, false);
  target.run(cdb16(ORWRITE, 0, 9, MANY), { dataOut: Buffer.alloc(MANY * 512) });
  assert.deepEqual(
    device.submitted.map(({ op, offset, length }) => [op, offset, length]),
    [
      [BlockOp.READ, 9 * 512, 1 << 20],
      [BlockOp.READ, 9 * 512 + (1 << 20), 1 << 20],
      [BlockOp.READ, 9 * 512 + (2 << 20), 1 << 19],
      [BlockOp.WRITE, 9 * 512, MANY * 512],
    ],
  );
});

test('what cannot be written is refused before data is asked for', () => {
  const target = new FakeTarget(fakeUnit({ size: SIZE }));
  const outOfRange = senseText(Sense.LBA_OUT_OF_RANGE);
  const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);
  const invalidUnit = senseText(Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
  const cases = [
    { cdb: cdb16(ORWRITE, 0, BLOCKS, 1), size: 512, outcome: outOfRange },
    { cdb: cdb16(ORWRITE, 0, BLOCKS - 1, 2), size: 1024, outcome: outOfRange },
    { cdb: cdb16(ORWRITE, 0, BLOCKS + 1, 0), size: 0, outcome: outOfRange },
    { cdb: cdb16(ORWRITE, 0, 0, MAXIMUM + 1), size: 512, outcome: invalidField },
    { cdb: cdb16(ORWRITE, 0x20, 0, 1), size: 512, outcome: invalidField },
    { cdb: cdb16(ORWRITE, 0x80, 0, 1), size: 512, outcome: invalidField },
    { cdb: cdb16(ORWRITE, 0, 0, 2), size: 700, outcome: invalidUnit },
    { cdb: cdb16(ORWRITE, 0, 0, 1), size: 0, outcome: 'GOOD' },
    { cdb: cdb16(ORWRITE, 0, BLOCKS, 0), size: 0, outcome: 'GOOD' },
  ];
  for (const { cdb, size, outcome } of cases) {
    const task = target.run(cdb, { dataOut: Buffer.alloc(size) });
    assert.equal(task.outcome, outcome);
    assert.equal(task.requests, 0);
  }
});

test('DPO, FUA and FUA_NV are accepted, and FUA is obeyed', () => {
  const { target, device } = slowTarget({ size: SIZE }, false);
  for (const flags of [0x10, 0x08, 0x18, 0x02]) {
    device.submitted.length = 0;
    const task = target.run(cdb16(ORWRITE, flags, 0, 1), { dataOut: Buffer.alloc(512) });
    assert.equal(task.outcome, 'GOOD');
    const write = device.submitted.find((io) => io.op === BlockOp.WRITE);
    assert.equal(write?.fua, (flags & 0x08) !== 0);
  }
});

test('write protection, a fault, and no memory', () => {
  const cdb = cdb16(ORWRITE, 0, 0, 1);
  const dataOut = Buffer.alloc(512, '!');
  const locked = new FakeTarget(fakeUnit({ readOnly: true }));
  assert.equal(locked.run(cdb, { dataOut }).outcome, senseText(Sense.WRITE_PROTECTED));
  const { target, device } = slowTarget({ size: SIZE }, false);
  device.fault = (io) => (io.op === BlockOp.WRITE ? BlockStatus.NO_SPACE : BlockStatus.GOOD);
  assert.equal(target.run(cdb, { dataOut }).outcome, senseText(Sense.SPACE_ALLOCATION_FAILED));
  device.submitted.length = 0;
  // The second piece cannot be read: the first one must not be written either.
  device.fault = (io) => (io.offset >= 1 << 20 ? BlockStatus.MEDIUM_ERROR : BlockStatus.GOOD);
  const unreadable = target.run(cdb16(ORWRITE, 0, 0, MANY), { dataOut: Buffer.alloc(MANY * 512) });
  assert.equal(unreadable.outcome, senseText(Sense.UNRECOVERED_READ_ERROR));
  assert.deepEqual(ops(device), [BlockOp.READ, BlockOp.READ]);
  assert.equal(target.run(cdb, { dataOut, outOfMemory: true }).outcome, 'BUSY');
});

describe('nothing comes between read and write', () => {
  for (const attribute of attributes) {
    test(`a WRITE with attribute ${attribute} that arrives in between waits`, () => {
      const { target, device } = slowTarget({ size: SIZE });
      const first = target.run(cdb16(ORWRITE, 0, 0, 1), { dataOut: Buffer.alloc(512, 0xff) });
      const write = target.run(cdb16(WRITE, 0, 0, 1), { dataOut: Buffer.alloc(512, 'W'), attribute });
      assert.deepEqual(ops(device), [BlockOp.READ]);
      device.completeNext();
      assert.deepEqual(ops(device), [BlockOp.READ, BlockOp.WRITE]);
      device.completeNext();
      assert.deepEqual([first.outcome, write.outcome], ['GOOD', 'NOT ENDED']);
      device.completeAll();
      assert.equal(write.outcome, 'GOOD');
      const reading = target.run(cdb16(READ, 0, 0, 1));
      device.completeAll();
      assert.deepEqual(reading.dataIn, Buffer.alloc(512, 'W'));
    });

    test(`it waits for older writes, with attribute ${attribute}`, () => {
      const { target, device } = slowTarget({ size: SIZE });
      target.run(cdb16(WRITE, 0, 0, 1), { dataOut: Buffer.alloc(512, 0x0f) });
      target.run(cdb16(ORWRITE, 0, 0, 1), { dataOut: Buffer.alloc(512, 0xf0), attribute });
      assert.deepEqual(ops(device), [BlockOp.WRITE]);
      device.completeAll();
      const reading = target.run(cdb16(READ, 0, 0, 1));
      device.completeAll();
      assert.deepEqual(reading.dataIn, Buffer.alloc(512, 0xff));
    });
  }

  test('of two at the same time, both leave their bits', () => {
    const { target, device } = slowTarget({ size: SIZE });
    target.run(cdb16(ORWRITE, 0, 0, 1), { dataOut: Buffer.alloc(512, 0x0f) });
    target.run(cdb16(ORWRITE, 0, 0, 1), { dataOut: Buffer.alloc(512, 0xf0) });
    device.completeAll();
    const reading = target.run(cdb16(READ, 0, 0, 1));
    device.completeAll();
    assert.deepEqual(reading.dataIn, Buffer.alloc(512, 0xff));
  });
});
