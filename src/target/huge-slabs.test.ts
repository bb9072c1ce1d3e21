/** The buffer pool on huge pages, of which there may be too few. */

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { silentLogger } from '../util/logger.js';
import { BufferPool, Memory, ScatterList } from '../util/memory.js';
import { hugeSlabs } from './huge-slabs.js';

const PAGE = 2 << 20;

it('come from usual pages when there are no huge ones, which is said once', () => {
  const huge: Memory[] = [];
  const warnings: string[] = [];
  const log = { ...silentLogger, warn: (message: string) => void warnings.push(message) };
  const slabs = hugeSlabs(log, (length, isHuge) => {
    assert.ok(isHuge);
    if (huge.length === 2) throw new Error('mmap: ENOMEM');
    huge.push(Memory.allocate(length));
    return huge.at(-1)!;
  });
  const pool = new BufferPool(4 * PAGE, slabs);
  const list = new ScatterList();
  assert.ok(pool.fill(list, 4 * PAGE));
  assert.equal(list.length, 4 * PAGE);
  assert.equal(pool.fill(new ScatterList(), 1), false);
  const onHuge = Array.from({ length: list.count }, (_, i) => list.regions[i]!.bytes.buffer).filter(
    (buffer) => huge.some(({ bytes }) => bytes.buffer === buffer),
  );
  assert.equal(onHuge.length, (2 * PAGE) / (256 << 10));
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /not on huge pages.*ENOMEM.*vm\.nr_hugepages/);
});
