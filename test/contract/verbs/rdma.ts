/** RDMA Writes and Reads, and who may not have them. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AccessFlag } from '../../../src/rdma/verbs.js';
import {
  CompletionOpcode,
  CompletionStatus,
  SendFlag,
  SendOpcode,
  type SendRequest,
} from '../../../src/rdma/work.js';
import { Memory } from '../../../src/util/memory.js';
import { MEMORY_BYTES } from '../../support/verbs-pair.js';
import { statuses, type VerbsSuite } from './suite.js';

const { SUCCESS } = CompletionStatus;

export function rdmaContract(suite: VerbsSuite): void {
  describe('RDMA', () => {
    for (const length of [0, 1, 4096, 65_536, 300_001]) {
      it(`writes ${length} bytes where it was told, and nowhere else`, async () => {
        const { active, passive } = await suite.connect();
        const before = Buffer.from(passive.memory.bytes);
        passive.receive(1, MEMORY_BYTES - 1, 1);
        active.post(
          active.remote(SendOpcode.RDMA_WRITE, 1, 333, length, passive, 4321),
          active.request(SendOpcode.SEND, 2, 0, 0),
        );
        await passive.completed(1);
        await active.completed(2);
        assert.deepEqual(statuses(active), [SUCCESS, SUCCESS]);
        assert.equal(active.completions[0]!.opcode, CompletionOpcode.RDMA_WRITE);
        active.memory.bytes.copy(before, 4321, 333, 333 + length);
        assert.ok(passive.memory.bytes.equals(before));
        assert.equal(passive.completions.length, 1, 'a write is not seen by its target');
      });

      it(`reads ${length} bytes`, async () => {
        const { active, passive } = await suite.connect();
        const before = Buffer.from(active.memory.bytes);
        active.post(active.remote(SendOpcode.RDMA_READ, 7, 333, length, passive, 4321));
        await active.completed(1);
        const [read] = active.completions;
        assert.deepEqual(
          [read!.id, read!.status, read!.opcode, read!.byteLength],
          [7, SUCCESS, CompletionOpcode.RDMA_READ, length],
        );
        passive.memory.bytes.copy(before, 333, 4321, 4321 + length);
        assert.ok(active.memory.bytes.equals(before));
      });
    }

    it('has more reads posted than may be under way', async () => {
      const { active, passive } = await suite.connect({
        connect: { initiatorDepth: 2 },
        accept: { responderResources: 2 },
      });
      const reads = Array.from({ length: 20 }, (_, i) =>
        active.remote(SendOpcode.RDMA_READ, i, i * 10_000, 10_000, passive, i * 10_000),
      );
      active.post(...reads);
      await active.completed(20);
      assert.deepEqual(
        active.completions.map(({ id, status }) => [id, status]),
        reads.map(({ id }) => [id, SUCCESS]),
      );
      assert.ok(active.memory.bytes.subarray(0, 200_000).equals(passive.memory.bytes.subarray(0, 200_000)));
    });

    it('has as many reads under way as were agreed, both ways at once, and more posted', async () => {
      const { maxInitiatorDepth, maxResponderResources } = suite.devices[0].attributes;
      const depth = Math.min(16, maxInitiatorDepth, maxResponderResources);
      const depths = { initiatorDepth: depth, responderResources: depth };
      const { active, passive, established } = await suite.connect({ connect: depths, accept: depths });
      assert.deepEqual([established.initiatorDepth, established.responderResources], [depth, depth]);
      // The halves of both memories: one is read from, the other is where the reads' data comes to.
      const half = MEMORY_BYTES / 2;
      const part = half / 32;
      for (const [end, peer] of [
        [active, passive],
        [passive, active],
      ] as const)
        end.post(
          ...Array.from({ length: 32 }, (_, i) =>
            end.remote(SendOpcode.RDMA_READ, i, half + i * part, part, peer, i * part),
          ),
        );
      for (const [end, peer] of [
        [active, passive],
        [passive, active],
      ] as const) {
        await end.completed(32);
        assert.deepEqual(
          end.completions.map(({ id, status, byteLength }) => [id, status, byteLength]),
          Array.from({ length: 32 }, (_, i) => [i, SUCCESS, part]),
        );
        assert.ok(end.memory.bytes.subarray(half).equals(peer.memory.bytes.subarray(0, half)));
      }
    });

    it('completes in the order of posting, and a fence waits for reads', async () => {
      const { active, passive } = await suite.connect();
      passive.receive(1, 900_000, 100_000);
      const fenced = active.request(SendOpcode.SEND, 3, 0, 100_000);
      fenced.flags |= SendFlag.FENCE;
      active.post(
        active.remote(SendOpcode.RDMA_READ, 1, 0, 100_000, passive, 0),
        active.remote(SendOpcode.RDMA_WRITE, 2, 500_000, 10, passive, 0),
        fenced,
      );
      await active.completed(3);
      await passive.completed(1);
      assert.deepEqual(
        active.completions.map(({ id }) => id),
        [1, 2, 3],
      );
      // The send was of what the read had brought.
      assert.ok(
        passive.memory.bytes.subarray(900_000, 1_000_000).equals(active.memory.bytes.subarray(0, 100_000)),
      );
    });

    const DENIED: [string, number, (request: SendRequest) => void][] = [
      ['with a wrong key', AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE, (r) => (r.remoteKey ^= 0x5555)],
      [
        'one byte beyond the end',
        AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE,
        (r) => (r.remoteAddressLow += MEMORY_BYTES - 99),
      ],
      [
        'one byte before the start',
        AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE,
        (r) => {
          if (r.remoteAddressLow-- === 0) {
            r.remoteAddressLow = 0xffff_ffff;
            r.remoteAddressHigh = (r.remoteAddressHigh - 1) >>> 0;
          }
        },
      ],
      ['without the right to write', AccessFlag.REMOTE_READ, () => undefined],
      ['without the right to read', AccessFlag.REMOTE_WRITE, () => undefined],
    ];
    for (const [what, access, change] of DENIED) {
      for (const opcode of [SendOpcode.RDMA_WRITE, SendOpcode.RDMA_READ] as const) {
        const needed = opcode === SendOpcode.RDMA_WRITE ? AccessFlag.REMOTE_WRITE : AccessFlag.REMOTE_READ;
        if (what.startsWith('without') && (access & needed) !== 0) continue;
        const kind = opcode === SendOpcode.RDMA_WRITE ? 'write' : 'read';
        it(`a ${kind} ${what} ends the connection, and moves nothing`, async (t) => {
          if (what === 'without the right to read' && suite.harness.ignoresReadRight !== undefined) {
            t.skip(suite.harness.ignoresReadRight);
            return;
          }
          const { active, passive } = await suite.connect({
            passive: { access: access | AccessFlag.LOCAL_WRITE },
          });
          const before = [Buffer.from(active.memory.bytes), Buffer.from(passive.memory.bytes)];
          const request = active.remote(opcode, 1, 0, 100, passive, 0);
          change(request);
          active.post(request, active.request(SendOpcode.SEND, 2, 0, 10));
          await active.disconnected();
          await passive.disconnected();
          active.drain();
          if (opcode === SendOpcode.RDMA_READ)
            assert.equal(active.completions[0]!.status, CompletionStatus.REMOTE_ACCESS_ERROR);
          assert.ok(active.memory.bytes.equals(before[0]!));
          assert.ok(passive.memory.bytes.equals(before[1]!));
        });
      }
    }

    it('a read into memory that may not be written to ends the connection, and moves nothing', async () => {
      const { active, passive } = await suite.connect({ active: { access: AccessFlag.REMOTE_READ } });
      const before = Buffer.from(active.memory.bytes);
      active.post(active.remote(SendOpcode.RDMA_READ, 1, 0, 100, passive, 0));
      await active.disconnected();
      active.drain();
      assert.deepEqual(statuses(active), [CompletionStatus.LOCAL_PROTECTION_ERROR]);
      assert.ok(active.memory.bytes.equals(before));
    });

    it('a key is of no use to a queue pair of another domain', async () => {
      const { active, passive } = await suite.connect();
      const stranger = passive.device.allocateProtectionDomain();
      const region = stranger.registerMemory(
        Memory.allocate(100),
        AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_WRITE | AccessFlag.REMOTE_READ,
      );
      const request = active.request(SendOpcode.RDMA_READ, 1, 0, 10);
      request.remoteKey = region.remoteKey;
      request.setRemoteAddress(region.address);
      active.post(request);
      await active.disconnected();
      active.drain();
      assert.deepEqual(statuses(active), [CompletionStatus.REMOTE_ACCESS_ERROR]);
      region.deregister();
      stranger.close();
    });

    it('a key ends with its registration', async () => {
      const { active, passive } = await suite.connect();
      const memory = Memory.allocate(100);
      const region = passive.domain.registerMemory(memory, AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_READ);
      const request = active.request(SendOpcode.RDMA_READ, 1, 0, 10);
      request.remoteKey = region.remoteKey;
      request.setRemoteAddress(region.address);
      active.post(request);
      await active.completed(1);
      region.deregister();
      active.post(request);
      await active.disconnected();
      active.drain();
      assert.deepEqual(statuses(active), [SUCCESS, CompletionStatus.REMOTE_ACCESS_ERROR]);
    });
  });
}
