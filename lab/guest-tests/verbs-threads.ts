/**
 * Runs in the guest: threads that use the device RISER_DEVICE at RISER_ADDRESS start and end, in good order and in the middle of
 * things. Nothing of theirs is left, and the main thread goes on with its own connection.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

import { allocatePages, NativeProvider } from '../../src/rdma/index.js';
import { AccessFlag } from '../../src/rdma/verbs.js';
import { SendOpcode } from '../../src/rdma/work.js';
import { Pair } from '../../test/support/verbs-pair.js';
import { kernelObjects } from '../harness/kernel-objects.js';

const name = process.env['RISER_DEVICE']!;
const address = process.env['RISER_ADDRESS']!;
const AT_A_TIME = 3;
const BYTES = 65_536;

/** What a thread is about when it ends. */
const ENDS = {
  'by itself': 'close',
  'while it connects': 'connect',
  'while it transfers': 'transfer',
  'while others wait for it': 'idle',
} as const;
type End = (typeof ENDS)[keyof typeof ENDS];

async function connected(): Promise<Pair> {
  const provider = new NativeProvider();
  return Pair.connect([await provider.open(name), await provider.open(name)], address);
}

/** Bytes go from one end to the other, and are there. */
async function transfer({ active, passive }: Pair): Promise<void> {
  active.memory.bytes.fill(Math.random() * 256, 0, BYTES);
  const [sent, received] = [active.drain().length, passive.drain().length];
  active.post(active.remote(SendOpcode.RDMA_WRITE, 1, 0, BYTES, passive, 0));
  passive.receive(1, BYTES, 10);
  active.post(active.request(SendOpcode.SEND, 1, 0, 10));
  await active.completed(sent + 2);
  await passive.completed(received + 1);
  assert.ok(passive.memory.bytes.subarray(0, BYTES).equals(active.memory.bytes.subarray(0, BYTES)));
}

async function work(end: End): Promise<void> {
  const port = parentPort!;
  if (end === 'connect') {
    for (let isFirst = true; ; isFirst = false) {
      const pair = await connected();
      if (isFirst) port.postMessage('ready');
      await pair.close();
    }
  }
  const pair = await connected();
  const pages = allocatePages(BYTES);
  const region = pair.active.domain.registerMemory(pages, AccessFlag.LOCAL_WRITE);
  await transfer(pair);
  port.postMessage('ready');
  while (end === 'transfer') await transfer(pair);
  if (end === 'idle') await new Promise(() => setInterval(() => undefined, 1000));
  region.deregister();
  await pair.close();
  await pair.active.device.close();
  await pair.passive.device.close();
}

/** Workers of Node 20 take no TypeScript for their first file. */
function start(end: End): Worker {
  const source = "import('tsx/esm/api').then(({ register }) => (register(), import(process.argv[2])))";
  return new Worker(source, { eval: true, argv: [import.meta.url], workerData: end });
}

/** A thread, from its start to its end. */
async function run(end: End): Promise<void> {
  const worker = start(end);
  const exit = once(worker, 'exit');
  await Promise.race([once(worker, 'message'), exit]);
  if (end !== 'close') {
    // Anywhere in what it does.
    await delay(Math.random() * 100);
    await worker.terminate();
  }
  const [code] = (await exit) as [number];
  assert.equal(code, end === 'close' ? 0 : 1);
}

if (isMainThread) {
  describe('a thread that ends', async () => {
    const pair = await connected();
    const before = kernelObjects(name);

    for (const [when, end] of Object.entries(ENDS)) {
      it(`${when} leaves nothing`, async () => {
        const threads = Array.from({ length: AT_A_TIME }, () => run(end));
        await transfer(pair);
        await Promise.all(threads);
        assert.deepEqual(kernelObjects(name), before);
        await transfer(pair);
      });
    }

    it('leaves the main thread its connection', async () => {
      await transfer(pair);
      await pair.close();
      assert.equal(pair.active.ended, null);
    });
  });
} else {
  await work(workerData as End);
}
