/**
 * Runs in the guest: RISER_ROUNDS connections by two devices that stay open are made, used and ended, some at a time, on the device
 * RISER_DEVICE at RISER_ADDRESS. Then memory, descriptors and the kernel's objects are what they were after the first few.
 */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { NativeProvider, type RdmaDevice } from '../../src/rdma/index.js';
import { SendOpcode } from '../../src/rdma/work.js';
import { Pair } from '../../test/support/verbs-pair.js';
import { kernelObjects } from '../harness/kernel-objects.js';

const rounds = Number(process.env['RISER_ROUNDS']);
const name = process.env['RISER_DEVICE']!;
const address = process.env['RISER_ADDRESS']!;
const AT_A_TIME = 8;
const WARM_UP = 128;
/** Bytes for all rounds, and for each one. The heap is exact; what is resident depends on the allocator, too. */
const HEAP_TOLERANCE = { all: 1 << 20, each: 16 };
const RESIDENT_TOLERANCE = { all: 24 << 20, each: 256 };

async function round(devices: Devices): Promise<void> {
  const pair = await Pair.connect(devices, address);
  pair.passive.receive(1, 0, 10);
  pair.active.post(pair.active.request(SendOpcode.SEND, 1, 0, 10));
  await pair.passive.completed(1);
  await pair.close();
}

type Devices = readonly [RdmaDevice, RdmaDevice];

interface Usage {
  /** Bytes. */
  resident: number;
  heap: number;
  external: number;
  /** Of the process. */
  descriptors: number;
  /** The kernel's, by kind. */
  objects: unknown;
}

async function usage(): Promise<Usage> {
  // Finalizers run in turns of their own.
  for (let i = 0; i < 5; i++) {
    globalThis.gc!();
    await delay(100);
  }
  const { heapUsed, external } = process.memoryUsage();
  const status = readFileSync('/proc/self/status', 'utf8');
  return {
    resident: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024,
    heap: heapUsed,
    external,
    descriptors: readdirSync('/proc/self/fd').length,
    objects: kernelObjects(name),
  };
}

async function run(devices: Devices, count: number): Promise<void> {
  let left = count;
  const one = async (): Promise<void> => {
    while (left-- > 0) await round(devices);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, one));
}

it(`${rounds} connections leave nothing`, async () => {
  const provider = new NativeProvider();
  const devices = [await provider.open(name), await provider.open(name)] as const;
  await run(devices, WARM_UP);
  const before = await usage();
  console.log(JSON.stringify({ rounds: WARM_UP, ...before }));
  const since = performance.now();
  // So much of a report that a leak shows as a slope.
  const PARTS = 5;
  let after = before;
  for (let part = 1; part <= PARTS; part++) {
    await run(devices, Math.ceil(rounds / PARTS));
    after = await usage();
    const perSecond = (rounds / PARTS) * part * (1000 / (performance.now() - since));
    console.log(JSON.stringify({ rounds: WARM_UP + (rounds / PARTS) * part, perSecond, ...after }));
  }
  assert.deepEqual(after.objects, before.objects);
  assert.equal(after.descriptors, before.descriptors);
  for (const [what, { all, each }] of [
    ['heap', HEAP_TOLERANCE],
    ['external', HEAP_TOLERANCE],
    ['resident', RESIDENT_TOLERANCE],
  ] as const)
    assert.ok(
      after[what] < before[what] + all + each * rounds,
      `${what}: from ${before[what]} to ${after[what]}`,
    );
  for (const device of devices) await device.close();
});
