/**
 * What this process has in use of what RDMA connections take: nothing of it may be left behind. It counts from the moment when
 * this module is loaded.
 */

import assert from 'node:assert/strict';
import { RegisteredMemory } from '../../src/datamover/iser/registered-memory.js';
import { KeyTable } from '../../src/rdma/iwarp/keys.js';
import { BufferPool } from '../../src/util/memory.js';
import { until } from './verbs-pair.js';

export interface Census {
  /** Holds of registered memory. */
  held: number;
  /** Keys by which peers reach memory. */
  keys: number;
  /** Buffers of pools. */
  buffers: number;
}

/* eslint-disable @typescript-eslint/unbound-method -- what is replaced here is called with its `this` */

let held = 0;
let buffers = 0;
const registries = new Set<RegisteredMemory>();
const tables = new Set<KeyTable>();

const { hold, release } = RegisteredMemory.prototype;
RegisteredMemory.prototype.hold = function (memory, isKept) {
  held++;
  registries.add(this);
  return hold.call(this, memory, isKept);
};
RegisteredMemory.prototype.release = function (memory) {
  held--;
  release.call(this, memory);
};

const { set } = KeyTable.prototype;
KeyTable.prototype.set = function (key, grant) {
  tables.add(this);
  set.call(this, key, grant);
};

const pool = BufferPool.prototype;
const { fill, release: giveBack } = pool;
pool.fill = function (list, length) {
  const before = list.count;
  const isFilled = fill.call(this, list, length);
  if (isFilled) buffers += list.count - before;
  return isFilled;
};
pool.release = function (list) {
  for (let i = 0; i < list.count; i++) if (list.regions[i]!.pool === this) buffers--;
  giveBack.call(this, list);
};

export function census(): Census {
  let keys = 0;
  for (const table of tables) keys += table.count;
  return { held, keys, buffers };
}

/** Bytes that are registered, whether they are in use or not. */
export function registeredBytes(): number {
  let bytes = 0;
  for (const registered of registries) bytes += registered.bytes;
  return bytes;
}

/** It is as it was, soon. */
export async function assertCensus(expected: Census): Promise<void> {
  const isSame = (): boolean => JSON.stringify(census()) === JSON.stringify(expected);
  try {
    await until(isSame, 'everything is given back');
  } catch {
    assert.deepEqual(census(), expected, 'something is left in use');
  }
}
