/** Runs in the guest: what the addon is given that it must not be given throws, and the process goes on. */

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';

import { allocatePages, NativeProvider } from '../../src/rdma/index.js';
import { addon } from '../../src/rdma/native/library.js';
import { AccessFlag } from '../../src/rdma/verbs.js';
import { SendOpcode } from '../../src/rdma/work.js';
import { Memory } from '../../src/util/memory.js';
import { Pair } from '../../test/support/verbs-pair.js';

const name = process.env['RISER_DEVICE']!;
const address = process.env['RISER_ADDRESS']!;
const MEMORY = 4096;

const connect = async (): Promise<Pair> => {
  const provider = new NativeProvider();
  return Pair.connect([await provider.open(name), await provider.open(name)], address);
};

describe('misuse', () => {
  it('of the classes: wrong objects, closed ones, numbers out of range', () => {
    const { Device, ProtectionDomain, MemoryRegion, CompletionQueue, QueuePair, ConnectionId, Poller } =
      addon();
    const device = new Device(name);
    const anything = [
      undefined,
      null,
      1,
      -1,
      NaN,
      2 ** 53,
      'x',
      {},
      [],
      new ArrayBuffer(8),
      new Device(name),
    ];
    const Classes = [
      Device,
      ProtectionDomain,
      MemoryRegion,
      CompletionQueue,
      QueuePair,
      ConnectionId,
      Poller,
    ];
    for (const Class of Classes) {
      const make = Class as unknown as new (...args: unknown[]) => unknown;
      assert.throws(() => new make());
      for (const a of anything) {
        for (const b of anything) {
          try {
            new make(a, b, b, a, b, a, b, a, b, a);
          } catch {
            // As it should, nearly always.
          }
        }
      }
      assert.throws(() => (Class as unknown as () => unknown)());
    }
    const domain = new ProtectionDomain(device);
    assert.throws(() => device.close(), { errno: 16 });
    const { poll } = CompletionQueue.prototype as { poll: (most: number) => number };
    assert.throws(() => poll.call(domain as never, 1));
    domain.close();
    device.close();
    assert.throws(() => device.attributes(), /closed/);
    assert.throws(() => new ProtectionDomain(device), /closed/);
  });

  it('of records: their buffer is detached, or they name what is not there', async () => {
    const { Device, CompletionQueue, ProtectionDomain, QueuePair } = addon();
    const device = new Device(name);
    const domain = new ProtectionDomain(device);
    const records = new ArrayBuffer(1024);
    const queue = new CompletionQueue(device, 16, 1, records);
    structuredClone(records, { transfer: [records] });
    assert.equal(queue.poll(10), 0);
    const [sends, receives] = [new ArrayBuffer(4096), new ArrayBuffer(4096)];
    const pair = new QueuePair(domain, queue, queue, null, 4, 4, 2, 1, sends, receives);
    assert.throws(() => pair.postSends(100_000, []), /whole number/);
    const words = new Uint32Array(sends);
    words[12] = 1_000_000;
    assert.throws(() => pair.postSends(1, []), /entries/);
    words.set([8], 0);
    words[12] = 0;
    words[14] = 7;
    assert.throws(() => pair.postSends(1, []), /not given/);
    words.set([4_000_000], 0);
    assert.throws(() => pair.postSends(1, []), /unknown operation/);
    structuredClone(sends, { transfer: [sends] });
    assert.throws(() => pair.postSends(1, []));
    pair.close();
    assert.throws(() => pair.postSends(0, []), /closed/);
    queue.close();
    domain.close();
    device.close();
    await new Promise((resolve) => setTimeout(resolve, 10));
  });

  it('of memory: what was detached is not registered, nor posted', async () => {
    const pair = await connect();
    const { active } = pair;
    const memory = Memory.allocate(MEMORY);
    const { buffer } = memory.bytes;
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    assert.throws(() => active.domain.registerMemory(memory, AccessFlag.LOCAL_WRITE), {
      code: 'RDMA_MISUSE',
    });
    const pages = allocatePages(MEMORY);
    const region = active.domain.registerMemory(pages, AccessFlag.LOCAL_WRITE);
    structuredClone(pages.bytes.buffer, { transfer: [pages.bytes.buffer as ArrayBuffer] });
    globalThis.gc?.();
    const request = active.request(SendOpcode.SEND, 1, 0, 0);
    request.sges.add(region, 0, 100);
    active.post(request);
    assert.ok((await active.disconnected()) instanceof Error);
    region.deregister();
    await pair.close();
  });

  it('is no way to load the addon twice', () => {
    const path = process.env['RISER_VERBS_ADDON'] ?? '../../prebuilds/linux-x64/riser-verbs.node';
    assert.equal((createRequire(import.meta.url)(path) as { sources: string }).sources, addon().sources);
  });
});
