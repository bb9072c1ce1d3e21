/** Memory windows. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AccessFlag, type ProtectionDomain } from '../../../src/rdma/verbs.js';
import { CompletionFlag, CompletionStatus, SendOpcode, SendRequest } from '../../../src/rdma/work.js';
import { Memory } from '../../../src/util/memory.js';
import { type End, MEMORY_BYTES } from '../../support/verbs-pair.js';
import { statuses, type VerbsSuite } from './suite.js';

const { SUCCESS } = CompletionStatus;

export function windowsContract(suite: VerbsSuite): void {
  describe('windows', () => {
    const bind = (end: End, offset: number, length: number, access: number): SendRequest => {
      const request = new SendRequest();
      request.opcode = SendOpcode.BIND_WINDOW;
      request.window = end.domain.allocateWindow();
      request.bindRegion = end.region;
      request.bindOffset = offset;
      request.bindLength = length;
      request.bindAccess = access;
      return request;
    };

    /** A window of one domain to be bound to a new region of another, or the same. */
    const on = (
      domain: ProtectionDomain,
      regionDomain: ProtectionDomain,
      regionAccess: number,
      access: number,
    ): SendRequest => {
      const request = new SendRequest();
      request.opcode = SendOpcode.BIND_WINDOW;
      request.window = domain.allocateWindow();
      request.bindRegion = regionDomain.registerMemory(Memory.allocate(100), regionAccess);
      request.bindLength = 100;
      request.bindAccess = access;
      return request;
    };

    it('grant a part, and nothing once they are invalidated', async (t) => {
      if (!suite.devices[0].attributes.hasMemoryWindows) {
        t.skip('the device has no memory windows');
        return;
      }
      const { active, passive } = await suite.connect({
        passive: { access: AccessFlag.LOCAL_WRITE | AccessFlag.WINDOW_BIND },
      });
      const binding = bind(passive, 1000, 500, AccessFlag.REMOTE_READ);
      passive.post(binding);
      await passive.completed(1);
      assert.deepEqual(statuses(passive), [SUCCESS]);
      const read = active.request(SendOpcode.RDMA_READ, 1, 0, 500);
      read.remoteKey = binding.window!.remoteKey;
      read.setRemoteAddress(passive.region.address + 1000);
      active.post(read);
      await active.completed(1);
      assert.ok(active.memory.bytes.subarray(0, 500).equals(passive.memory.bytes.subarray(1000, 1500)));
      const invalidate = new SendRequest();
      invalidate.opcode = SendOpcode.LOCAL_INVALIDATE;
      invalidate.invalidateKey = read.remoteKey;
      passive.post(invalidate);
      await passive.completed(2);
      active.post(read);
      await active.disconnected();
      active.drain();
      assert.deepEqual(statuses(active), [SUCCESS, CompletionStatus.REMOTE_ACCESS_ERROR]);
      binding.window!.close();
    });

    it('of another domain, and regions, are not invalidated', async (t) => {
      if (!suite.devices[0].attributes.hasMemoryWindows) {
        t.skip('the device has no memory windows');
        return;
      }
      const owner = await suite.connect();
      const binding = bind(owner.passive, 1000, 500, AccessFlag.REMOTE_READ);
      owner.passive.post(binding);
      await owner.passive.completed(1);
      const key = binding.window!.remoteKey;
      for (const isRegion of [false, true]) {
        const other = await suite.connect();
        const invalidate = new SendRequest();
        invalidate.opcode = SendOpcode.LOCAL_INVALIDATE;
        invalidate.invalidateKey = isRegion ? other.passive.region.remoteKey : key;
        other.passive.post(invalidate);
        await other.passive.disconnected();
        other.passive.drain();
        assert.equal(other.passive.completions.length, 1);
        assert.notEqual(other.passive.completions[0]!.status, CompletionStatus.SUCCESS);
        await suite.disconnect();
      }
      const read = owner.active.request(SendOpcode.RDMA_READ, 1, 0, 500);
      read.remoteKey = key;
      read.setRemoteAddress(owner.passive.region.address + 1000);
      owner.active.post(read);
      await owner.active.completed(1);
      assert.deepEqual(statuses(owner.active), [SUCCESS]);
      binding.window!.close();
      await owner.close();
    });

    const { LOCAL_WRITE, REMOTE_READ, REMOTE_WRITE, WINDOW_BIND } = AccessFlag;
    const BINDINGS: [string, (end: End, stranger: ProtectionDomain) => SendRequest][] = [
      ['over the end of the region by one byte', (end) => bind(end, MEMORY_BYTES - 499, 500, REMOTE_READ)],
      [
        'to a region that is not for windows',
        (end) => on(end.domain, end.domain, LOCAL_WRITE | REMOTE_READ, REMOTE_READ),
      ],
      [
        'for writing to a region that is only read',
        (end) => on(end.domain, end.domain, WINDOW_BIND, REMOTE_WRITE),
      ],
      ['of another domain', (end, stranger) => on(stranger, end.domain, WINDOW_BIND, REMOTE_READ)],
      ["to another domain's region", (end, stranger) => on(end.domain, stranger, WINDOW_BIND, REMOTE_READ)],
    ];
    for (const [what, make] of BINDINGS) {
      it(`are not bound ${what}, which ends the connection`, async (t) => {
        if (!suite.devices[0].attributes.hasMemoryWindows) {
          t.skip('the device has no memory windows');
          return;
        }
        const { passive } = await suite.connect();
        const stranger = passive.device.allocateProtectionDomain();
        const binding = make(passive, stranger);
        passive.post(binding);
        await passive.disconnected();
        passive.drain();
        assert.equal(passive.completions.length, 1);
        assert.notEqual(passive.completions[0]!.status, SUCCESS);
        binding.window!.close();
        if (binding.bindRegion !== passive.region) binding.bindRegion!.deregister();
        stranger.close();
      });
    }

    it('are bound to nothing when the queue pair that bound them is closed', async (t) => {
      if (!suite.devices[0].attributes.hasMemoryWindows) {
        t.skip('the device has no memory windows');
        return;
      }
      const domain = suite.devices[1].allocateProtectionDomain();
      const first = await suite.connect({ passive: { domain } });
      const binding = bind(first.passive, 1000, 500, AccessFlag.REMOTE_READ);
      first.passive.post(binding);
      await first.passive.completed(1);
      await suite.disconnect();

      const { active, passive } = await suite.connect({ passive: { domain } });
      binding.bindRegion = passive.region;
      passive.post(binding);
      await passive.completed(1);
      assert.deepEqual(statuses(passive), [SUCCESS]);
      const read = active.request(SendOpcode.RDMA_READ, 1, 0, 500);
      read.remoteKey = binding.window!.remoteKey;
      read.setRemoteAddress(passive.region.address + 1000);
      active.post(read);
      await active.completed(1);
      assert.deepEqual(statuses(active), [SUCCESS]);
      binding.window!.close();
      await suite.disconnect();
      domain.close();
    });

    it('are invalidated by the peer along with a send', async (t) => {
      const { hasMemoryWindows, hasSendWithInvalidate } = suite.devices[0].attributes;
      if (!hasMemoryWindows || !hasSendWithInvalidate) {
        t.skip('the device has no memory windows, or no Send with Invalidate');
        return;
      }
      const { active, passive } = await suite.connect();
      passive.receive(50, 0, 10);
      const binding = bind(passive, 1000, 500, AccessFlag.REMOTE_WRITE);
      passive.post(binding);
      await passive.completed(1);
      const send = active.request(SendOpcode.SEND_WITH_INVALIDATE, 2, 0, 4);
      send.invalidateKey = binding.window!.remoteKey;
      active.post(send);
      await passive.completed(2);
      const received = passive.completions[1]!;
      assert.deepEqual(
        [received.id, received.flags & CompletionFlag.WITH_INVALIDATE, received.invalidatedKey],
        [50, CompletionFlag.WITH_INVALIDATE, send.invalidateKey],
      );
      // Only then it can be bound anew.
      passive.post(binding);
      await passive.completed(3);
      assert.deepEqual(statuses(passive), [SUCCESS, SUCCESS, SUCCESS]);
      assert.notEqual(binding.window!.remoteKey, send.invalidateKey);
      binding.window!.close();
    });
  });
}
