/**
 * Runs in the guest: what the addon and the provider must not be given, on the device RISER_DEVICE at RISER_ADDRESS. It throws, or ends a
 * connection; the process goes on.
 */

import assert from 'node:assert/strict';
import { openSync, closeSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { allocatePages, NativeProvider, type RdmaDevice } from '../../src/rdma/index.js';
import { addon } from '../../src/rdma/native/library.js';
import type { NativeProtectionDomain } from '../../src/rdma/native/memory.js';
import { AccessFlag, type MemoryRegion } from '../../src/rdma/verbs.js';
import { CompletionStatus, SendFlag, SendOpcode, SendRequest } from '../../src/rdma/work.js';
import { Memory } from '../../src/util/memory.js';
import { Pair } from '../../test/support/verbs-pair.js';

const name = process.env['RISER_DEVICE']!;
const address = process.env['RISER_ADDRESS']!;
const { Device, ProtectionDomain, MemoryRegion: Region, MemoryWindow, CompletionQueue } = addon();
const { SharedReceiveQueue, QueuePair, EventChannel, ConnectionId, Poller } = addon();

const BYTES = 4096;
const RIGHTS = AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_WRITE | AccessFlag.REMOTE_READ;
const EBUSY = { errno: 16 };
/** Words of a send's record for a queue pair of MAX_SGES, and which of them is what (native/work_requests.h). */
const MAX_SGES = 2;
const WORDS = 20 + 4 * MAX_SGES;
const [OPCODE, SGES, BINDING] = [0, 12, 14];
/** What the types of ES2023 do not have. */
const ResizableBuffer = ArrayBuffer as unknown as new (
  length: number,
  options: { maxByteLength: number },
) => ArrayBuffer & { resize(length: number): void };
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    Memory: new (pages: { initial: number }) => { buffer: ArrayBuffer; grow(pages: number): void };
  };
};
/** Of ibv_wr_opcode. */
const [SEND, BIND_MW] = [2, 8];

const openDevice = (): Promise<RdmaDevice> => new NativeProvider().open(name);
const collectGarbage = async (): Promise<void> => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!();
    await delay(10);
  }
};

/** Handles of the addon, in the order in which they are to be closed. */
class Handles {
  readonly device = new Device(name);
  readonly domain = new ProtectionDomain(this.device);
  readonly completions = new ArrayBuffer(1024);
  readonly queue = new CompletionQueue(this.device, 16, 1, this.completions);
  readonly sends = new ArrayBuffer(4 * WORDS * 4);
  readonly receives = new ArrayBuffer(4 * WORDS * 4);
  readonly pair = this.makePair(4, 4, MAX_SGES);
  /** Closes what else was made. */
  readonly made: (() => void)[] = [];

  makePair(maxSends: number, maxReceives: number, maxSges: number): InstanceType<typeof QueuePair> {
    const { domain, queue, sends, receives } = this;
    return new QueuePair(domain, queue, queue, null, maxSends, maxReceives, maxSges, 1, sends, receives);
  }

  /** Set words of the first record. */
  record(words: Record<number, number>): void {
    const record = new Uint32Array(this.sends);
    record.fill(0);
    for (const [at, word] of Object.entries(words)) record[Number(at)] = word;
  }

  close(): void {
    for (const closeIt of this.made) closeIt();
    for (const handle of [this.pair, this.queue, this.domain, this.device]) handle.close();
  }
}

const detach = (buffer: ArrayBuffer): void => {
  structuredClone(buffer, { transfer: [buffer] });
  assert.equal(buffer.byteLength, 0);
};

describe('handles', () => {
  it('are not made of just anything, nor called as functions', async () => {
    const device = new Device(name);
    const anything = [undefined, null, -1, 1.5, NaN, 2 ** 53, 'x', {}, [], new ArrayBuffer(8), device];
    const classes = [Device, ProtectionDomain, Region, MemoryWindow, CompletionQueue, SharedReceiveQueue];
    for (const Class of [...classes, QueuePair, ConnectionId, Poller] as unknown[]) {
      assert.throws(() => (Class as () => unknown)(), TypeError);
      for (const a of anything) {
        for (const b of anything) {
          const make = (): unknown =>
            new (Class as new (...args: unknown[]) => unknown)(a, b, b, a, b, a, b, a, b);
          // These alone may begin so: one for an identifier that comes with a request, one of the device.
          if (!(Class === ConnectionId && a === null) && !(Class === ProtectionDomain && a === device))
            assert.throws(make, Error);
        }
      }
    }
    await collectGarbage();
    device.close();
  });

  it('are known for what they are', () => {
    const handles = new Handles();
    const { poll } = CompletionQueue.prototype as { poll: (most: number) => number };
    assert.throws(() => poll.call(handles.domain, 1), TypeError);
    assert.throws(() => poll.call(Object.create(handles.queue), 1), TypeError);
    assert.throws(() => new ProtectionDomain(handles.domain as never), TypeError);
    handles.close();
  });

  it('are closed in order, once or more, and are of no use then', () => {
    const handles = new Handles();
    assert.throws(() => handles.device.close(), EBUSY);
    assert.throws(() => handles.domain.close(), EBUSY);
    assert.throws(() => handles.queue.close(), EBUSY);
    const region = new Region(handles.domain, new Uint8Array(BYTES), RIGHTS);
    region.deregister();
    region.deregister();
    handles.close();
    handles.close();
    assert.throws(() => region.keys(), /closed/);
    assert.throws(() => handles.device.attributes(), /closed/);
    assert.throws(() => new ProtectionDomain(handles.device), /closed/);
    assert.throws(() => handles.queue.poll(1), /closed/);
    assert.throws(() => handles.pair.postSends(1, []), /closed/);
    assert.throws(() => handles.pair.postReceives(1), /closed/);
  });

  it('have room for something', () => {
    const handles = new Handles();
    const records = new ArrayBuffer(BYTES);
    assert.throws(() => new CompletionQueue(handles.device, 0, 1, records), TypeError);
    assert.throws(() => new SharedReceiveQueue(handles.domain, 0, 1, records), TypeError);
    assert.throws(() => new SharedReceiveQueue(handles.domain, 1, 0, records), TypeError);
    assert.throws(() => handles.makePair(0, 4, 1), TypeError);
    assert.throws(() => handles.makePair(4, 0, 1), TypeError);
    assert.throws(() => handles.makePair(4, 4, 0), TypeError);
    handles.close();
  });

  it('of connections take the steps in order', async () => {
    const handles = new Handles();
    const channel = new EventChannel();
    const id = new ConnectionId(channel, 5);
    const nothing = new Uint8Array(0);
    assert.throws(() => id.connect(handles.pair, nothing, 1, 1), /no device yet/);
    assert.throws(() => id.accept(handles.pair, nothing, 1, 1), /no device yet/);
    assert.throws(() => id.resolveRoute(10), /no device yet/);
    assert.throws(() => id.transition(handles.pair, 1, 0, 1, 1), Error);
    assert.throws(() => id.establish(), Error);
    assert.throws(() => id.reject(nothing), Error);
    assert.throws(() => id.reject(new Uint8Array(256)), RangeError);
    id.disconnect();
    id.communicationEstablished();
    assert.equal(id.device(), null);
    assert.throws(() => id.bind('no address', 0), TypeError);
    id.bind(address, 0);
    assert.throws(() => id.accept(handles.pair, nothing, 1, 1), Error);
    // An identifier keeps it.
    channel.close();
    assert.throws(() => channel.event(), /closed/);
    id.listen(1);
    id.close();
    assert.throws(() => id.listen(1), /closed/);
    assert.throws(() => new ConnectionId(channel, 1), /closed/);
    handles.close();
    await delay(10);
  });
});

describe('a poller', () => {
  it('outlives its descriptor', async () => {
    const device = new Device(name);
    const poller = new Poller(device.descriptors()[0], () => assert.fail('nothing was told'));
    poller.keepAlive(true);
    device.close();
    await delay(20);
    poller.close();
    poller.close();
    assert.throws(() => poller.keepAlive(true), /closed/);
    assert.throws(() => new Poller(1 << 20, () => undefined), Error);
    const file = openSync('/proc/self/exe', 'r');
    assert.throws(() => new Poller(file, () => undefined), Error, 'a file cannot be watched');
    closeSync(file);
  });

  it('is closed by its own function, and by being forgotten', async () => {
    const channel = new EventChannel();
    const id = new ConnectionId(channel, 1);
    const poller = new Poller(channel.descriptor(), () => poller.close());
    poller.keepAlive(true);
    id.resolveAddress(address, 9, 1000);
    await delay(200);
    assert.throws(() => poller.keepAlive(false), /closed/);
    new Poller(channel.descriptor(), () => undefined);
    await collectGarbage();
    id.close();
    channel.close();
  });
});

describe('records', () => {
  it('that are detached are empty', () => {
    const handles = new Handles();
    for (const buffer of [handles.completions, handles.sends, handles.receives]) detach(buffer);
    assert.equal(handles.queue.poll(10), 0);
    assert.throws(() => handles.pair.postSends(1, []), TypeError);
    assert.throws(() => handles.pair.postReceives(1), TypeError);
    const keys = new Uint32Array(4);
    detach(keys.buffer);
    assert.equal(handles.device.completionEvents(keys), 0);
    assert.throws(() => handles.device.completionEvents(new Float64Array(4) as never), TypeError);
    handles.close();
  });

  it('name only what is there', () => {
    const handles = new Handles();
    assert.throws(() => handles.pair.postSends(5, []), TypeError);
    assert.throws(() => handles.pair.postSends(1, {} as never), TypeError);
    handles.record({ [SGES]: MAX_SGES + 1 });
    assert.throws(() => handles.pair.postSends(1, []), RangeError);
    handles.record({ [OPCODE]: BIND_MW, [BINDING]: 1 });
    assert.throws(() => handles.pair.postSends(1, []), RangeError);
    handles.record({ [OPCODE]: 4_000_000 });
    assert.throws(() => handles.pair.postSends(1, []), RangeError);
    new Uint32Array(handles.receives)[2] = MAX_SGES + 1;
    assert.throws(() => handles.pair.postReceives(1), RangeError);
    handles.close();
  });

  it('are refused, and counted right, by a queue pair without a connection', () => {
    const handles = new Handles();
    handles.record({ [OPCODE]: SEND });
    const result = handles.pair.postSends(4, []);
    assert.ok(result % 65_536 < 4, 'not all were taken');
    assert.ok(result >= 65_536, 'an errno says why');
    const receives = handles.pair.postReceives(4);
    assert.ok(receives % 65_536 <= 4);
    handles.close();
  });

  describe('may vanish, with what they name, while the objects are looked at', () => {
    /** Post a binding of what `first` and `second` make when they are called, in the middle of it all. */
    const post = (first: (handles: Handles) => object, second: (handles: Handles) => object): void => {
      const handles = new Handles();
      handles.record({ [OPCODE]: BIND_MW });
      const objects = Object.defineProperties([0, 0], {
        0: { get: () => first(handles) },
        1: { get: () => second(handles) },
      });
      assert.throws(() => handles.pair.postSends(1, objects as never), Error);
      handles.close();
    };

    it('the queue pair', () => {
      post(
        ({ pair }) => {
          pair.close();
          return {};
        },
        () => ({}),
      );
    });

    it('a window and its region', (t) => {
      const handles = new Handles();
      const { hasWindows } = handles.device.attributes();
      handles.close();
      if (!hasWindows) {
        t.skip('the device has no memory windows');
        return;
      }
      const regionOf = ({ domain, made }: Handles): InstanceType<typeof Region> => {
        const region = new Region(domain, new Uint8Array(BYTES), RIGHTS);
        made.push(() => region.deregister());
        return region;
      };
      const windowOf = ({ domain, made }: Handles): InstanceType<typeof MemoryWindow> => {
        const window = new MemoryWindow(domain);
        made.push(() => window.close());
        return window;
      };
      post(windowOf, (handles) => {
        handles.made[0]!();
        return regionOf(handles);
      });
      post(windowOf, (handles) => {
        const region = regionOf(handles);
        region.deregister();
        return region;
      });
      post((handles) => {
        detach(handles.sends);
        globalThis.gc!();
        return windowOf(handles);
      }, regionOf);
    });
  });
});

describe('memory', async () => {
  const devices = [await openDevice(), await openDevice()] as const;
  after(async () => {
    for (const device of devices) await device.close();
  });

  /** What becomes of a Write from `region` and of the connection. */
  const write = async (region: MemoryRegion, pair: Pair): Promise<void> => {
    const request = new SendRequest();
    request.opcode = SendOpcode.RDMA_WRITE;
    request.flags = SendFlag.SIGNALED;
    request.sges.add(region, 0, 100);
    request.remoteKey = pair.passive.region.remoteKey;
    request.setRemoteAddress(pair.passive.region.address);
    pair.active.post(request);
    await pair.active.completed(1);
  };

  it('that is detached or empty is not registered', () => {
    const domain = devices[0].allocateProtectionDomain();
    const memory = Memory.allocate(BYTES);
    detach(memory.bytes.buffer as ArrayBuffer);
    assert.throws(() => domain.registerMemory(memory, RIGHTS), { code: 'RDMA_MISUSE' });
    assert.throws(() => domain.registerMemory(Memory.allocate(0), RIGHTS), { code: 'RDMA_MISUSE' });
    const shared = new Memory(Buffer.from(new SharedArrayBuffer(BYTES)));
    assert.throws(() => domain.registerMemory(shared, RIGHTS), { code: 'RDMA_MISUSE' });
    domain.close();
  });

  for (const [what, make] of [
    ['of its own', () => Memory.allocate(BYTES)],
    ['on pages of its own', () => allocatePages(BYTES)],
  ] as const) {
    it(`${what} cannot be given away once it is registered: peers reach it still`, async () => {
      const pair = await Pair.connect(devices, address);
      const memory = make();
      const region = pair.active.domain.registerMemory(memory, RIGHTS);
      const buffer = memory.bytes.buffer as ArrayBuffer;
      const { port1, port2 } = new MessageChannel();
      for (const give of [
        () => structuredClone(buffer, { transfer: [buffer] }),
        () => port1.postMessage(buffer, [buffer]),
      ]) {
        try {
          give();
        } catch (error) {
          // Node 20 copies instead.
          assert.equal((error as Error).name, 'DataCloneError');
        }
      }
      port1.close();
      port2.close();
      assert.equal(buffer.byteLength, BYTES);
      memory.bytes.fill(7);
      await write(region, pair);
      assert.deepEqual(pair.active.completions[0]!.status, CompletionStatus.SUCCESS);
      assert.ok(pair.passive.memory.bytes.subarray(0, 100).every((byte) => byte === 7));
      region.deregister();
      await pair.close();
    });
  }

  for (const [what, make] of [
    [
      'that has shrunk',
      () => {
        const buffer = new ResizableBuffer(BYTES, { maxByteLength: 2 * BYTES });
        return { buffer, lose: () => buffer.resize(0) };
      },
    ],
    [
      "of WebAssembly's that has grown",
      () => {
        const all = new WebAssembly.Memory({ initial: 1 });
        return { buffer: all.buffer, lose: () => all.grow(1) };
      },
    ],
  ] as const) {
    it(`${what} ends the connection that uses it`, async () => {
      const pair = await Pair.connect(devices, address);
      const { buffer, lose } = make();
      const region = pair.active.domain.registerMemory(new Memory(Buffer.from(buffer)), RIGHTS);
      lose();
      await write(region, pair);
      assert.equal(pair.active.completions[0]!.status, CompletionStatus.LOCAL_PROTECTION_ERROR);
      assert.ok((await pair.active.disconnected()) instanceof Error);
      region.deregister();
      await pair.close();
    });
  }

  it('is not collected as garbage while a region has it', async () => {
    const domain = devices[0].allocateProtectionDomain() as NativeProtectionDomain;
    const make = (): [InstanceType<typeof Region>, WeakRef<ArrayBuffer>] => {
      const bytes = new Uint8Array(BYTES);
      return [new Region(domain.handle, bytes, RIGHTS), new WeakRef(bytes.buffer)];
    };
    const [region, buffer] = make();
    await collectGarbage();
    assert.notEqual(buffer.deref(), undefined);
    region.deregister();
    await collectGarbage();
    assert.equal(buffer.deref(), undefined);
    domain.close();
  });

  it('is not collected while a window on it is bound, though its region is forgotten', async (t) => {
    if (!devices[0].attributes.hasMemoryWindows) {
      t.skip('the device has no memory windows');
      return;
    }
    const [own, peer] = [await openDevice(), await openDevice()];
    const domain = peer.allocateProtectionDomain();
    const pair = await Pair.connect([own, peer], address, { passive: { domain } });
    const { active, passive } = pair;
    const window = domain.allocateWindow();
    const bind = async (): Promise<WeakRef<ArrayBufferLike>> => {
      const region = domain.registerMemory(Memory.allocate(BYTES), RIGHTS | AccessFlag.WINDOW_BIND);
      const request = new SendRequest();
      request.opcode = SendOpcode.BIND_WINDOW;
      request.flags = SendFlag.SIGNALED;
      request.window = window;
      request.bindRegion = region;
      request.bindLength = BYTES;
      request.bindAccess = AccessFlag.REMOTE_WRITE;
      passive.post(request);
      await passive.completed(1);
      assert.equal(passive.completions[0]!.status, CompletionStatus.SUCCESS);
      const granted = active.request(SendOpcode.RDMA_WRITE, 1, 0, BYTES);
      granted.remoteKey = window.remoteKey;
      granted.setRemoteAddress(region.address);
      active.post(granted);
      await active.completed(1);
      assert.equal(active.completions[0]!.status, CompletionStatus.SUCCESS);
      return new WeakRef(region.memory.bytes.buffer);
    };
    const buffer = await bind();
    await collectGarbage();
    assert.notEqual(buffer.deref(), undefined);
    window.close();
    await collectGarbage();
    assert.equal(buffer.deref(), undefined);
    await pair.close();
    await own.close();
    // The other is open until the process ends: its domain still has the region.
  });
});
