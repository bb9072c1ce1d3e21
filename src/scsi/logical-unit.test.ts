import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BlockStatus } from '../block/device.js';
import { deriveIdentity } from './identity.js';
import { LogicalUnit } from './logical-unit.js';
import { Sense, type SenseCode } from './sense.js';
import { TaskAttribute, TaskState } from './task.js';
import { cdb10, cdb16 } from './testing/cdb.js';
import { FakeTarget, type FakeTask, fakeNexus, fakeUnit, senseText } from './testing/fake-task.js';
import { SlowDevice, slowTarget } from './testing/slow-device.js';

const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const READ = cdb10(0x28, 0, 0, 1);
const WRITE = cdb10(0x2a, 0, 0, 1);
const BLOCK = Buffer.alloc(512, 'x');
const SIZE = 1 << 20;
const { SIMPLE, ORDERED, HEAD_OF_QUEUE } = TaskAttribute;

describe('checks that all commands share', () => {
  test('an unknown operation code', () => {
    assert.equal(new FakeTarget().run([0xff]).outcome, senseText(Sense.INVALID_COMMAND_OPERATION_CODE));
  });

  test('an unknown service action of a known operation code points at it', () => {
    const task = new FakeTarget().run([0xa3, 0x1f]);
    assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(task.sense.bytes.toString('hex', 15, 18), 'cc0001');
  });

  test('a reserved bit is refused, with a pointer at the highest one', () => {
    const task = new FakeTarget().run([0, 0, 0, 0x60, 0, 0]);
    assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(task.sense.bytes.toString('hex', 15, 18), 'ce0003');
  });

  test('NACA is refused by every operation', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    for (const { name, opcode, serviceAction, usage } of target.unit.operations.operations) {
      const cdb = [...usage.keys()].map(() => 0);
      cdb[0] = opcode;
      cdb[1] = serviceAction ?? 0;
      cdb[usage.length - 1] = 0x04;
      assert.equal(target.run(cdb).outcome, senseText(Sense.INVALID_FIELD_IN_CDB), name);
    }
  });

  test('a CDB that is shorter than its operation code demands', () => {
    const target = new FakeTarget();
    const task = target.task(cdb16(0x88, 0, 0, 1));
    task.cdbLength = 10;
    target.unit.submit(task);
    assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
  });

  test('write protection by configuration', () => {
    const target = new FakeTarget(fakeUnit({ readOnly: true }));
    assert.equal(target.run(WRITE, { dataOut: BLOCK }).outcome, senseText(Sense.WRITE_PROTECTED));
    assert.equal(target.run(READ).outcome, 'GOOD');
  });

  test('sense data is in the descriptor format when D_SENSE is set', () => {
    const target = new FakeTarget();
    target.unit.modePages.find(0x0a)!.current[2] = 0x04;
    target.unit.modePages.applied();
    const task = target.run(cdb16(0x88, 0, 2 ** 40, 1));
    assert.equal(task.sense.bytes[0], 0x72);
    assert.equal(task.outcome, senseText(Sense.LBA_OUT_OF_RANGE));
  });

  test('whatever the CDB, the task ends, or waits for data that then ends it', () => {
    const target = new FakeTarget(fakeUnit({ removable: true }));
    const known = target.unit.operations.operations;
    const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
    const plausible = fc.tuple(fc.constantFrom(...known), bytes).map(([operation, noise]) =>
      [...noise].map((byte, i) => {
        if (i === 0) return operation.opcode;
        const masked = byte & (operation.usage[i] ?? 0xff);
        return i === 1 && operation.serviceAction !== undefined ? operation.serviceAction : masked;
      }),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          bytes.map((b) => [...b]),
          plausible,
        ),
        fc.uint8Array({ maxLength: 2048 }),
        fc.nat(8192),
        (cdb, dataOut, dataInLimit) => {
          const task = target.run(cdb, { dataOut, dataInLimit });
          assert.equal(task.ending, 'finished');
          assert.ok(task.dataInLength <= task.data.length);
          assert.equal(task.scsiStatus === 0x02, task.sense.length > 0);
          assert.equal(target.unit.taskSet.count, 0);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe('Data-Out', () => {
  test('a command that needs more than the initiator gives transfers nothing', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const writeSame = cdb10(0x41, 0, 0, 1);
    const task = target.run(writeSame, { dataOut: Buffer.alloc(100) });
    assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT));
    assert.equal(task.transferLength, 512);
    assert.equal(task.requests, 0);
    assert.equal(device.submitted.length, 0);
  });

  test('is awaited, and the command goes on when it is there', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const task = target.run(WRITE, { dataOut: BLOCK, holdsData: true });
    assert.equal(task.state, TaskState.AWAITING_DATA);
    task.deliver();
    assert.equal(task.state, TaskState.AWAITING_DEVICE);
    device.completeAll();
    assert.equal(task.outcome, 'GOOD');
  });

  test('that never comes ends the command with what the transport says', () => {
    const { target } = slowTarget({ size: SIZE });
    const task = target.run(WRITE, { dataOut: BLOCK, holdsData: true });
    target.unit.dataFailed(task, Sense.PROTOCOL_SERVICE_CRC_ERROR);
    assert.equal(task.outcome, senseText(Sense.PROTOCOL_SERVICE_CRC_ERROR));
    target.unit.dataFailed(task);
    target.unit.dataReceived(task);
    assert.equal(task.outcome, senseText(Sense.PROTOCOL_SERVICE_CRC_ERROR));
  });

  test('no memory is BUSY', () => {
    const { target } = slowTarget({ size: SIZE });
    assert.equal(target.run(WRITE, { dataOut: BLOCK, outOfMemory: true }).outcome, 'BUSY');
    assert.equal(target.run([0x12, 0, 0, 0, 96, 0], { outOfMemory: true }).outcome, 'BUSY');
  });
});

describe('the device', () => {
  test('writes are forced through when the write cache is off, reads are not', () => {
    const { target, device } = slowTarget({ size: SIZE }, false, { writeCache: false });
    target.run(WRITE, { dataOut: BLOCK });
    target.run(READ);
    assert.deepEqual(
      device.submitted.map((io) => io.fua),
      [true, false],
    );
  });

  const faults: [BlockStatus, SenseCode, SenseCode][] = [
    [BlockStatus.MEDIUM_ERROR, Sense.UNRECOVERED_READ_ERROR, Sense.WRITE_ERROR],
    [BlockStatus.NO_SPACE, Sense.SPACE_ALLOCATION_FAILED, Sense.SPACE_ALLOCATION_FAILED],
    [BlockStatus.READ_ONLY, Sense.WRITE_PROTECTED, Sense.WRITE_PROTECTED],
    [BlockStatus.OUT_OF_RANGE, Sense.LBA_OUT_OF_RANGE, Sense.LBA_OUT_OF_RANGE],
    [BlockStatus.NOT_READY, Sense.LOGICAL_UNIT_NOT_READY, Sense.LOGICAL_UNIT_NOT_READY],
  ];
  for (const [status, reading, writing] of faults) {
    const name = Object.entries(BlockStatus).find(([, value]) => value === status)![0];
    test(`${name} becomes sense data with the block that failed, and is told to the owner`, () => {
      const { target, device } = slowTarget({ size: SIZE }, false);
      const told: string[] = [];
      target.unit.events = {
        deviceFailed: (_unit, task) => told.push(`${task.op} at ${task.errorOffset}`),
        sanitized: () => undefined,
        sanitizeNotKept: () => undefined,
        reservationsNotKept: () => undefined,
        accessStatesSet: () => undefined,
      };
      device.fault = () => status;
      const read = target.run(cdb10(0x28, 0, 3, 1));
      const write = target.run(cdb10(0x2a, 0, 4, 1), { dataOut: BLOCK });
      assert.equal(read.outcome, senseText(reading));
      assert.equal(read.sense.bytes.readUInt32BE(3), 3);
      assert.equal(write.outcome, senseText(writing));
      assert.equal(write.sense.bytes.readUInt32BE(3), 4);
      assert.deepEqual(told, ['0 at 1536', '1 at 2048']);
    });
  }

  test('many rounds that complete at once do not exhaust the stack', () => {
    const { target, device } = slowTarget({ size: SIZE }, false);
    const rounds = 50_000;
    const { unit } = target;
    const task = target.task(READ);
    unit.submit(task);
    // The same task again, now with an operation that starts the device over and over.
    const again = target.task(TEST_UNIT_READY);
    let left = rounds;
    again.logicalUnit = unit;
    again.length = 512;
    again.allocate(512);
    unit.taskSet.enter(again);
    again.operation = {
      ...task.operation!,
      deviceDone: (t, u) => (--left > 0 ? u.startDevice(t) : u.good(t)),
    };
    unit.startDevice(again);
    assert.equal(again.outcome, 'GOOD');
    assert.equal(device.submitted.length, 1 + rounds);
  });

  test('a new size is in force at once, and every nexus hears of it', () => {
    const device = new SlowDevice({ size: SIZE }, false);
    let size = SIZE;
    Object.defineProperty(device, 'size', { get: () => size });
    const identity = deriveIdentity({ targetName: 'iqn.2026-01.test:x', lun: 0, image: 'x' });
    const target = new FakeTarget(new LogicalUnit(device, { identity }));
    assert.equal(target.unit.blockCount, 2048);
    size *= 2;
    device.events!.resized();
    assert.equal(target.unit.blockCount, 4096);
    assert.equal(target.run(TEST_UNIT_READY).outcome, senseText(Sense.CAPACITY_DATA_HAS_CHANGED));
  });
});

describe('the loss of a nexus', () => {
  test('ends its tasks in silence, its reservation and its prevention, and nothing of others', () => {
    const { target, device } = slowTarget({ size: SIZE }, true, { removable: true });
    const { unit, nexus } = target;
    const other = fakeNexus('b');
    unit.addNexus(other);
    const atDevice = target.run(READ);
    const waiting = target.run(WRITE, { dataOut: BLOCK, holdsData: true });
    const others = target.run(READ, { nexus: other });
    unit.reservations.reserve(nexus);
    unit.medium.prevent(nexus);
    unit.removeNexus(nexus);
    assert.equal(waiting.ending, 'aborted');
    assert.equal(atDevice.ending, 'none', 'its buffers are in use');
    assert.equal(unit.reservations.holder, null);
    assert.equal(unit.medium.isRemovalPrevented, false);
    device.completeAll();
    assert.equal(atDevice.ending, 'aborted');
    assert.equal(others.outcome, 'GOOD');
    assert.equal(unit.taskSet.count, 0);
  });

  for (const [name, attribute] of Object.entries(TaskAttribute)) {
    test(`what it was writing with a ${name} task is over before anything else begins, its initiator's own included`, () => {
      const { target, device } = slowTarget({ size: SIZE });
      const { unit, nexus } = target;
      const other = fakeNexus('b');
      unit.addNexus(other);
      // An ORDERED one begins alone; of the others there are two, beside what another nexus reads.
      if (attribute !== ORDERED) target.run(READ, { nexus: other });
      target.run(WRITE, { dataOut: BLOCK, attribute });
      target.run(WRITE, { dataOut: BLOCK, attribute });
      const lost = device.pending.filter((io) => (io as FakeTask).nexus === nexus);
      assert.equal(lost.length, attribute === ORDERED ? 1 : 2);
      const before = [...device.pending];
      unit.removeNexus(nexus);
      unit.addNexus(nexus);
      const later = [SIMPLE, ORDERED, HEAD_OF_QUEUE, SIMPLE].map((order, i) =>
        target.run(WRITE, { dataOut: BLOCK, attribute: order, nexus: i === 3 ? nexus : other }),
      );
      assert.deepEqual(device.pending, before);
      while (device.pending.some((io) => lost.includes(io))) {
        assert.ok(later.every(({ ending }) => ending === 'none'));
        assert.ok(!device.pending.some((io) => later.includes(io as FakeTask)));
        device.completeNext();
      }
      device.completeAll();
      assert.deepEqual(
        later.map(({ outcome }) => outcome),
        Array(4).fill('GOOD'),
      );
      assert.equal(unit.taskSet.count, 0);
    });
  }

  test('nobody waits for what it was reading', () => {
    const { target, device } = slowTarget({ size: SIZE });
    const { unit, nexus } = target;
    const other = fakeNexus('b');
    unit.addNexus(other);
    const lost = target.run(READ);
    unit.removeNexus(nexus);
    const next = target.run(WRITE, { nexus: other, dataOut: BLOCK });
    assert.deepEqual(device.pending, [lost, next]);
    device.completeAll();
  });
});
