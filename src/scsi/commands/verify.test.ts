import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { ScatterList } from '../../util/memory.js';
import { Sense } from '../sense.js';
import { cdb10, cdb12, cdb16 } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText, type FakeTask } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const EACH = 0x02;
const SAME = 0x06;
const miscompare = senseText(Sense.MISCOMPARE_DURING_VERIFY);
const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);
const invalidUnit = senseText(Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
const SIZE = 8 << 20;
/** More than one piece, and not a multiple of it: 2.5 MiB. */
const MANY = 5120;

const verifications = {
  'VERIFY(10)': (flags: number, lba: number, blocks: number) => cdb10(0x2f, flags, lba, blocks),
  'VERIFY(12)': (flags: number, lba: number, blocks: number) => cdb12(0xaf, flags, lba, blocks),
  'VERIFY(16)': (flags: number, lba: number, blocks: number) => cdb16(0x8f, flags, lba, blocks),
};
const writes = {
  'WRITE AND VERIFY(10)': (flags: number, lba: number, blocks: number) => cdb10(0x2e, flags, lba, blocks),
  'WRITE AND VERIFY(12)': (flags: number, lba: number, blocks: number) => cdb12(0xae, flags, lba, blocks),
  'WRITE AND VERIFY(16)': (flags: number, lba: number, blocks: number) => cdb16(0x8e, flags, lba, blocks),
};

/** Targets that lend their memory, that complete at once, and that complete later. */
function targets(): { name: string; target: FakeTarget; settle: () => void }[] {
  const later = slowTarget({ size: SIZE });
  return [
    { name: 'lends', target: new FakeTarget(fakeUnit({ size: SIZE })), settle: () => undefined },
    { name: 'at once', target: slowTarget({ size: SIZE }, false).target, settle: () => undefined },
    { name: 'later', target: later.target, settle: () => later.device.completeAll() },
  ];
}

function information(task: FakeTask): number {
  assert.equal(task.sense.bytes[0]! & 0x80, 0x80, 'INFORMATION is valid');
  return task.sense.bytes.readUInt32BE(3);
}

function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 9)) & 0xff;
  return bytes;
}

for (const [name, verify] of Object.entries(verifications)) {
  describe(name, () => {
    for (const { name: kind, target, settle } of targets()) {
      test(`compares each block (${kind})`, () => {
        const data = pattern(MANY * 512);
        target.run(cdb16(0x8a, 0, 9, MANY), { dataOut: data });
        settle();
        const same = target.run(verify(EACH, 9, MANY), { dataOut: data });
        settle();
        assert.equal(same.outcome, 'GOOD');
        assert.equal(same.transferLength, data.length);
        for (const at of [0, 511, (1 << 20) - 1, 1 << 20, data.length - 1]) {
          const wrong = Buffer.from(data);
          wrong[at]! ^= 0x58;
          const task = target.run(verify(EACH, 9, MANY), { dataOut: wrong });
          settle();
          assert.equal(task.outcome, miscompare);
          assert.equal(information(task), at);
        }
      });

      test(`compares nothing without BYTCHK, and takes no data (${kind})`, () => {
        const task = target.run(verify(0, 3, MANY), { dataOut: Buffer.alloc(512, '!') });
        settle();
        assert.equal(task.outcome, 'GOOD');
        assert.equal(task.transferLength, 0);
        assert.equal(task.requests, 0);
      });

      test(`compares every block with one (${kind})`, () => {
        const one = pattern(512);
        target.run(cdb16(0x93, 0, 0, MANY), { dataOut: one });
        settle();
        const same = target.run(verify(SAME, 0, MANY), { dataOut: one });
        settle();
        assert.equal(same.outcome, 'GOOD');
        assert.equal(same.transferLength, 512);
        target.run(cdb16(0x8a, 0, MANY - 1, 1), {
          dataOut: Buffer.concat([one.subarray(0, 511), Buffer.of(1)]),
        });
        settle();
        const other = target.run(verify(SAME, 0, MANY), { dataOut: one });
        settle();
        assert.equal(other.outcome, miscompare);
        assert.equal(information(other), 511);
      });
    }

    test('refuses what it cannot verify', () => {
      const target = new FakeTarget();
      const dataOut = Buffer.alloc(1024);
      for (const flags of [0, EACH, SAME]) {
        const task = target.run(verify(flags, 2047, 2), { dataOut });
        assert.equal(task.outcome, senseText(Sense.LBA_OUT_OF_RANGE));
        assert.equal(task.requests, 0);
        assert.equal(target.run(verify(flags, 2049, 0)).outcome, senseText(Sense.LBA_OUT_OF_RANGE));
        assert.equal(target.run(verify(flags, 0, 0)).outcome, 'GOOD');
        assert.equal(target.run(verify(flags | 0x20, 0, 2), { dataOut }).outcome, invalidField);
        assert.equal(target.run(verify(flags | 0x10, 0, 2), { dataOut }).outcome, 'GOOD');
      }
      assert.equal(target.run(verify(0x04, 0, 2), { dataOut }).outcome, invalidField);
      assert.equal(target.run(verify(EACH, 0, 3), { dataOut }).outcome, invalidUnit);
    });
  });
}

for (const [name, writeAndVerify] of Object.entries(writes)) {
  describe(name, () => {
    for (const { name: kind, target, settle } of targets()) {
      for (const flags of [0, EACH]) {
        test(`writes, then verifies, BYTCHK ${flags >> 1} (${kind})`, () => {
          const data = pattern(MANY * 512);
          data.fill('w', 0, 512);
          const task = target.run(writeAndVerify(flags, 77, MANY), { dataOut: data });
          settle();
          assert.equal(task.outcome, 'GOOD');
          assert.equal(task.transferLength, data.length);
          const reading = target.run(cdb16(0x88, 0, 77, MANY), { dataInLimit: SIZE });
          settle();
          assert.ok(reading.dataIn.equals(data));
        });
      }
    }

    test('writes the whole blocks of too little Data-Out', () => {
      for (const { target, settle } of targets()) {
        const task = target.run(writeAndVerify(EACH, 0, 2), { dataOut: Buffer.alloc(512, 'b') });
        settle();
        assert.equal(task.outcome, 'GOOD');
        assert.equal(task.transferLength, 1024);
        const reading = target.run(cdb10(0x28, 0, 0, 2));
        settle();
        assert.deepEqual(reading.dataIn, Buffer.concat([Buffer.alloc(512, 'b'), Buffer.alloc(512)]));
        assert.equal(target.run(writeAndVerify(EACH, 0, 2)).outcome, 'GOOD');
        const odd = target.run(writeAndVerify(EACH, 0, 2), { dataOut: Buffer.alloc(200) });
        assert.equal(odd.outcome, invalidUnit);
        assert.equal(odd.transferLength, 1024);
      }
    });

    test('writes onto stable storage', () => {
      const { target, device } = slowTarget({ size: SIZE }, false);
      target.run(writeAndVerify(0, 0, 1), { dataOut: Buffer.alloc(512) });
      assert.deepEqual(
        device.submitted.map(({ op, fua }) => ({ op, fua })),
        [
          { op: BlockOp.WRITE, fua: true },
          { op: BlockOp.READ, fua: true },
        ],
      );
    });

    test('tells of a medium that lies', () => {
      const { target, device } = slowTarget({ size: SIZE }, false);
      device.fault = (io) => {
        if (io.op !== BlockOp.READ) return BlockStatus.GOOD;
        const written = new ScatterList();
        device.memory.lend(written, io.offset, io.length, true);
        written.fill(0, 100, 1);
        return BlockStatus.GOOD;
      };
      const task = target.run(writeAndVerify(EACH, 4, 1), { dataOut: Buffer.alloc(512, 'd') });
      assert.equal(task.outcome, miscompare);
      assert.equal(information(task), 100);
    });

    test('refuses BYTCHK 11b, protection and a bad range', () => {
      const target = new FakeTarget();
      const dataOut = Buffer.alloc(1024);
      assert.equal(target.run(writeAndVerify(SAME, 0, 2), { dataOut }).outcome, invalidField);
      assert.equal(target.run(writeAndVerify(0x40, 0, 2), { dataOut }).outcome, invalidField);
      const task = target.run(writeAndVerify(0, 2047, 2), { dataOut });
      assert.equal(task.outcome, senseText(Sense.LBA_OUT_OF_RANGE));
    });
  });
}

test('a medium error ends the verification', () => {
  const { target, device } = slowTarget({ size: SIZE });
  device.fault = (io) => (io.offset >= 1 << 20 ? BlockStatus.MEDIUM_ERROR : BlockStatus.GOOD);
  const task = target.run(cdb16(0x8f, 0, 0, MANY));
  device.completeAll();
  assert.equal(task.outcome, senseText(Sense.UNRECOVERED_READ_ERROR));
  assert.equal(information(task), 2048);
  assert.equal(device.submitted.length, 2);
});

test('no memory for a piece is BUSY', () => {
  const { target } = slowTarget({ size: SIZE });
  assert.equal(target.run(cdb16(0x8f, 0, 0, 1), { outOfMemory: true }).outcome, 'BUSY');
});

test('an aborted VERIFY ends when the device is done with its memory', () => {
  const { target, device } = slowTarget({ size: SIZE });
  const task = target.run(cdb16(0x8f, 0, 0, MANY));
  target.unit.abortTasks(
    () => true,
    null,
    () => undefined,
  );
  assert.equal(task.ending, 'none');
  device.completeAll();
  assert.equal(task.ending, 'aborted');
  assert.equal(device.submitted.length, 1);
});
