import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp, BlockStatus } from '../../block/device.js';
import { MAXIMUM_TRANSFER_BYTES } from '../limits.js';
import { Sense } from '../sense.js';
import { cdb6, cdb10, cdb12, cdb16 } from '../testing/cdb.js';
import { FakeTarget, fakeUnit, senseText } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const BLOCKS = 2048;
const outOfRange = senseText(Sense.LBA_OUT_OF_RANGE);
const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);
const FUA = 0x08;

/** Each length of CDB: how to build one to read and one to write. */
const LAYOUTS = [
  {
    size: 6,
    read: (lba: number, blocks: number) => cdb6(0x08, lba, blocks),
    write: (lba: number, blocks: number) => cdb6(0x0a, lba, blocks),
  },
  {
    size: 10,
    read: (lba: number, blocks: number) => cdb10(0x28, 0, lba, blocks),
    write: (lba: number, blocks: number) => cdb10(0x2a, 0, lba, blocks),
  },
  {
    size: 12,
    read: (lba: number, blocks: number) => cdb12(0xa8, 0, lba, blocks),
    write: (lba: number, blocks: number) => cdb12(0xaa, 0, lba, blocks),
  },
  {
    size: 16,
    read: (lba: number, blocks: number) => cdb16(0x88, 0, lba, blocks),
    write: (lba: number, blocks: number) => cdb16(0x8a, 0, lba, blocks),
  },
];

for (const { size, read, write } of LAYOUTS) {
  describe(`READ(${size}) and WRITE(${size})`, () => {
    test('what was written is read, at both ends of the medium', () => {
      for (const lba of [0, BLOCKS - 3]) {
        const target = new FakeTarget();
        const data = Buffer.alloc(3 * 512, `${size}`);
        assert.equal(target.run(write(lba, 3), { dataOut: data }).outcome, 'GOOD');
        const reading = target.run(read(lba, 3));
        assert.equal(reading.outcome, 'GOOD');
        assert.deepEqual(reading.dataIn, data);
        assert.equal(reading.transferLength, data.length);
      }
    });

    test('a range that ends behind the medium is refused before data is asked for', () => {
      const target = new FakeTarget();
      for (const [lba, blocks] of [
        [BLOCKS, 1],
        [BLOCKS - 1, 2],
        [0x1f_ffff, 1],
      ] as const) {
        assert.equal(target.run(read(lba, blocks)).outcome, outOfRange);
        const writing = target.run(write(lba, blocks), { dataOut: Buffer.alloc(blocks * 512) });
        assert.equal(writing.outcome, outOfRange);
        assert.equal(writing.requests, 0);
      }
    });
  });
}

describe('transfer length 0', () => {
  test('moves nothing, unless in a CDB of 6 bytes', () => {
    const target = new FakeTarget();
    for (const { size, read, write } of LAYOUTS.slice(1)) {
      assert.equal(target.run(read(0, 0)).outcome, 'GOOD', `READ(${size})`);
      assert.equal(target.run(write(BLOCKS, 0)).outcome, 'GOOD', `WRITE(${size})`);
      assert.equal(target.run(read(BLOCKS + 1, 0)).outcome, outOfRange);
      assert.equal(target.run(write(BLOCKS + 1, 0)).outcome, outOfRange);
    }
  });

  test('means 256 blocks in a CDB of 6 bytes', () => {
    const target = new FakeTarget();
    const data = Buffer.alloc(256 * 512, 'x');
    assert.equal(target.run(cdb6(0x0a, 5, 0), { dataOut: data }).outcome, 'GOOD');
    assert.deepEqual(target.run(cdb6(0x08, 5, 0)).dataIn, data);
    assert.equal(target.run(cdb6(0x08, BLOCKS - 255, 0)).outcome, outOfRange);
  });
});

test('addresses near 2^64 are out of range', () => {
  const target = new FakeTarget();
  const cdb = [0x88, 0, ...new Array<number>(8).fill(0xff), 0, 0, 0, 1, 0, 0];
  assert.equal(target.run(cdb).outcome, outOfRange);
  assert.equal(target.run([0x88, 0, 0x80, ...new Array<number>(13).fill(0)]).outcome, outOfRange);
});

test('a transfer above the maximum is refused with a pointer at its length', () => {
  const target = new FakeTarget(fakeUnit({ size: 64 << 20 }));
  const most = MAXIMUM_TRANSFER_BYTES / 512;
  assert.equal(target.run(cdb16(0x88, 0, 0, most), { dataInLimit: 512 }).outcome, 'GOOD');
  const task = target.run(cdb16(0x88, 0, 0, most + 1));
  assert.equal(task.outcome, invalidField);
  assert.equal(task.sense.bytes.readUInt16BE(16), 10);
});

test('RDPROTECT and WRPROTECT are refused, DPO, FUA, FUA_NV and GROUP NUMBER are not', () => {
  const target = new FakeTarget();
  const dataOut = Buffer.alloc(512);
  for (let protect = 1; protect < 8; protect++) {
    assert.equal(target.run(cdb10(0x28, protect << 5, 0, 1)).outcome, invalidField);
    assert.equal(target.run(cdb10(0x2a, protect << 5, 0, 1), { dataOut }).outcome, invalidField);
  }
  for (const flags of [0x10, 0x08, 0x18, 0x02, 0x1a]) {
    assert.equal(target.run(cdb10(0x28, flags, 0, 1)).outcome, 'GOOD');
    const write = cdb10(0x2a, flags, 0, 1);
    write[6] = 3;
    assert.equal(target.run(write, { dataOut }).outcome, 'GOOD');
  }
});

describe('residuals', () => {
  test('a READ gives what the initiator takes, and tells of the whole', () => {
    for (const target of [new FakeTarget(), slowTarget({ size: 1 << 20 }, false).target]) {
      target.run(cdb10(0x2a, 0, 0, 2), { dataOut: Buffer.alloc(1024, 'r') });
      for (const dataInLimit of [0, 200, 512, 1024, 10_000]) {
        const task = target.run(cdb10(0x28, 0, 0, 2), { dataInLimit });
        assert.equal(task.outcome, 'GOOD');
        assert.equal(task.transferLength, 1024);
        assert.deepEqual(task.dataIn, Buffer.alloc(Math.min(dataInLimit, 1024), 'r'));
      }
    }
  });

  test('no more blocks are read than the initiator takes', () => {
    const { target, device } = slowTarget({ size: 1 << 20 }, false);
    target.run(cdb10(0x28, 0, 4, 100), { dataInLimit: 513 });
    assert.deepEqual(
      device.submitted.map(({ offset, length }) => ({ offset, length })),
      [{ offset: 2048, length: 1024 }],
    );
  });

  for (const [kind, target] of [
    ['memory', new FakeTarget()],
    ['a device that lends none', slowTarget({ size: 1 << 20 }, false).target],
  ] as const)
    test(`a WRITE with too little Data-Out writes what there is (${kind})`, () => {
      const old = Buffer.alloc(1536, 'a');
      for (const given of [0, 512, 1024, 1, 200, 511, 513, 1023]) {
        target.run(cdb10(0x2a, 0, 0, 3), { dataOut: old });
        const task = target.run(cdb10(0x2a, 0, 0, 2), { dataOut: Buffer.alloc(given, 'b') });
        assert.equal(task.outcome, 'GOOD');
        assert.equal(task.transferLength, 1024);
        const expected = Buffer.concat([Buffer.alloc(given, 'b'), old.subarray(given)]);
        assert.deepEqual(target.run(cdb10(0x28, 0, 0, 3)).dataIn, expected);
      }
    });

  test('nothing changes the block that a WRITE has a part of while it is read and written', () => {
    const { target, device } = slowTarget({ size: 1 << 20 });
    const part = target.run(cdb10(0x2a, FUA, 0, 2), { dataOut: Buffer.alloc(700, 'b') });
    const whole = target.run(cdb10(0x2a, 0, 1, 1), { dataOut: Buffer.alloc(512, 'c') });
    const { WRITE, READ } = BlockOp;
    const steps = [
      { op: WRITE, offset: 0, length: 512, fua: true },
      { op: READ, offset: 512, length: 512, fua: true },
      { op: WRITE, offset: 512, length: 512, fua: true },
      { op: WRITE, offset: 512, length: 512, fua: false },
    ];
    for (const [i, step] of steps.entries()) {
      assert.equal(device.submitted.length, i + 1);
      const { op, offset, length, fua } = device.submitted[i]!;
      assert.deepEqual({ op, offset, length, fua }, step);
      device.completeNext();
    }
    assert.deepEqual([part.outcome, whole.outcome], ['GOOD', 'GOOD']);
    device.defers = false;
    assert.deepEqual(target.run(cdb10(0x28, 0, 1, 1)).dataIn, Buffer.alloc(512, 'c'));
  });

  test('a WRITE of a part fails where the device fails, or memory is short', () => {
    for (const failing of [0, 1, 2]) {
      const { target, device } = slowTarget({ size: 1 << 20 }, false);
      device.fault = () =>
        device.submitted.length === failing + 1 ? BlockStatus.MEDIUM_ERROR : BlockStatus.GOOD;
      const task = target.run(cdb10(0x2a, 0, 0, 2), { dataOut: Buffer.alloc(700, 'b') });
      assert.match(task.outcome, /^MEDIUM ERROR/);
      assert.equal(device.submitted.length, failing + 1);
    }
    const { target, device } = slowTarget({ size: 1 << 20 }, false);
    const outOfMemory = true;
    const task = target.run(cdb10(0x2a, 0, 0, 2), { dataOut: Buffer.alloc(700, 'b'), outOfMemory });
    assert.equal(task.outcome, 'BUSY');
    assert.equal(device.submitted.length, 0);
  });

  test('a WRITE with too much Data-Out takes what it needs', () => {
    const target = new FakeTarget();
    const task = target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(10_000, 'c') });
    assert.equal(task.outcome, 'GOOD');
    assert.equal(task.transferLength, 512);
    const expected = Buffer.concat([Buffer.alloc(512, 'c'), Buffer.alloc(512)]);
    assert.deepEqual(target.run(cdb10(0x28, 0, 0, 2)).dataIn, expected);
  });
});

describe('a device that lends no memory', () => {
  test('is written to with FUA when the command says so, or without a write cache', () => {
    const dataOut = Buffer.alloc(512);
    const cached = slowTarget({ size: 1 << 20 }, false);
    cached.target.run(cdb10(0x2a, 0, 0, 1), { dataOut });
    cached.target.run(cdb10(0x2a, FUA, 0, 1), { dataOut });
    cached.target.run(cdb6(0x0a, 0x08_0000, 1), { dataOut });
    cached.target.run(cdb6(0x0a, 0, 1), { dataOut });
    assert.deepEqual(
      cached.device.submitted.map((io) => io.fua),
      [false, true, false],
    );
    const uncached = slowTarget({ size: 1 << 20 }, false, { writeCache: false });
    uncached.target.run(cdb10(0x2a, 0, 0, 1), { dataOut });
    assert.deepEqual(
      uncached.device.submitted.map((io) => io.fua),
      [true],
    );
  });

  test('may complete in any order', () => {
    const { target, device } = slowTarget({ size: 1 << 20 });
    target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512, '1') });
    device.completeAll();
    const first = target.run(cdb10(0x28, 0, 0, 1));
    const second = target.run(cdb10(0x28, 0, 1, 1));
    assert.equal(first.outcome, 'NOT ENDED');
    device.pending.reverse();
    device.completeNext();
    assert.deepEqual([first.outcome, second.outcome], ['NOT ENDED', 'GOOD']);
    device.completeNext();
    assert.deepEqual(first.dataIn, Buffer.alloc(512, '1'));
  });

  test('tells of its faults with the block that failed', () => {
    const { target, device } = slowTarget({ size: 1 << 20 }, false);
    device.fault = (io) => (io.op === BlockOp.READ ? BlockStatus.MEDIUM_ERROR : BlockStatus.NO_SPACE);
    const reading = target.run(cdb10(0x28, 0, 7, 1));
    assert.equal(reading.outcome, senseText(Sense.UNRECOVERED_READ_ERROR));
    assert.equal(reading.sense.bytes.readUInt32BE(3), 7);
    assert.equal(reading.dataIn.length, 0);
    const writing = target.run(cdb10(0x2a, 0, 7, 1), { dataOut: Buffer.alloc(512) });
    assert.equal(writing.outcome, senseText(Sense.SPACE_ALLOCATION_FAILED));
  });
});

test('a transport without memory leads to BUSY', () => {
  const { target } = slowTarget({ size: 1 << 20 }, false);
  assert.equal(target.run(cdb10(0x28, 0, 0, 1), { outOfMemory: true }).outcome, 'BUSY');
  const dataOut = Buffer.alloc(512);
  assert.equal(target.run(cdb10(0x2a, 0, 0, 1), { dataOut, outOfMemory: true }).outcome, 'BUSY');
});

test('a write protected unit refuses every WRITE', () => {
  const target = new FakeTarget(fakeUnit({ readOnly: true }));
  for (const { write } of LAYOUTS) {
    const task = target.run(write(0, 1), { dataOut: Buffer.alloc(512) });
    assert.equal(task.outcome, senseText(Sense.WRITE_PROTECTED));
  }
});

test('blocks of 4096 bytes', () => {
  const target = new FakeTarget(fakeUnit({ blockSize: 4096 }));
  const data = Buffer.alloc(8192, 'k');
  assert.equal(target.run(cdb10(0x2a, 0, 254, 2), { dataOut: data }).outcome, 'GOOD');
  assert.deepEqual(target.run(cdb10(0x28, 0, 254, 2)).dataIn, data);
  assert.equal(target.run(cdb10(0x28, 0, 255, 2)).outcome, outOfRange);
});

test('a transport that takes no lent memory gets bytes of its own, and gives such', () => {
  const target = new FakeTarget();
  const writing = target.task(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512, 'w'), holdsData: true });
  writing.mayLend = false;
  target.unit.submit(writing);
  writing.data.fill(0xff);
  assert.deepEqual(
    target.run(cdb10(0x28, 0, 0, 1)).dataIn,
    Buffer.alloc(512),
    'nothing lands before it is checked',
  );
  writing.deliver();
  assert.equal(writing.outcome, 'GOOD');

  const reading = target.task(cdb10(0x28, 0, 0, 1));
  reading.mayLend = false;
  target.unit.submit(reading);
  target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512, 'x') });
  assert.deepEqual(reading.dataIn, Buffer.alloc(512, 'w'), 'nothing changes under a digest');
});

test('a READ with FUA flushes the cache before it reads', () => {
  const { target, device } = slowTarget({ size: 1 << 20 }, false);
  assert.equal(target.run(cdb10(0x28, FUA, 3, 2)).outcome, 'GOOD');
  assert.equal(target.run(cdb10(0x28, 0, 3, 2)).outcome, 'GOOD');
  assert.deepEqual(
    device.submitted.map(({ op }) => op),
    [BlockOp.FLUSH, BlockOp.READ, BlockOp.READ],
  );
});

test('a READ with FUA fails when the cache cannot be flushed', () => {
  const { target, device } = slowTarget({ size: 1 << 20 }, false);
  device.fault = (io) => (io.op === BlockOp.FLUSH ? BlockStatus.MEDIUM_ERROR : BlockStatus.GOOD);
  const task = target.run(cdb10(0x28, FUA, 0, 1));
  assert.equal(task.outcome, senseText(Sense.WRITE_ERROR));
  assert.equal(task.dataIn.length, 0);
});
