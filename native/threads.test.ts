/** Threads that are terminated while they call the addon; with devices: lab/guest-tests/verbs-threads.ts. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

import { NATIVE } from './sources.js';

const ADDON = join(dirname(NATIVE), `prebuilds/${process.platform}-${process.arch}/riser-verbs.node`);
const THREADS = 60;

/** Makes objects and errors, which it cannot any more once it is being terminated. */
const CALLS = `
  const { workerData, parentPort } = require('node:worker_threads');
  const { Device, deviceNames, allocate } = require(workerData);
  parentPort.postMessage('calls');
  for (;;) {
    try { new Device('none'); } catch {}
    try { allocate(-1); } catch {}
    deviceNames();
    allocate(4096, false);
  }`;

test('the process survives threads that are terminated in the middle of calls', async (t) => {
  if (!existsSync(ADDON)) {
    t.skip('the package has no addon for this machine');
    return;
  }
  for (let i = 0; i < THREADS; i++) {
    const worker = new Worker(CALLS, { eval: true, workerData: ADDON });
    await once(worker, 'message');
    await delay(Math.random() * 3);
    assert.equal(await worker.terminate(), 1);
  }
});
