import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { Sense } from '../sense.js';
import { TaskAttribute } from '../task.js';
import { cdb10, cdb16, cdbCompareAndWrite } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const SIZE = 1 << 20;
const BLOCKS = SIZE / 512;
const miscompare = senseText(Sense.MISCOMPARE_DURING_VERIFY);
const invalidUnit = senseText(Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);

const halves = (blocks: number, expected: string, replacement: string): Buffer =>
  Buffer.concat([Buffer.alloc(blocks * 512, expected), Buffer.alloc(blocks * 512, replacement)]);

for (const { kind, target, settle } of [
  { kind: 'memory that is lent', target: new FakeTarget(), settle: () => undefined },
  { kind: 'at once', target: slowTarget({ size: SIZE }, false).target, settle: () => undefined },
  (() => {
    const { target, device } = slowTarget({ size: SIZE });
    return { kind: 'later', target, settle: () => device.completeAll() };
  })(),
]) {
  describe(`a device that answers: ${kind}`, () => {
    for (const blocks of [1, 2, 255]) {
      for (const lba of [0, BLOCKS - blocks]) {
        test(`${blocks} blocks at ${lba}`, () => {
          target.run(cdb16(0x8a, 0, lba, blocks), { dataOut: Buffer.alloc(blocks * 512, 'A') });
          settle();
          const dataOut = halves(blocks, 'A', 'B');
          const task = target.run(cdbCompareAndWrite(0, lba, blocks), { dataOut });
          settle();
          assert.equal(task.outcome, 'GOOD');
          assert.equal(task.transferLength, dataOut.length);
          const reading = target.run(cdb16(0x88, 0, lba, blocks));
          settle();
          assert.deepEqual(reading.dataIn, Buffer.alloc(blocks * 512, 'B'));

          const wrong = halves(blocks, 'B', 'C');
          const at = blocks * 512 - 27;
          wrong[at] = 0x5a;
          const refused = target.run(cdbCompareAndWrite(0, lba, blocks), { dataOut: wrong });
          settle();
          assert.equal(refused.outcome, miscompare);
          assert.equal(refused.sense.bytes[0]! & 0x80, 0x80);
          assert.equal(refused.sense.bytes.readUInt32BE(3), at);
          const again = target.run(cdb16(0x88, 0, lba, blocks));
          settle();
          assert.deepEqual(again.dataIn, Buffer.alloc(blocks * 512, 'B'));
        });
      }
    }
  });
}

test('what cannot be compared is refused before data is asked for', () => {
  const target = new FakeTarget();
  const cases = [
    { cdb: cdbCompareAndWrite(0, BLOCKS, 1), size: 1024, outcome: senseText(Sense.LBA_OUT_OF_RANGE) },
    { cdb: cdbCompareAndWrite(0, BLOCKS - 1, 2), size: 2048, outcome: senseText(Sense.LBA_OUT_OF_RANGE) },
    { cdb: cdbCompareAndWrite(0x20, 0, 1), size: 1024, outcome: senseText(Sense.INVALID_FIELD_IN_CDB) },
    { cdb: cdbCompareAndWrite(0, 0, 1), size: 2048, outcome: invalidUnit },
    { cdb: cdbCompareAndWrite(0, 0, 3), size: 2048, outcome: invalidUnit },
    { cdb: cdbCompareAndWrite(0, 0, 1), size: 0, outcome: invalidUnit },
    { cdb: cdbCompareAndWrite(0, 0, 0), size: 0, outcome: 'GOOD' },
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
    assert.equal(
      target.run(cdbCompareAndWrite(flags, 0, 1), { dataOut: Buffer.alloc(1024) }).outcome,
      'GOOD',
    );
    const write = device.submitted.find((io) => io.op === BlockOp.WRITE);
    assert.equal(write?.fua, (flags & 0x08) !== 0);
  }
});

test('write protection, a fault, and no memory', () => {
  const dataOut = Buffer.alloc(1024);
  const locked = new FakeTarget(fakeUnit({ readOnly: true }));
  const refused = locked.run(cdbCompareAndWrite(0, 0, 1), { dataOut });
  assert.equal(refused.outcome, senseText(Sense.WRITE_PROTECTED));
  const { target, device } = slowTarget({ size: SIZE }, false);
  device.fault = (io) => (io.op === BlockOp.WRITE ? BlockStatus.NO_SPACE : BlockStatus.GOOD);
  const full = target.run(cdbCompareAndWrite(0, 0, 1), { dataOut });
  assert.equal(full.outcome, senseText(Sense.SPACE_ALLOCATION_FAILED));
  device.fault = () => BlockStatus.MEDIUM_ERROR;
  const unreadable = target.run(cdbCompareAndWrite(0, 0, 1), { dataOut });
  assert.equal(unreadable.outcome, senseText(Sense.UNRECOVERED_READ_ERROR));
  assert.equal(target.run(cdbCompareAndWrite(0, 0, 1), { dataOut, outOfMemory: true }).outcome, 'BUSY');
});

describe('nothing comes between comparison and write', () => {
  for (const attribute of [TaskAttribute.SIMPLE, TaskAttribute.ORDERED, TaskAttribute.HEAD_OF_QUEUE]) {
    test(`a WRITE with attribute ${attribute} that arrives in between waits`, () => {
      const { target, device } = slowTarget({ size: SIZE });
      const swap = target.run(cdbCompareAndWrite(0, 0, 1), { dataOut: halves(1, '\0', 'B') });
      const write = target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512, 'W'), attribute });
      assert.deepEqual(
        device.submitted.map((io) => io.op),
        [BlockOp.READ],
      );
      device.completeNext();
      device.completeNext();
      assert.equal(swap.outcome, 'GOOD');
      device.completeAll();
      assert.equal(write.outcome, 'GOOD');
      const reading = target.run(cdb10(0x28, 0, 0, 1));
      device.completeAll();
      assert.deepEqual(reading.dataIn, Buffer.alloc(512, 'W'));
    });
  }

  for (const attribute of [TaskAttribute.SIMPLE, TaskAttribute.ORDERED, TaskAttribute.HEAD_OF_QUEUE]) {
    test(`it waits for older writes, with attribute ${attribute}`, () => {
      const { target, device } = slowTarget({ size: SIZE });
      target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512, 'W') });
      const swap = target.run(cdbCompareAndWrite(0, 0, 1), { dataOut: halves(1, 'W', 'B'), attribute });
      assert.equal(device.submitted.length, 1);
      device.completeAll();
      assert.equal(swap.outcome, 'GOOD');
    });
  }

  test('a HEAD OF QUEUE WRITE waits for one that had to wait, whatever else ends', () => {
    const { target, device } = slowTarget({ size: SIZE });
    target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512, 'A') });
    const swap = target.run(cdbCompareAndWrite(0, 0, 1), { dataOut: halves(1, 'A', 'B') });
    device.completeNext();
    const attribute = TaskAttribute.HEAD_OF_QUEUE;
    const write = target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512, 'W'), attribute });
    const victim = target.run(cdb10(0x28, 0, 0, 1));
    target.unit.abortTasks(
      (task) => task === victim,
      null,
      () => undefined,
    );
    assert.equal(victim.ending, 'aborted');
    assert.equal(device.pending.length, 1);
    device.completeNext();
    device.completeNext();
    assert.deepEqual([swap.outcome, write.outcome], ['GOOD', 'NOT ENDED']);
    device.completeAll();
    assert.equal(write.outcome, 'GOOD');
  });

  test('of two that expect the same, one wins', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const first = target.run(cdbCompareAndWrite(0, 0, 1), { dataOut: halves(1, '\0', '1') });
    const second = target.run(cdbCompareAndWrite(0, 0, 1), { dataOut: halves(1, '\0', '2') });
    device.completeAll();
    assert.deepEqual([first.outcome, second.outcome], ['GOOD', miscompare]);
  });
});

test('Data-Out for no blocks at all is refused: the count got lost', () => {
  const target = new FakeTarget();
  const cdb = Buffer.alloc(16);
  cdb[0] = 0x89;
  assert.equal(
    target.run([...cdb], { dataOut: Buffer.alloc(1024) }).outcome,
    senseText(Sense.INVALID_FIELD_IN_CDB),
  );
  assert.equal(target.run([...cdb]).outcome, 'GOOD');
});
