/** Measurements that only Riser allows, or that only it is asked for: heap allocation and idle CPU. */

import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

import { Initiator } from '../test/support/initiator.js';
import type { Case } from './cases.js';
import { measure } from './client.js';
import type { Allocations } from './heap-probe.js';
import type { Images } from './images.js';
import { cpuSeconds } from '../src/cli/bench/process-time.js';
import { startRiser } from './servers.js';

/** Optimised code allocates less than what the interpreter runs first. */
const WARM_UP_SECONDS = 2;
/** Longer than any adaptive polling goes on after the last command. */
const SETTLE_MS = 1_000;

/** Bytes that one I/O allocated, on average over a run. */
export interface HeapSample {
  name: string;
  heapBytesPerIo: number;
  externalBytesPerIo: number;
}

/** Run `c` against a server of its own, which carries the heap probe and is not timed. */
export async function measureHeap(c: Case, images: Images, seconds: number): Promise<HeapSample> {
  const server = await startRiser(c.medium, images, true);
  try {
    await measure(server, c, WARM_UP_SECONDS);
    server.process.send('start');
    const { iops } = await measure(server, c, seconds);
    server.process.send('stop');
    const [allocations] = (await once(server.process, 'message')) as [Allocations];
    const count = iops * seconds;
    return {
      name: c.name,
      heapBytesPerIo: allocations.heap / count,
      externalBytesPerIo: allocations.external / count,
    };
  } finally {
    await server.stop();
  }
}

/** The share of a core, 0 to 1, that Riser uses while one session is logged in and says nothing. */
export async function measureIdle(images: Images, seconds: number): Promise<number> {
  const server = await startRiser('memory', images);
  const initiator = await Initiator.login({ port: server.port, targetName: server.targetName });
  try {
    await initiator.read(server.lun, 0, 8);
    await delay(SETTLE_MS);
    const before = cpuSeconds(server.pid);
    await delay(seconds * 1000);
    const used = cpuSeconds(server.pid) - before;
    await initiator.logout();
    return used / seconds;
  } finally {
    initiator.destroy();
    await server.stop();
  }
}
