import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  BufferPool,
  bytesCopied,
  copyBytes,
  copyMemory,
  LARGEST_BUFFER,
  Memory,
  type MemoryWatcher,
  ScatterList,
} from './memory.js';
import { libc, libcMissing } from './posix/libc.js';

/** A list of segments of `lengths` whose bytes count up from 0, each with a margin of 0xff around it. */
function listOf(lengths: readonly number[]): ScatterList {
  const list = new ScatterList();
  let value = 0;
  for (const length of lengths) {
    const region = Memory.allocate(length + 6);
    region.bytes.fill(0xff);
    for (let i = 0; i < length; i++) region.bytes[3 + i] = value++;
    list.add(region, 3, length);
  }
  return list;
}

/** Whether the bytes around all segments are as {@link listOf} made them. */
function marginsIntact(list: ScatterList): boolean {
  for (let i = 0; i < list.count; i++) {
    const { bytes } = list.regions[i]!;
    const from = list.offsets[i]!;
    const to = from + list.lengths[i]!;
    if (bytes[from - 1] !== 0xff || bytes[to] !== 0xff) return false;
  }
  return true;
}

describe('a Memory that is retired', () => {
  it('tells once who watches it, and nobody who no longer does', () => {
    const told: string[] = [];
    const watcher = (name: string): MemoryWatcher => ({
      retired: (memory) => {
        assert.equal(memory, region);
        memory.unwatch(other);
        told.push(name);
      },
    });
    const region = Memory.allocate(8);
    const [one, other, third] = [watcher('one'), watcher('other'), watcher('third')];
    for (const each of [one, other, third]) region.watch(each);
    assert.equal(region.isRetired, false);
    region.retire();
    region.retire();
    assert.equal(region.isRetired, true);
    assert.deepEqual(told, ['one', 'third']);
  });
});

const segmentLengths = fc.array(fc.oneof(fc.nat(80), fc.nat(300)), { maxLength: 8 });

/** Segments, and a range inside of them. */
const ranges = segmentLengths.chain((lengths) => {
  const total = lengths.reduce((sum, length) => sum + length, 0);
  return fc
    .tuple(fc.nat(total), fc.nat(total))
    .map(([a, b]) => ({ lengths, total, from: Math.min(a, b), to: Math.max(a, b) }));
});

describe('Memory', () => {
  it('is zero-filled and reaches its bytes in three ways', () => {
    const memory = Memory.allocate(4096);
    assert.equal(memory.length, 4096);
    assert.ok(memory.bytes.every((byte) => byte === 0));
    memory.view.setUint32(4, 0x01020304);
    assert.equal(memory.bytes[4], 1);
    assert.equal(memory.bytes.byteOffset, 0, 'shares its store with nobody');
  });

  it('knows its address', { skip: libc === null && `no foreign functions: ${libcMissing ?? ''}` }, () => {
    const memory = Memory.allocate(4096);
    assert.ok(memory.address > 0 && Number.isSafeInteger(memory.address));
    const part = new Memory(memory.bytes.subarray(100));
    assert.equal(part.address, memory.address + 100);
  });
});

describe('copyBytes', () => {
  it('copies short and long runs', () => {
    for (const length of [0, 1, 31, 32, 33, 100]) {
      const source = Buffer.from(Array.from({ length: 200 }, (_, i) => i));
      const target = Buffer.alloc(200, 0xff);
      copyBytes(source, 7, target, 11, length);
      const expected = Buffer.alloc(200, 0xff);
      source.copy(expected, 11, 7, 7 + length);
      assert.ok(target.equals(expected), `${length} bytes`);
    }
  });
});

describe('copyMemory', () => {
  it('copies any part to any place, aligned or not, and nothing else', () => {
    const source = Memory.allocate(400);
    for (let i = 0; i < source.length; i++) source.bytes[i] = i;
    // As a part of something else a region may begin anywhere.
    const shift = fc.nat(4);
    fc.assert(
      fc.property(fc.nat(100), fc.nat(100), fc.nat(250), shift, shift, (from, to, length, a, b) => {
        const taken = new Memory(source.bytes.subarray(a));
        const bytes = Buffer.from(new ArrayBuffer(400)).fill(0xff);
        copyMemory(taken, from, new Memory(bytes.subarray(b)), to, length);
        const expected = Buffer.alloc(400, 0xff);
        source.bytes.copy(expected, b + to, a + from, a + from + length);
        assert.ok(bytes.equals(expected));
      }),
      { numRuns: 500 },
    );
  });

  it('counts data, and not headers', () => {
    const [source, target] = [Memory.allocate(8192), Memory.allocate(8192)];
    const before = bytesCopied();
    copyMemory(source, 0, target, 0, 48);
    assert.equal(bytesCopied(), before);
    copyMemory(source, 0, target, 0, 4096);
    copyBytes(source.bytes, 0, target.bytes, 0, 4000);
    assert.equal(bytesCopied(), before + 8096);
  });
});

describe('ScatterList', () => {
  it('adds segments and skips empty ones', () => {
    const list = listOf([4, 0, 5]);
    assert.equal(list.count, 2);
    assert.equal(list.length, 9);
    list.clear();
    assert.equal(list.count, 0);
    assert.equal(list.length, 0);
    assert.equal(list.toBuffer().length, 0);
  });

  it('reads any range', () => {
    fc.assert(
      fc.property(ranges, ({ lengths, from, to }) => {
        const list = listOf(lengths);
        const target = Buffer.alloc(to - from + 10, 0xaa);
        list.read(from, target, 5, to - from);
        const expected = Buffer.alloc(to - from + 10, 0xaa);
        list.toBuffer().copy(expected, 5, from, to);
        assert.ok(target.equals(expected));
      }),
    );
  });

  it('writes any range and nothing else, from bytes and from regions', () => {
    fc.assert(
      fc.property(ranges, fc.boolean(), ({ lengths, total, from, to }, isRegion) => {
        const list = listOf(lengths);
        const expected = list.toBuffer();
        const source = Buffer.from(Array.from({ length: total + 2 }, (_, i) => i));
        if (isRegion) list.writeFrom(from, new Memory(source), 2, to - from);
        else list.write(from, source, 2, to - from);
        source.copy(expected, from, 2, 2 + to - from);
        assert.ok(list.toBuffer().equals(expected));
        assert.ok(marginsIntact(list));
      }),
    );
  });

  it('writes nothing that its source does not have', () => {
    const list = listOf([200]);
    const before = list.toBuffer();
    const neighbours = Buffer.alloc(300, 0x77);
    list.writeFrom(0, new Memory(neighbours.subarray(0, 100)), 0, 150);
    assert.ok(list.toBuffer().subarray(0, 100).equals(neighbours.subarray(0, 100)));
    assert.ok(list.toBuffer().subarray(100).equals(before.subarray(100)));
  });

  it('writes and reads no further than it reaches', () => {
    const list = listOf([4, 4]);
    list.write(6, Buffer.alloc(100, 9), 0, 100);
    assert.deepEqual([...list.toBuffer()], [0, 1, 2, 3, 4, 5, 9, 9]);
    const target = Buffer.alloc(4, 0xaa);
    list.read(7, target, 0, 4);
    assert.deepEqual([...target], [9, 0xaa, 0xaa, 0xaa]);
    assert.ok(marginsIntact(list));
  });

  it('fills any range', () => {
    fc.assert(
      fc.property(ranges, ({ lengths, from, to }) => {
        const list = listOf(lengths);
        const expected = list.toBuffer().fill(7, from, to);
        list.fill(7, from, to - from);
        assert.ok(list.toBuffer().equals(expected));
        list.fill(0);
        assert.ok(list.toBuffer().every((byte) => byte === 0));
        assert.ok(marginsIntact(list));
      }),
    );
  });

  it('takes over a part of another list', () => {
    fc.assert(
      fc.property(ranges, ({ lengths, from, to }) => {
        const whole = listOf(lengths);
        const part = listOf([2]);
        part.addFrom(whole, from, to - from);
        assert.equal(part.length, 2 + to - from);
        assert.ok(part.toBuffer().subarray(2).equals(whole.toBuffer().subarray(from, to)));
      }),
    );
  });

  it('is cut to a length', () => {
    fc.assert(
      fc.property(ranges, ({ lengths, from }) => {
        const list = listOf(lengths);
        const expected = list.toBuffer().subarray(0, from);
        list.truncate(from);
        assert.equal(list.length, from);
        assert.ok(list.toBuffer().equals(expected));
      }),
    );
  });

  it('keeps its arrays when it is used again', () => {
    const list = listOf([1, 2, 3]);
    const { regions } = list;
    const region = Memory.allocate(10);
    list.clear();
    list.add(region, 4, 2);
    assert.equal(list.regions, regions);
    assert.equal(list.count, 1);
    assert.equal(list.regions[0], region);
    assert.equal(list.length, 2);
  });
});

describe('BufferPool', () => {
  it('hands out memory that nobody else has, in pieces no larger than the largest', () => {
    const pool = new BufferPool(64 << 20);
    const lists = [1, 4096, 4097, 100_000, LARGEST_BUFFER, LARGEST_BUFFER + 1, 3 * LARGEST_BUFFER].map(
      (length) => {
        const list = new ScatterList();
        assert.ok(pool.fill(list, length));
        assert.equal(list.length, length);
        assert.equal(list.count, Math.ceil(length / LARGEST_BUFFER));
        return list;
      },
    );
    lists.forEach((list, i) => list.fill(i + 1));
    lists.forEach((list, i) => assert.ok(list.toBuffer().every((byte) => byte === i + 1)));
  });

  it('carves nothing new for what was given back', () => {
    const pool = new BufferPool(64 << 20);
    const list = new ScatterList();
    pool.fill(list, 300_000);
    pool.release(list);
    assert.equal(list.count, 0);
    const carved = pool.allocated;
    for (let i = 0; i < 100; i++) {
      pool.fill(list, 300_000);
      pool.release(list);
    }
    assert.equal(pool.allocated, carved);
  });

  it('gives back the whole buffer also when the list was cut', () => {
    const pool = new BufferPool(1 << 20);
    const list = new ScatterList();
    for (let i = 0; i < 1000; i++) {
      assert.ok(pool.fill(list, 4096));
      list.truncate(100);
      pool.release(list);
    }
    assert.equal(pool.allocated, 1 << 20);
  });

  it('takes nothing when its limit forbids', () => {
    const pool = new BufferPool(1 << 20);
    const first = new ScatterList();
    assert.ok(pool.fill(first, (1 << 20) - LARGEST_BUFFER));
    const list = listOf([7]);
    assert.equal(pool.fill(list, 2 * LARGEST_BUFFER), false);
    assert.equal(list.count, 1);
    assert.equal(list.length, 7);
    assert.equal(pool.fill(list, 1), false, 'another size class would need a slab of its own');
    assert.ok(pool.fill(list, LARGEST_BUFFER), 'what was taken before the limit came is free again');
    assert.equal(pool.allocated, 1 << 20);
  });

  it('leaves memory of others alone', () => {
    const pool = new BufferPool(4 << 20);
    const other = new BufferPool(4 << 20);
    const list = listOf([10]);
    assert.ok(pool.fill(list, 4096));
    assert.ok(other.fill(list, 4096));
    pool.release(list);
    const taken = new Set<Memory>();
    for (let i = 0; i < 1024; i++) assert.ok(pool.fill(list, 4096));
    for (let i = 0; i < list.count; i++) taken.add(list.regions[i]!);
    for (const region of taken) assert.equal(region.pool, pool);
    assert.equal(pool.fill(list, 4096), false);
  });

  it('hands out no buffer twice', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 600_000 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(lengths, fc.array(fc.nat(11)), (wanted, released) => {
        const pool = new BufferPool(64 << 20);
        const lists = wanted.map(() => new ScatterList());
        const fill = (i: number) => {
          assert.ok(pool.fill(lists[i]!, wanted[i]!));
        };
        wanted.forEach((_, i) => {
          fill(i);
        });
        for (const i of released) {
          if (i >= lists.length) continue;
          pool.release(lists[i]!);
          fill(i);
        }
        const places = new Set<string>();
        const regions = new Map<Memory, number>();
        for (const list of lists) {
          for (let i = 0; i < list.count; i++) {
            const region = list.regions[i]!;
            if (!regions.has(region)) regions.set(region, regions.size);
            const place = `${regions.get(region)}:${list.offsets[i]}`;
            assert.equal(places.has(place), false);
            places.add(place);
          }
        }
      }),
      { numRuns: 30 },
    );
  });
});
