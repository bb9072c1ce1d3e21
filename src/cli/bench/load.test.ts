import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { VolatileDevice } from '../../../test/support/volatile-device.js';
import type { Memory } from '../../util/memory.js';
import { type BlockDevice, type BlockIo, BlockOp, BlockStatus, MemoryDevice } from '../../block/index.js';
import { Load } from './load.js';

const SIZE = 1 << 20;

interface Note {
  op: BlockOp;
  offset: number;
  /** Where the data is. */
  memory: Memory;
}

/** A device that notes what is asked of it. */
function noting(device: BlockDevice, notes: Note[], most: { inFlight: number }) {
  let inFlight = 0;
  return Object.create(device, {
    size: { value: device.size },
    submit: {
      value: (io: BlockIo) => {
        notes.push({ op: io.op, offset: io.offset, memory: io.data.regions[0]! });
        most.inFlight = Math.max(most.inFlight, ++inFlight);
        setTimeout(() => {
          inFlight--;
          io.done();
        }, 1);
        return false;
      },
    },
  }) as BlockDevice;
}

describe('a load', () => {
  test('keeps as many operations in flight as it is told, one after the other', async () => {
    const notes: Note[] = [];
    const most = { inFlight: 0 };
    const device = noting(new MemoryDevice({ size: SIZE }), notes, most);
    const load = new Load({
      devices: [device],
      blockSize: 65536,
      depth: 5,
      isRandom: false,
      readPercent: 100,
      sharesMemory: true,
      rampSeconds: 0,
      seconds: 0.1,
    });
    await load.run();
    assert.equal(most.inFlight, 5);
    assert.ok(load.reads.count > 5 && load.reads.count <= notes.length);
    assert.equal(load.reads.latencies.count, load.reads.count);
    // Little's law: what is in flight is its rate times its time.
    const inFlight = (load.reads.count * load.reads.latencies.mean) / (load.seconds * 1e9);
    assert.ok(inFlight > 1 && inFlight < 6, `${inFlight} in flight`);
    notes.forEach(({ op, offset }, i) => {
      assert.deepEqual([op, offset], [BlockOp.READ, (i % 16) * 65536]);
    });
    assert.equal(new Set(notes.map(({ memory }) => memory)).size, 1, 'the memory of all reads');
  });

  test('does not count what is done before its ramp is over', async () => {
    const notes: Note[] = [];
    const device = noting(new MemoryDevice({ size: SIZE }), notes, { inFlight: 0 });
    const load = new Load({
      devices: [device],
      blockSize: 4096,
      depth: 1,
      isRandom: true,
      readPercent: 100,
      sharesMemory: true,
      rampSeconds: 0.2,
      seconds: 0.1,
    });
    await load.run();
    assert.ok(load.seconds <= 0.1);
    assert.ok(load.reads.count > 0 && load.count > load.reads.count + 10);
    assert.equal(load.reads.latencies.count, load.reads.count);
  });

  test('mixes reads and writes at random places of the whole disk', async () => {
    const notes: Note[] = [];
    const device = noting(new MemoryDevice({ size: SIZE }), notes, { inFlight: 0 });
    const load = new Load({
      devices: [device, device],
      blockSize: 4096,
      depth: 32,
      isRandom: true,
      readPercent: 70,
      sharesMemory: false,
      rampSeconds: 0,
      seconds: 0.3,
    });
    await load.run();
    assert.ok(load.reads.count > load.writes.count && load.writes.count > 0);
    assert.equal(new Set(notes.map(({ op }) => op)).size, 2);
    assert.ok(notes.every(({ offset }) => offset % 4096 === 0 && offset <= SIZE - 4096));
    assert.ok(new Set(notes.map(({ offset }) => offset)).size > 100);
    const memoryOf = (op: BlockOp) =>
      new Set(notes.filter((note) => note.op === op).map(({ memory }) => memory));
    assert.equal(
      memoryOf(BlockOp.READ).size,
      64,
      'reads that are under way at a time have memory of their own',
    );
    for (const memory of memoryOf(BlockOp.WRITE)) assert.ok(!memoryOf(BlockOp.READ).has(memory));
  });

  test('a device that fails ends it', async () => {
    const disk = new VolatileDevice(SIZE);
    const failing: BlockDevice = Object.create(disk, {
      submit: { value: (io: BlockIo) => io.fail(BlockStatus.MEDIUM_ERROR, io.offset) },
      size: { value: SIZE },
    }) as BlockDevice;
    const load = new Load({
      devices: [failing],
      blockSize: 512,
      depth: 3,
      isRandom: true,
      readPercent: 100,
      sharesMemory: true,
      rampSeconds: 0,
      seconds: 60,
    });
    await assert.rejects(load.run(), { code: 'MEDIUM_ERROR' });
  });

  test('stopped, it ends before its time', async () => {
    const device = new VolatileDevice(SIZE, { delayMs: 1 });
    const load = new Load({
      devices: [device],
      blockSize: 512,
      depth: 3,
      isRandom: true,
      readPercent: 0,
      sharesMemory: true,
      rampSeconds: 0,
      seconds: 60,
    });
    const timer = setInterval(() => {
      if (load.count > 10) load.stop();
    }, 1);
    await load.run();
    clearInterval(timer);
    assert.ok(load.writes.count > 0 && load.seconds < 60);
  });
});
