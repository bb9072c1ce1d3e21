import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAXIMUM_TRANSFER_BYTES } from '../limits.js';
import { Sense } from '../sense.js';
import { TaskAttribute } from '../task.js';
import { cdb16 } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const WRITE_ATOMIC = 0x9c;
const READ = 0x88;
const SIZE = 32 << 20;
const BLOCKS = SIZE / 512;
const MAXIMUM = MAXIMUM_TRANSFER_BYTES / 512;

test('it writes, also up to the last block and as much as page B0h says', () => {
  const target = new FakeTarget(fakeUnit({ size: SIZE }));
  const limits = target.run([0x12, 1, 0xb0, 0, 64, 0]).dataIn;
  assert.equal(limits.readUInt32BE(44), MAXIMUM);
  for (const [lba, blocks] of [
    [0, 1],
    [BLOCKS - MAXIMUM, MAXIMUM],
  ] as const) {
    const dataOut = Buffer.alloc(blocks * 512, 0xa6);
    assert.equal(target.run(cdb16(WRITE_ATOMIC, 0, lba, blocks), { dataOut }).outcome, 'GOOD');
    assert.ok(target.run(cdb16(READ, 0, lba, blocks), { dataInLimit: SIZE }).dataIn.equals(dataOut));
  }
});

test('what it cannot write it refuses before data is asked for', () => {
  const target = new FakeTarget(fakeUnit({ size: SIZE }));
  const boundary = cdb16(WRITE_ATOMIC, 0, 0, 1);
  boundary[11] = 8;
  for (const { cdb, bytes, outcome, pointer } of [
    { cdb: cdb16(WRITE_ATOMIC, 0, BLOCKS, 1), bytes: 512, outcome: Sense.LBA_OUT_OF_RANGE },
    {
      cdb: cdb16(WRITE_ATOMIC, 0, 0, MAXIMUM + 1),
      bytes: 512,
      outcome: Sense.INVALID_FIELD_IN_CDB,
      pointer: 12,
    },
    { cdb: boundary, bytes: 512, outcome: Sense.INVALID_FIELD_IN_CDB, pointer: 11 },
    { cdb: cdb16(WRITE_ATOMIC, 0x20, 0, 1), bytes: 512, outcome: Sense.INVALID_FIELD_IN_CDB, pointer: 1 },
    // Whole blocks, but fewer than the CDB says: a WRITE would write them.
    {
      cdb: cdb16(WRITE_ATOMIC, 0, 0, 2),
      bytes: 512,
      outcome: Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    },
  ]) {
    const task = target.run(cdb, { dataOut: Buffer.alloc(bytes, 1) });
    assert.equal(task.outcome, senseText(outcome));
    assert.equal(task.requests, 0);
    if (pointer !== undefined) assert.equal(task.sense.bytes.readUInt16BE(16), pointer);
  }
});

test('a command that is aborted while its data comes has changed nothing, and nothing runs beside it', () => {
  const target = new FakeTarget();
  const dataOut = Buffer.alloc(1024, 0xff);
  const write = target.run(cdb16(WRITE_ATOMIC, 0, 0, 2), { dataOut, holdsData: true });
  const read = target.run(cdb16(READ, 0, 0, 2), { attribute: TaskAttribute.HEAD_OF_QUEUE });
  assert.equal(read.outcome, 'NOT ENDED');
  // Half of it has come.
  write.data.write(0, dataOut, 0, 512);
  target.unit.abortTasks(
    (task) => task === write,
    null,
    () => undefined,
  );
  assert.equal(read.outcome, 'GOOD');
  assert.ok(read.dataIn.equals(Buffer.alloc(1024)));
});

test('a device that promises nothing has no such command, and page B0h says so', () => {
  const { target } = slowTarget({ size: 1 << 20 }, false);
  const task = target.run(cdb16(WRITE_ATOMIC, 0, 0, 1), { dataOut: Buffer.alloc(512) });
  assert.equal(task.outcome, senseText(Sense.INVALID_COMMAND_OPERATION_CODE));
  assert.equal(target.run([0x12, 1, 0xb0, 0, 64, 0]).dataIn.readUInt32BE(44), 0);
});
