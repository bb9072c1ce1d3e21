/**
 * The contract suite of `src/block/device.ts`: what every disk's medium must do, run by each implementation
 * from the test file beside it.
 */

import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { BlockOp, BlockStatus, MAXIMUM_EXTENTS, type BlockDevice } from '../../src/block/device.js';
import { ScatterList } from '../../src/util/memory.js';
import { extentsOf, listOf, operation, pattern, readBack, reading, scattered, writing } from './block-io.js';

/** A device to test, and what the test needs to do behind its back. */
export interface DeviceUnderTest {
  device: BlockDevice;
  /** Change the medium to `size` bytes from outside; the device is told by `refresh`. */
  resizeMedium: (size: number) => Promise<void>;
  /** Close what is open and remove what was created. */
  dispose: () => Promise<void>;
}

/** Make a device of `size` bytes whose content is zeroes and, where it can tell, a hole. */
export type MakeDevice = (setup: { size: number; readOnly: boolean }) => Promise<DeviceUnderTest>;

/** Run the suite for one implementation. */
export function blockDeviceContract(name: string, makeDevice: MakeDevice): void {
  const SIZE = 3 << 20;
  let open: DeviceUnderTest[] = [];

  async function make(setup: { size?: number; readOnly?: boolean } = {}): Promise<DeviceUnderTest> {
    const made = await makeDevice({ size: setup.size ?? SIZE, readOnly: setup.readOnly ?? false });
    open.push(made);
    return made;
  }

  describe(`block device contract: ${name}`, () => {
    afterEach(async () => {
      for (const made of open) await made.dispose();
      open = [];
    });

    it('describes itself', async () => {
      const { device } = await make();
      assert.ok(device.description.length > 0);
      assert.ok(device.blockSize === 512 || device.blockSize === 4096);
      assert.equal(device.size, SIZE);
      assert.equal(device.readOnly, false);
      assert.equal(device.unmapGranularity % device.blockSize, 0);
      assert.equal(device.events, null);
    });

    it('reads zeroes where nothing was written', async () => {
      const { device } = await make();
      assert.ok((await readBack(device, 0, SIZE)).equals(Buffer.alloc(SIZE)));
    });

    it('keeps what is written, and nothing else changes', async () => {
      const { device } = await make();
      const b = device.blockSize;
      const expected = Buffer.alloc(SIZE);
      for (const [at, blocks] of [
        [0, 1],
        [5, 3],
        [SIZE / b - 1, 1],
        [(1 << 20) / b - 2, 5],
      ] as const) {
        const bytes = pattern(blocks * b, at);
        bytes.copy(expected, at * b);
        assert.equal(await writing(at * b, bytes).on(device), BlockStatus.GOOD);
      }
      assert.ok((await readBack(device, 0, SIZE)).equals(expected));
    });

    it('gathers and scatters over segments of odd lengths at odd offsets', async () => {
      const { device } = await make();
      const b = device.blockSize;
      const length = 6 * b;
      const bytes = pattern(length, 3);
      const write = writing(2 * b, bytes);
      write.data = scattered(bytes, [1, 8, 300, b + 5, 4 * b, 5 * b + 511]);
      assert.equal(await write.on(device), BlockStatus.GOOD);

      const read = reading(2 * b, length);
      read.data = scattered(Buffer.alloc(length), [7, b - 1, b, 3 * b + 33, length - 1]);
      assert.equal(await read.on(device), BlockStatus.GOOD);
      assert.ok(read.data.toBuffer().equals(bytes));
      for (let i = 0; i < read.data.count; i++) {
        const region = read.data.regions[i]!.bytes;
        assert.equal(region[read.data.offsets[i]! - 1], 0, 'wrote before a segment');
        assert.equal(region[read.data.offsets[i]! + read.data.lengths[i]!], 0, 'wrote behind a segment');
      }
    });

    it('takes lists of very many segments', async () => {
      const { device } = await make();
      const length = 16384;
      const bytes = pattern(length, 9);
      const cuts = Array.from({ length: 1500 }, (_, i) => (i + 1) * 9);
      const write = writing(0, bytes);
      write.data = scattered(bytes, cuts);
      assert.equal(await write.on(device), BlockStatus.GOOD);
      const read = reading(0, length);
      read.data = scattered(Buffer.alloc(length), cuts);
      assert.equal(await read.on(device), BlockStatus.GOOD);
      assert.ok(read.data.toBuffer().equals(bytes));
    });

    it('uses no more of a list than the length says', async () => {
      const { device } = await make();
      const b = device.blockSize;
      await writing(0, pattern(4 * b, 1)).on(device);
      const read = reading(0, 4 * b);
      read.length = b;
      assert.equal(await read.on(device), BlockStatus.GOOD);
      const bytes = read.data.toBuffer();
      assert.ok(bytes.subarray(0, b).equals(pattern(4 * b, 1).subarray(0, b)));
      assert.ok(bytes.subarray(b).every((byte) => byte === 0xee));
    });

    it('completes FUA writes and flushes', async () => {
      const { device } = await make();
      const bytes = pattern(device.blockSize, 4);
      assert.equal(await writing(0, bytes, true).on(device), BlockStatus.GOOD);
      assert.equal(await operation(BlockOp.FLUSH).on(device), BlockStatus.GOOD);
      const ios = Array.from({ length: 20 }, (_, i) =>
        i % 3 === 0 ? operation(BlockOp.FLUSH) : writing(i * device.blockSize, bytes, i % 3 === 1),
      );
      const statuses = await Promise.all(ios.map((io) => io.on(device)));
      assert.ok(statuses.every((status) => status === BlockStatus.GOOD));
      assert.ok((await readBack(device, 19 * device.blockSize, device.blockSize)).equals(bytes));
    });

    it('completes operations of no length', async () => {
      const { device } = await make();
      for (const op of [BlockOp.READ, BlockOp.WRITE, BlockOp.UNMAP, BlockOp.WRITE_ZEROES, BlockOp.EXTENTS]) {
        for (const offset of [0, SIZE]) {
          const io = operation(op, offset, 0);
          io.data = new ScatterList();
          io.fua = true;
          assert.equal(await io.on(device), BlockStatus.GOOD);
          assert.deepEqual(io.extents, []);
        }
      }
    });

    for (const [title, op, mayUnmap, fua] of [
      ['unmaps', BlockOp.UNMAP, false, false],
      ['unmaps with FUA', BlockOp.UNMAP, false, true],
      ['writes zeroes', BlockOp.WRITE_ZEROES, false, false],
      ['writes zeroes with FUA', BlockOp.WRITE_ZEROES, false, true],
      ['writes zeroes or unmaps', BlockOp.WRITE_ZEROES, true, false],
    ] as const) {
      it(`${title}: the range reads as zeroes, its neighbours stay`, async () => {
        const { device } = await make();
        const b = device.blockSize;
        const expected = pattern(SIZE, 5);
        await writing(0, expected).on(device);
        for (const [from, length] of [
          [b, b],
          [4096 * 3 + b, 4096 * 4],
          [(1 << 20) - 2 * b, (1 << 20) + 3 * b],
          [SIZE - b, b],
        ] as const) {
          const io = operation(op, from, length);
          io.mayUnmap = mayUnmap;
          io.fua = fua;
          assert.equal(await io.on(device), BlockStatus.GOOD);
          expected.fill(0, from, from + length);
          assert.ok((await readBack(device, 0, SIZE)).equals(expected));
        }
        const bytes = pattern(2 * b, 6);
        await writing(1 << 20, bytes).on(device);
        bytes.copy(expected, 1 << 20);
        assert.ok((await readBack(device, 0, SIZE)).equals(expected));
      });
    }

    it('unmaps and zeroes what was never written', async () => {
      const { device } = await make();
      assert.equal(await operation(BlockOp.UNMAP, 0, SIZE).on(device), BlockStatus.GOOD);
      assert.equal(await operation(BlockOp.WRITE_ZEROES, 0, SIZE).on(device), BlockStatus.GOOD);
      assert.ok((await readBack(device, 0, SIZE)).equals(Buffer.alloc(SIZE)));
    });

    it('tells extents that cover the range, with data always mapped', async () => {
      const { device } = await make();
      const b = device.blockSize;
      const written = [
        [0, 2 * b],
        [(1 << 20) + 64 * 1024, 64 * 1024],
        [SIZE - b, b],
      ] as const;
      for (const [from, length] of written) await writing(from, pattern(length, from)).on(device);
      const mapped = await mapOf(device);
      for (const [from, length] of written) {
        for (let at = from; at < from + length; at += b) assert.equal(mapped[at / b], true);
      }
      assert.deepEqual(await mapOf(device, 1), mapped);
      assert.deepEqual(await extentsOf(device, b, b), [{ offset: b, length: b, mapped: true }]);
    });

    it('shows one unmapped granule in its extents, or has no granularity and tells all as mapped', async () => {
      const { device } = await make();
      const unit = device.unmapGranularity;
      if (unit === 0) {
        await operation(BlockOp.UNMAP, 0, SIZE).on(device);
        assert.deepEqual(await extentsOf(device, 0, SIZE), [{ offset: 0, length: SIZE, mapped: true }]);
        return;
      }
      assert.deepEqual(await extentsOf(device, 0, SIZE), [{ offset: 0, length: SIZE, mapped: false }]);
      await writing(0, pattern(8 * unit, 1)).on(device);
      await operation(BlockOp.UNMAP, 2 * unit, unit).on(device);
      const zeroes = operation(BlockOp.WRITE_ZEROES, 4 * unit, unit);
      zeroes.mayUnmap = true;
      await zeroes.on(device);
      await operation(BlockOp.FLUSH).on(device);
      const expected = Array.from({ length: SIZE / unit }, (_, i) => i < 8 && i !== 2 && i !== 4);
      const b = device.blockSize;
      const mapped = await mapOf(device);
      assert.deepEqual(
        expected.map((_, i) => mapped[(i * unit) / b]),
        expected,
      );
      assert.deepEqual(await extentsOf(device, 2 * unit, SIZE - 2 * unit, 1), [
        { offset: 2 * unit, length: unit, mapped: false },
      ]);
      assert.deepEqual(await extentsOf(device, 3 * unit - b, b), [
        { offset: 3 * unit - b, length: b, mapped: false },
      ]);
    });

    it('tells no more than 1024 extents at once', async () => {
      const { device } = await make({ size: 12 << 20 });
      const unit = device.unmapGranularity;
      const pieces = MAXIMUM_EXTENTS + 10;
      if (unit === 0 || pieces * unit > device.size) return;
      const bytes = pattern(device.blockSize, 1);
      for (let i = 0; i < pieces; i += 2) await writing(i * unit, bytes).on(device);
      await operation(BlockOp.FLUSH).on(device);
      const extents = await extentsOf(device, 0, pieces * unit);
      assert.ok(extents.length <= MAXIMUM_EXTENTS);
      const mapped = await mapOf(device);
      for (let i = 0; i < pieces; i++) assert.equal(mapped[(i * unit) / device.blockSize], i % 2 === 0);
    });

    it('refuses what is out of range', async () => {
      const { device } = await make();
      const b = device.blockSize;
      for (const [offset, length] of [
        [SIZE, b],
        [SIZE - b, 2 * b],
        [-b, b],
        [-b, 2 * b],
        [0, SIZE + b],
        [Number.MAX_SAFE_INTEGER, b],
        [2 ** 53 - b, 2 ** 53 - b],
        [b, -b],
        [NaN, b],
        [0, NaN],
        [1, b],
        [0, b - 1],
      ] as const) {
        for (const op of [
          BlockOp.READ,
          BlockOp.WRITE,
          BlockOp.UNMAP,
          BlockOp.WRITE_ZEROES,
          BlockOp.EXTENTS,
        ]) {
          const io = operation(op, offset, length);
          io.data = listOf(Buffer.alloc(2 * b));
          assert.equal(await io.on(device), BlockStatus.OUT_OF_RANGE, `op ${op} ${offset} ${length}`);
        }
        assert.equal(device.lend(new ScatterList(), offset, length, true), false);
      }
      assert.ok((await readBack(device, 0, SIZE)).equals(Buffer.alloc(SIZE)));
    });

    it('refuses a list shorter than the length', async () => {
      const { device } = await make();
      const b = device.blockSize;
      for (const op of [BlockOp.READ, BlockOp.WRITE]) {
        const io = operation(op, 0, 2 * b);
        io.data = listOf(Buffer.alloc(b));
        assert.equal(await io.on(device), BlockStatus.OUT_OF_RANGE);
      }
    });

    it('forgets the failure of an operation that is used again', async () => {
      const { device } = await make();
      const io = reading(SIZE, device.blockSize);
      assert.equal(await io.on(device), BlockStatus.OUT_OF_RANGE);
      assert.equal(io.errorOffset, SIZE);
      io.offset = 0;
      assert.equal(await io.on(device), BlockStatus.GOOD);
      assert.equal(io.errorOffset, 0);
      assert.equal(io.cause, null);
    });

    it('changes nothing when it is read-only', async () => {
      const { device } = await make({ readOnly: true });
      const b = device.blockSize;
      assert.equal(device.readOnly, true);
      for (const op of [BlockOp.WRITE, BlockOp.UNMAP, BlockOp.WRITE_ZEROES]) {
        const io = operation(op, 0, b);
        io.data = listOf(pattern(b, 1));
        assert.equal(await io.on(device), BlockStatus.READ_ONLY);
      }
      assert.equal(await operation(BlockOp.FLUSH).on(device), BlockStatus.GOOD);
      assert.equal(device.lend(new ScatterList(), 0, b, true), false);
      assert.ok((await readBack(device, 0, b)).equals(Buffer.alloc(b)));
    });

    it('keeps many concurrent operations apart', async () => {
      const { device } = await make();
      const length = 4 * device.blockSize;
      const slots = 100;
      await Promise.all(
        Array.from({ length: slots }, async (_, i) => {
          for (let round = 0; round < 3; round++) {
            const bytes = pattern(length, i * 10 + round);
            assert.equal(await writing(i * length, bytes, i % 10 === 0).on(device), BlockStatus.GOOD);
            assert.ok((await readBack(device, i * length, length)).equals(bytes));
            if (i % 7 === 0) await operation(BlockOp.FLUSH).on(device);
            if (i % 5 !== 0) continue;
            await operation(BlockOp.UNMAP, i * length, length).on(device);
            assert.ok((await readBack(device, i * length, length)).equals(Buffer.alloc(length)));
          }
        }),
      );
    });

    it('behaves like an array of bytes', async () => {
      const { device } = await make();
      const b = device.blockSize;
      const blocks = SIZE / b;
      const model = Buffer.alloc(SIZE);
      const step = fc.record({
        op: fc.constantFrom(BlockOp.READ, BlockOp.WRITE, BlockOp.UNMAP, BlockOp.WRITE_ZEROES),
        at: fc.nat(blocks - 1),
        blocks: fc.integer({ min: 1, max: Math.min(600, blocks) }),
        mayUnmap: fc.boolean(),
        seed: fc.nat(255),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
          for (const s of steps) {
            const offset = s.at * b;
            const length = Math.min(s.blocks, blocks - s.at) * b;
            const io = operation(s.op, offset, length);
            io.mayUnmap = s.mayUnmap;
            io.data = listOf(pattern(length, s.seed));
            assert.equal(await io.on(device), BlockStatus.GOOD);
            if (s.op === BlockOp.WRITE) pattern(length, s.seed).copy(model, offset);
            else if (s.op !== BlockOp.READ) model.fill(0, offset, offset + length);
            else assert.ok(io.data.toBuffer().equals(model.subarray(offset, offset + length)));
            let at = offset;
            for (const extent of await extentsOf(device, offset, length)) {
              assert.ok(extent.offset === at && extent.length >= b);
              at += extent.length;
              if (!extent.mapped) assert.ok(model.subarray(extent.offset, at).every((byte) => byte === 0));
            }
            assert.ok(at > offset && at <= offset + length);
          }
          assert.ok((await readBack(device, 0, SIZE)).equals(model));
        }),
        { numRuns: 15 },
      );
    });

    it('lends memory that reads and writes the medium, or lends none', async () => {
      const { device } = await make();
      const b = device.blockSize;
      const from = (1 << 20) - 2 * b;
      const length = 4 * b;
      const list = listOf(pattern(b, 7));
      if (!device.lend(list, from, length, false)) {
        assert.ok(list.toBuffer().equals(pattern(b, 7)), 'the list changed although nothing was lent');
        assert.equal(device.lend(list, from, length, true), false);
        return;
      }
      assert.equal(list.length, length);
      assert.ok(list.toBuffer().equals(Buffer.alloc(length)));

      const bytes = pattern(length, 8);
      assert.equal(device.lend(list, from, length, true), true);
      list.write(0, bytes, 0, length);
      assert.ok((await readBack(device, from, length)).equals(bytes));
      assert.equal((await extentsOf(device, from, b))[0]!.mapped, true);
      assert.ok((await readBack(device, from + length, b)).equals(Buffer.alloc(b)));

      assert.equal(device.lend(list, from, length, false), true);
      assert.ok(list.toBuffer().equals(bytes));
    });

    it('retires what it has lent when it is closed, and not before', async () => {
      const { device } = await make();
      const list = new ScatterList();
      if (!device.lend(list, 0, SIZE, true)) return;
      const lent = list.regions.slice(0, list.count);
      assert.ok(lent.every(({ isRetired }) => !isRetired));
      await device.close();
      assert.ok(lent.every(({ isRetired }) => isRetired));
    });

    it('tells when the medium grew or shrank', async () => {
      const { device, resizeMedium } = await make();
      const b = device.blockSize;
      const sizes: number[] = [];
      device.events = { resized: () => sizes.push(device.size) };
      await device.refresh();
      assert.deepEqual(sizes, []);

      await writing(SIZE - b, pattern(b, 1)).on(device);
      await resizeMedium(2 * SIZE);
      await device.refresh();
      assert.deepEqual(sizes, [2 * SIZE]);
      assert.equal(await writing(2 * SIZE - b, pattern(b, 2)).on(device), BlockStatus.GOOD);
      assert.ok((await readBack(device, SIZE - b, b)).equals(pattern(b, 1)));

      await resizeMedium(SIZE / 2);
      await device.refresh();
      assert.deepEqual(sizes, [2 * SIZE, SIZE / 2]);
      assert.equal(await reading(SIZE / 2, b).on(device), BlockStatus.OUT_OF_RANGE);

      await resizeMedium(2 * SIZE);
      await device.refresh();
      assert.ok(
        (await readBack(device, 0, 2 * SIZE)).equals(Buffer.alloc(2 * SIZE)),
        'what was cut off came back',
      );
    });

    it('closes after the operations in flight, and is not ready from then on', async () => {
      const { device } = await make();
      const b = device.blockSize;
      const statuses: (BlockStatus | 'closed')[] = [];
      const running = Array.from({ length: 30 }, (_, i) =>
        (i % 2 === 0 ? writing(i * b, pattern(b, i), i % 4 === 0) : operation(BlockOp.UNMAP, i * b, b))
          .on(device)
          .then((status) => statuses.push(status)),
      );
      const closing = device.close().then(() => statuses.push('closed'));
      const late = await reading(0, b).on(device);
      await Promise.all([...running, closing]);
      assert.equal(late, BlockStatus.NOT_READY);
      assert.deepEqual(statuses, [...new Array<BlockStatus>(30).fill(BlockStatus.GOOD), 'closed']);

      for (const io of [
        reading(0, b),
        writing(0, pattern(b, 1)),
        operation(BlockOp.FLUSH),
        operation(BlockOp.EXTENTS, 0, b),
      ]) {
        assert.equal(await io.on(device), BlockStatus.NOT_READY);
      }
      assert.equal(device.lend(new ScatterList(), 0, b, false), false);
      await device.refresh();
      await device.close();
    });
  });
}

/**
 * Block by block, whether the device says that it is mapped, asked for at most `limit` extents at a time;
 * checks that extents follow each other, and that neighbours in one answer differ.
 */
async function mapOf(device: BlockDevice, limit = MAXIMUM_EXTENTS): Promise<boolean[]> {
  const mapped: boolean[] = [];
  for (let offset = 0; offset < device.size;) {
    const extents = await extentsOf(device, offset, device.size - offset, limit);
    assert.ok(extents.length >= 1 && extents.length <= limit);
    let before: boolean | null = null;
    for (const extent of extents) {
      assert.equal(extent.offset, offset);
      assert.notEqual(extent.mapped, before);
      assert.ok(extent.length > 0 && extent.length % device.blockSize === 0);
      assert.ok(extent.length <= device.size - offset);
      for (let i = 0; i < extent.length; i += device.blockSize) mapped.push(extent.mapped);
      offset += extent.length;
      before = extent.mapped;
    }
  }
  return mapped;
}
