/** Runs in the guest: threads that use the device RISER_DEVICE start and end, in the middle of things too, and the process goes on. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

import { NativeProvider } from '../../src/rdma/index.js';
import { SendOpcode } from '../../src/rdma/work.js';
import { Pair } from '../../test/support/verbs-pair.js';

const ROUNDS = 20;
const name = process.env['RISER_DEVICE']!;
const address = process.env['RISER_ADDRESS']!;

async function connected(): Promise<Pair> {
  const provider = new NativeProvider();
  return Pair.connect([await provider.open(name), await provider.open(name)], address);
}

if (isMainThread) {
  const pair = await connected();
  for (let i = 0; i < ROUNDS; i++) {
    // Workers of Node 20 take no TypeScript for their first file.
    const start = `require('tsx/esm/api').register(); import(${JSON.stringify(import.meta.url)})`;
    const worker = new Worker(start, { eval: true });
    await once(worker, 'message');
    // It has not closed anything.
    await worker.terminate();
  }
  pair.passive.receive(1, 0, 10);
  pair.active.post(pair.active.request(SendOpcode.SEND, 1, 0, 10));
  await pair.passive.completed(1);
  await pair.close();
  assert.equal(pair.active.ended, null);
  console.log('done');
} else {
  const pair = await connected();
  pair.passive.receive(1, 0, 10);
  pair.active.post(pair.active.request(SendOpcode.SEND, 1, 0, 10));
  parentPort!.postMessage('connected');
  setInterval(() => undefined, 1000);
}
