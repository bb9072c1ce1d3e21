/**
 * Whatever bytes come as a CDB: one outcome, no exception, no write outside of the range that the CDB
 * names, and no more memory than the limits allow.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BlockOp } from '../../block/device.js';
import { MAXIMUM_TRANSFER_BYTES, MAXIMUM_WRITE_SAME_BYTES } from '../limits.js';
import { Status } from '../status.js';
import { cdb32 } from '../testing/cdb.js';
import { FakeTask, FakeTarget, fakeUnit } from '../testing/fake-task.js';
import { slowTarget, type SlowDevice } from '../testing/slow-device.js';
import { blockCountField, logicalBlockAddress } from './block-range.js';

const SIZE = 256 << 10;
const BLOCK = 512;
const BLOCKS = SIZE / BLOCK;
/** Two buffers at most: a whole transfer, and a piece to compare with or write from. */
const MEMORY_LIMIT = MAXIMUM_TRANSFER_BYTES + (1 << 20);
const OPCODES = fakeUnit().operations.operations.map((operation) => operation.opcode);
const UNMAP = 0x42;
const SANITIZE = 0x48;
const COMPARE_AND_WRITE = 0x89;
const WRITE_SAME = [0x41, 0x93];

/** Counts the memory that a command asks for. */
class CountingTask extends FakeTask {
  asked = 0;

  override allocate(length: number): boolean {
    this.asked += length;
    return super.allocate(length);
  }

  override allocateScratch(length: number): boolean {
    this.asked += length;
    return super.allocateScratch(length);
  }
}

/** Any CDB, with an emphasis on operation codes that exist, small numbers, and few flags. */
const cdbs = fc
  .tuple(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...OPCODES) },
      { weight: 1, arbitrary: fc.nat({ max: 255 }) },
    ),
    fc.oneof(fc.constant(0), fc.nat({ max: 255 })),
    fc.array(
      fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat({ max: 255 }) }),
      {
        minLength: 14,
        maxLength: 14,
      },
    ),
  )
  .map(([opcode, flags, rest]) => Buffer.from([opcode, flags, ...rest]));

/** Any 32-byte CDB, with an emphasis on service actions that exist. */
const cdbs32 = fc
  .tuple(
    fc.nat({ max: 0x12 }),
    fc.constantFrom(0, 0x02, 0x08, 0x10, 0x80, 0x01),
    fc.nat(2 * BLOCKS),
    fc.nat(2 * BLOCKS),
  )
  .chain(([serviceAction, flags, lba, blocks]) => {
    const cdb = Buffer.from(cdb32(serviceAction, flags, lba, blocks));
    return fc.oneof(
      { weight: 3, arbitrary: fc.constant(cdb) },
      {
        weight: 1,
        arbitrary: fc.tuple(fc.integer({ min: 1, max: 31 }), fc.nat(255)).map(([at, byte]) => {
          const other = Buffer.from(cdb);
          other[at] = byte;
          return other;
        }),
      },
    );
  });

const dataOuts = fc.oneof(
  fc
    .constantFrom(0, 1, 24, 200, BLOCK, 2 * BLOCK, 8 * BLOCK, SIZE)
    .map((length) => Buffer.alloc(length, 0xa6)),
  fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
);

/** The blocks that a command which writes may change: [first, one behind the last]. */
function writableRange(cdb: Buffer): [number, number] {
  if (cdb[0] === UNMAP || cdb[0] === SANITIZE) return [0, BLOCKS];
  const lba = logicalBlockAddress(cdb);
  if (cdb[0] === COMPARE_AND_WRITE) return [lba, lba + cdb[13]!];
  const blocks = blockCountField(cdb);
  if (blocks > 0) return [lba, lba + blocks];
  if (WRITE_SAME.includes(cdb[0]!) || (cdb[0] === 0x7f && cdb[9] === 0x0d)) return [lba, BLOCKS];
  return [lba, lba + (cdb[0]! < 0x20 ? 256 : 0)];
}

function check(
  target: FakeTarget,
  device: SlowDevice,
  cdb: Buffer,
  dataOut: Buffer,
  dataInLimit: number,
): void {
  const task = new CountingTask();
  task.aim(target.nexus, 0, dataInLimit, dataOut.length);
  cdb.copy(task.cdb);
  task.cdbLength = cdb.length;
  task.dataOut = dataOut;
  device.submitted.length = 0;
  target.unit.submit(task);
  device.completeAll();

  assert.equal(task.ending, 'finished', 'one outcome');
  assert.ok(task.dataInLength <= task.data.length);
  assert.ok(task.asked <= MEMORY_LIMIT, `${task.asked} bytes`);
  if (task.scsiStatus === Status.CHECK_CONDITION) assert.ok(task.sense.length > 0);
  let moved = 0;
  for (const { op, offset, length } of device.submitted) {
    moved += length;
    if (op === BlockOp.READ || op === BlockOp.FLUSH) continue;
    const [first, end] = writableRange(cdb);
    assert.ok(offset >= first * BLOCK && offset + length <= end * BLOCK, 'a write inside of its range');
    assert.ok(offset + length <= SIZE);
  }
  assert.ok(moved <= 2 * Math.max(MAXIMUM_TRANSFER_BYTES, MAXIMUM_WRITE_SAME_BYTES));
}

for (const defers of [false, true]) {
  test(`any CDB has one outcome, on a device that answers ${defers ? 'later' : 'at once'}`, () => {
    fc.assert(
      fc.property(
        fc.oneof({ weight: 3, arbitrary: cdbs }, { weight: 1, arbitrary: cdbs32 }),
        dataOuts,
        fc.nat({ max: SIZE }),
        (cdb, dataOut, dataInLimit) => {
          const { target, device } = slowTarget({ size: SIZE }, defers);
          check(target, device, cdb, dataOut, dataInLimit);
        },
      ),
      { numRuns: 2000 },
    );
  });
}

test('a series of any CDBs never throws, on memory that is lent', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(cdbs, dataOuts), { maxLength: 20 }), (commands) => {
      const target = new FakeTarget(fakeUnit({ size: SIZE, removable: true }));
      for (const [cdb, dataOut] of commands) {
        assert.equal(target.run([...cdb], { dataOut }).ending, 'finished');
      }
    }),
    { numRuns: 200 },
  );
});
