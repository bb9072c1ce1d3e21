import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { IwarpDevice } from '../../rdma/iwarp/device.js';
import type { IwarpProtectionDomain } from '../../rdma/iwarp/protection-domain.js';
import { AccessFlag } from '../../rdma/verbs.js';
import { NarrowDevice } from '../../../test/support/narrow-device.js';
import { Memory, ScatterList } from '../../util/memory.js';
import { RegisteredMemory } from './registered-memory.js';

describe('RegisteredMemory', () => {
  const [first, second, third, fourth] = [1, 2, 3, 4].map(() => Memory.allocate(1000)) as [
    Memory,
    Memory,
    Memory,
    Memory,
  ];
  let device: IwarpDevice;
  let registered: RegisteredMemory;
  let domain: IwarpProtectionDomain;

  beforeEach(() => {
    device = new IwarpDevice();
    registered = new RegisteredMemory(device, 2500);
    domain = registered.domain as IwarpProtectionDomain;
  });
  afterEach(async () => {
    registered.close();
    assert.deepEqual([registered.regions, registered.bytes, domain.users], [0, 0, 0]);
    await device.close();
  });

  /** Registered once more, and idle. */
  function use(memory: Memory): void {
    registered.hold(memory);
    registered.release(memory);
  }

  function counts(): [regions: number, bytes: number, inDomain: number] {
    return [registered.regions, registered.bytes, domain.users];
  }

  it('registers a memory once, and keeps it while it is idle', () => {
    const region = registered.hold(first);
    assert.equal(region.memory, first);
    assert.equal(registered.hold(first), region);
    registered.release(first);
    registered.release(first);
    assert.deepEqual(counts(), [1, 1000, 1]);
    assert.equal(registered.hold(first), region);
    registered.release(first);
  });

  it('gives no peer any right by itself', () => {
    const region = registered.hold(first);
    assert.equal(region.access, AccessFlag.LOCAL_WRITE | AccessFlag.WINDOW_BIND);
    assert.equal(region.remoteKey, 0);
    assert.equal(domain.keys.count, 0);
    registered.release(first);
  });

  it('lets go of what is idle, the oldest first, when there is too much', () => {
    use(first);
    use(second);
    const kept = registered.hold(second);
    registered.release(second);
    use(third);
    assert.deepEqual(counts(), [2, 2000, 2]);
    assert.equal(registered.hold(second), kept, 'the younger one stays');
    registered.release(second);
    use(first);
    assert.deepEqual(counts(), [2, 2000, 2]);
    assert.notEqual(registered.hold(second), kept, 'then it is the oldest');
    registered.release(second);
  });

  it('never lets go of what is held, even if that is too much', () => {
    const regions = [first, second, third, fourth].map((memory) => registered.hold(memory));
    assert.deepEqual(counts(), [4, 4000, 4]);
    for (const [i, memory] of [first, second, third, fourth].entries()) {
      assert.equal(registered.hold(memory), regions[i]);
      registered.release(memory);
    }
    // What is released while there is too much does not stay.
    registered.release(second);
    assert.deepEqual(counts(), [3, 3000, 3]);
    registered.release(third);
    assert.deepEqual(counts(), [2, 2000, 2]);
    registered.release(first);
    registered.release(fourth);
    assert.deepEqual(counts(), [2, 2000, 2]);
    assert.equal(registered.hold(first), regions[0]);
    registered.release(first);
  });

  it('passes over the held ones for older and younger idle ones', () => {
    const held = registered.hold(first);
    use(second);
    use(third);
    assert.deepEqual(counts(), [2, 2000, 2]);
    assert.equal(registered.hold(first), held);
    registered.release(first);
    registered.release(first);
  });

  it('lets go of what is not to be kept when nobody holds it any more', () => {
    use(second);
    registered.hold(first, false);
    registered.hold(first, false);
    registered.release(first);
    assert.deepEqual(counts(), [2, 2000, 2]);
    registered.release(first);
    assert.deepEqual(counts(), [1, 1000, 1]);
  });

  it('registers what is larger than the limit for as long as it is held', () => {
    const large = Memory.allocate(5000);
    use(first);
    registered.hold(large);
    assert.deepEqual(counts(), [1, 5000, 1]);
    registered.release(large);
    assert.deepEqual(counts(), [0, 0, 0]);
  });

  describe('lets go of memory that its owner has retired', () => {
    const fresh = (): Memory => Memory.allocate(1000);

    it('at once when nobody holds it', () => {
      const memory = fresh();
      use(memory);
      use(first);
      memory.retire();
      assert.deepEqual(counts(), [1, 1000, 1]);
    });

    it('with the last release when somebody does', () => {
      const memory = fresh();
      const region = registered.hold(memory);
      registered.hold(memory);
      memory.retire();
      registered.release(memory);
      assert.deepEqual(counts(), [1, 1000, 1]);
      assert.equal(registered.hold(memory), region);
      registered.release(memory);
      registered.release(memory);
      assert.deepEqual(counts(), [0, 0, 0]);
    });

    it('when it was retired before it was held', () => {
      const memory = fresh();
      memory.retire();
      use(memory);
      assert.deepEqual(counts(), [0, 0, 0]);
    });

    it('in every device that it is registered with, and not where it no longer is', () => {
      const memory = fresh();
      const other = new RegisteredMemory(device, 2500);
      const closed = new RegisteredMemory(device, 2500);
      for (const each of [registered, other, closed]) {
        each.hold(memory);
        each.release(memory);
      }
      closed.close();
      memory.retire();
      assert.deepEqual(counts(), [0, 0, 0]);
      assert.deepEqual([other.regions, other.bytes], [0, 0]);
      assert.deepEqual([closed.regions, closed.bytes], [0, 0]);
      other.close();
    });
  });

  it('tells whether there is room, and tries it', () => {
    const list = new ScatterList();
    for (const memory of [first, second, third]) list.add(memory, 0, 1000);
    assert.ok(registered.hasRoom);
    // More than may stay may be in use.
    assert.ok(registered.prepare(list));
    assert.deepEqual(counts(), [2, 2000, 2]);
    use(third);
    use(fourth);
    assert.equal(registered.bytes, 2000);
  });
});

describe('RegisteredMemory of a device that is full', () => {
  it('lets go of what is idle, and keeps no more than there was from then on', async () => {
    const device = new NarrowDevice({});
    const registered = new RegisteredMemory(device, 1 << 20);
    const [held, idle, other] = [1, 2, 3].map(() => Memory.allocate(1000)) as [Memory, Memory, Memory];
    registered.hold(held);
    registered.hold(idle);
    registered.release(idle);
    device.isFull = true;
    assert.throws(() => registered.hold(other), { code: 'RDMA_MEMORY', by: 'local' });
    assert.deepEqual([registered.regions, registered.bytes, registered.limit], [1, 1000, 2000]);
    const list = new ScatterList();
    list.add(held, 0, 1000);
    assert.ok(registered.prepare(list));
    list.add(other, 0, 1000);
    assert.ok(!registered.prepare(list));
    assert.equal(registered.regions, 1);
    device.isFull = false;
    assert.ok(registered.prepare(list));
    assert.ok(!registered.hasRoom);
    registered.release(held);
    registered.close();
    assert.equal(device.registrations, 0);
    await device.close();
  });
});
