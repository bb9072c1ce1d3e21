/**
 * Runs in the guest: RISER_ROUNDS rounds of connecting and disconnecting on the device RISER_DEVICE at RISER_ADDRESS, by two devices
 * that stay open; then memory and descriptors are what they were after the first hundred. Prints both.
 */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';

import { NativeProvider, type RdmaDevice } from '../../src/rdma/index.js';
import { SendOpcode } from '../../src/rdma/work.js';
import { Pair } from '../../test/support/verbs-pair.js';

const rounds = Number(process.env['RISER_ROUNDS'] ?? '10000');
const name = process.env['RISER_DEVICE']!;
const address = process.env['RISER_ADDRESS']!;
const WARM_UP = 100;
/** Bytes that the allocator may have more, whatever the rounds; a round's memory is two megabytes. */
const TOLERANCE = 24 * 1024 * 1024;

const provider = new NativeProvider();
const devices: [RdmaDevice, RdmaDevice] = [await provider.open(name), await provider.open(name)];

async function round(): Promise<void> {
  const pair = await Pair.connect(devices, address);
  pair.passive.receive(1, 0, 10);
  pair.active.post(pair.active.request(SendOpcode.SEND, 1, 0, 10));
  await pair.passive.completed(1);
  await pair.close();
}

async function usage(): Promise<{ resident: number; locked: number; descriptors: number }> {
  // Finalizers run in turns of their own.
  for (let i = 0; i < 3; i++) {
    globalThis.gc!();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const status = readFileSync('/proc/self/status', 'utf8');
  const kilobytes = (field: string): number => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)![1]);
  return {
    resident: kilobytes('VmRSS') * 1024,
    locked: kilobytes('VmPin') * 1024,
    descriptors: readdirSync('/proc/self/fd').length,
  };
}

for (let i = 0; i < Math.min(WARM_UP, rounds); i++) await round();
const before = await usage();
for (let i = WARM_UP; i < rounds; i++) await round();
const after = await usage();
console.log(JSON.stringify({ rounds, before, after }));
assert.equal(after.descriptors, before.descriptors);
assert.equal(after.locked, before.locked);
assert.ok(after.resident < before.resident + TOLERANCE, 'memory has grown');
for (const device of devices) await device.close();
