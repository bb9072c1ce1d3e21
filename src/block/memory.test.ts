import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { blockDeviceContract } from '../../test/contract/block-device.js';
import { extentsOf, operation, pattern, readBack, writing } from '../../test/contract/block-io.js';
import { Memory, ScatterList } from '../util/memory.js';
import { BlockOp, BlockStatus } from './device.js';
import { MemoryDevice, type MemoryDeviceOptions } from './memory.js';

function contract(name: string, options: Omit<MemoryDeviceOptions, 'size'>): void {
  blockDeviceContract(name, ({ size, readOnly }) => {
    const device = new MemoryDevice({ ...options, size, readOnly });
    return Promise.resolve({
      device,
      resizeMedium: (bytes: number) => {
        device.resize(bytes);
        return Promise.resolve();
      },
      dispose: () => device.close(),
    });
  });
}

contract('memory, 512', { blockSize: 512 });
contract('memory, 4096', { blockSize: 4096 });
contract('memory, fully provisioned', { blockSize: 512, thin: false });

describe('MemoryDevice', () => {
  it('tells what is mapped, and nothing of what is left', async () => {
    const device = new MemoryDevice({ size: (8 << 20) + 512 });
    const used = (): number | undefined => device.space()?.used;
    assert.deepEqual(device.space(), { used: 0, available: null });
    await writing(0, pattern(4096, 1)).on(device);
    await writing(512, pattern(512, 1)).on(device);
    assert.equal(used(), 4096);
    await writing((1 << 20) - 4096, pattern(8192, 1)).on(device);
    assert.equal(used(), 3 * 4096);
    await operation(BlockOp.UNMAP, 512, 512).on(device);
    assert.equal(used(), 3 * 4096);
    await operation(BlockOp.UNMAP, 0, 1 << 20).on(device);
    assert.equal(used(), 4096);
    await operation(BlockOp.WRITE_ZEROES, 0, device.size).on(device);
    assert.equal(used(), device.size, 'of the last page only a part is the disk');
    device.resize(1 << 20);
    assert.equal(used(), 1 << 20);
    const memory = new ScatterList();
    const other = new MemoryDevice({ size: 1 << 20 });
    other.lend(memory, 0, 512, false);
    assert.equal(other.space()!.used, 0);
    other.lend(memory, 0, 512, true);
    assert.equal(other.space()!.used, 4096);
    assert.equal(new MemoryDevice({ size: 1 << 20, thin: false }).space(), null);
  });

  it('serves 8 PiB without memory in proportion', async () => {
    const size = 2 ** 53 - 4096;
    const before = process.memoryUsage();
    const device = new MemoryDevice({ size, blockSize: 4096 });
    const bytes = pattern(8192, 1);
    await writing(size - 8192, bytes).on(device);
    await writing(2 ** 42, bytes).on(device);
    assert.ok((await readBack(device, size - 8192, 8192)).equals(bytes));
    assert.ok((await readBack(device, 2 ** 42, 8192)).equals(bytes));
    assert.deepEqual(await extentsOf(device, 0, size, 1), [{ offset: 0, length: 2 ** 42, mapped: false }]);
    const after = process.memoryUsage();
    assert.ok(after.heapTotal + after.external - before.heapTotal - before.external < 100e6);
    await operation(BlockOp.UNMAP, 0, size).on(device);
    assert.deepEqual(await extentsOf(device, 0, size, 1), [{ offset: 0, length: size, mapped: false }]);
  });

  it('tracks provisioning page by page, also for the part of a page at its end', async () => {
    const size = (1 << 20) + 3 * 512;
    const device = new MemoryDevice({ size });
    await writing(1 << 20, pattern(3 * 512, 1)).on(device);
    assert.deepEqual(await extentsOf(device, 1 << 20, 3 * 512), [
      { offset: 1 << 20, length: 3 * 512, mapped: true },
    ]);
    await operation(BlockOp.UNMAP, (1 << 20) + 512, 2 * 512).on(device);
    const [last] = await extentsOf(device, 1 << 20, 3 * 512);
    assert.equal(last?.mapped, true, 'one block of the page is still in use');
    await operation(BlockOp.UNMAP, 1 << 20, 3 * 512).on(device);
    assert.deepEqual(await extentsOf(device, 0, size, 1), [{ offset: 0, length: size, mapped: false }]);
  });

  it('retires the memory of what is unmapped or cut off, when it lets go of it', async () => {
    const device = new MemoryDevice({ size: 3 << 20 });
    const list = new ScatterList();
    assert.ok(device.lend(list, 0, 3 << 20, true));
    const areRetired = (): boolean[] => list.regions.map(({ isRetired }) => isRetired);
    await operation(BlockOp.UNMAP, 0, (1 << 20) - 4096).on(device);
    assert.deepEqual(areRetired(), [false, false, false], 'a page is still in use');
    await operation(BlockOp.UNMAP, (1 << 20) - 4096, 4096).on(device);
    assert.deepEqual(areRetired(), [true, false, false]);
    device.resize(2 << 20);
    assert.deepEqual(areRetired(), [true, false, true]);
  });

  it('never retires what it answers with where nobody has written, for other disks have it, too', async () => {
    const device = new MemoryDevice({ size: 1 << 20 });
    const list = new ScatterList();
    assert.ok(device.lend(list, 0, 4096, false));
    await operation(BlockOp.UNMAP, 0, 1 << 20).on(device);
    await device.close();
    assert.equal(list.regions[0]!.isRetired, false);
  });

  it('maps what zeroes are written to without leave to unmap', async () => {
    const device = new MemoryDevice({ size: 1 << 20 });
    await operation(BlockOp.WRITE_ZEROES, 4096, 4096).on(device);
    assert.deepEqual(await extentsOf(device, 0, 1 << 20), [
      { offset: 0, length: 4096, mapped: false },
      { offset: 4096, length: 4096, mapped: true },
      { offset: 8192, length: (1 << 20) - 8192, mapped: false },
    ]);
  });

  it('frees a chunk with its last page, and lends new memory afterwards', async () => {
    const device = new MemoryDevice({ size: 1 << 20, blockSize: 4096 });
    const first = new ScatterList();
    const second = new ScatterList();
    assert.ok(device.lend(first, 0, 8192, true));
    await operation(BlockOp.UNMAP, 0, 4096).on(device);
    assert.ok(device.lend(second, 4096, 4096, true));
    assert.equal(second.regions[0], first.regions[0]);
    await operation(BlockOp.UNMAP, 4096, 4096).on(device);
    assert.ok(device.lend(second, 4096, 4096, true));
    assert.notEqual(second.regions[0], first.regions[0]);
  });

  it('writes nothing of what it has no memory for, and tells where that began', async (t) => {
    const device = new MemoryDevice({ size: 3 << 20 });
    await writing(0, pattern(512, 1)).on(device);
    const bytes = pattern(2 << 20, 2);
    const io = writing(0, bytes);
    const allocate = t.mock.method(Memory, 'allocate', () => {
      throw new RangeError('Array buffer allocation failed');
    });
    const status = await io.on(device);
    const lent = device.lend(new ScatterList(), 1 << 20, 512, true);
    allocate.mock.restore();
    assert.equal(status, BlockStatus.NO_SPACE);
    assert.equal(io.errorOffset, 1 << 20);
    assert.equal(lent, false);
    const medium = Buffer.concat([pattern(512, 1), Buffer.alloc((2 << 20) - 512)]);
    assert.ok((await readBack(device, 0, 2 << 20)).equals(medium));
  });

  it('refuses impossible sizes', () => {
    for (const size of [0, -512, 511, 1000, NaN, 2 ** 53]) {
      assert.throws(() => new MemoryDevice({ size }), { code: 'BAD_SIZE' });
    }
    assert.throws(() => new MemoryDevice({ size: 512, blockSize: 4096 }), { code: 'BAD_SIZE' });
    assert.throws(() => new MemoryDevice({ size: 512 }).resize(100), { code: 'BAD_SIZE' });
  });
});
