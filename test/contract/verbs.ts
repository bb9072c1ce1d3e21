/** The contract of the Verbs (src/rdma/verbs.ts), which every provider passes. */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { AccessFlag, QueuePairState, type RdmaDevice, type RdmaProvider } from '../../src/rdma/verbs.js';
import {
  CompletionFlag,
  CompletionOpcode,
  CompletionStatus,
  ReceiveRequest,
  SendFlag,
  SendOpcode,
  SendRequest,
} from '../../src/rdma/work.js';
import { Memory } from '../../src/util/memory.js';
import { pattern } from '../support/pattern.js';
import { type End, MEMORY_BYTES, Pair, until } from '../support/verbs-pair.js';

/** How the suite reaches a provider. */
export interface VerbsHarness {
  provider: RdmaProvider;
  /** The device that both ends are on. */
  deviceName: string;
  /** An address that it serves. */
  address: string;
}

type PairOptions = Parameters<typeof Pair.connect>[2];

const { SUCCESS, FLUSH_ERROR } = CompletionStatus;

export function verbsContract(name: string, skip: string | false, harness: VerbsHarness): void {
  describe(`verbs: ${name}`, { skip, timeout: 120_000 }, () => {
    let devices: [RdmaDevice, RdmaDevice];
    let pair: Pair | null = null;
    let active!: End;
    let passive!: End;

    before(async () => {
      const open = (): Promise<RdmaDevice> => harness.provider.open(harness.deviceName);
      devices = [await open(), await open()];
    });
    afterEach(async () => {
      await pair?.close();
      pair = null;
    });
    after(async () => {
      for (const device of devices) await device.close();
    });

    async function connect(options?: PairOptions): Promise<void> {
      pair = await Pair.connect(devices, harness.address, options);
      ({ active, passive } = pair);
      pattern(MEMORY_BYTES, 1).copy(active.memory.bytes);
      pattern(MEMORY_BYTES, 2).copy(passive.memory.bytes);
    }

    const statuses = (end: End): number[] => end.completions.map(({ status }) => status);

    describe('devices', () => {
      it('are listed, with addresses', async () => {
        const listed = await harness.provider.devices();
        const found = listed.find(({ name: listedName }) => listedName === harness.deviceName);
        assert.ok(found);
        assert.ok(found.addresses.includes(harness.address));
        assert.equal(harness.provider.probe().isUsable, true);
      });

      it('that are not there cannot be opened', async () => {
        await assert.rejects(harness.provider.open('no-such-device'), { code: 'RDMA_DEVICE_MISSING' });
      });

      it('do not close while something of them is in use, nor do domains and queues', async () => {
        await connect();
        await assert.rejects(devices[0].close(), { code: 'RDMA_MISUSE' });
        assert.throws(
          () => {
            active.domain.close();
          },
          { code: 'RDMA_MISUSE' },
        );
        assert.throws(
          () => {
            active.queue.close();
          },
          { code: 'RDMA_MISUSE' },
        );
      });
    });

    describe('connecting', () => {
      it('carries private data and depths both ways', async () => {
        await connect({
          connect: {
            privateData: Buffer.from('from the active side'),
            initiatorDepth: 3,
            responderResources: 5,
          },
          accept: {
            privateData: Buffer.from('from the passive one'),
            initiatorDepth: 5,
            responderResources: 3,
          },
        });
        const { requested, established } = pair!;
        assert.equal(requested.privateData.toString().replace(/\0+$/, ''), 'from the active side');
        assert.equal(established.privateData.toString().replace(/\0+$/, ''), 'from the passive one');
        assert.deepEqual([requested.responderResources, requested.initiatorDepth], [3, 5]);
        assert.deepEqual([established.initiatorDepth, established.responderResources], [3, 5]);
        assert.equal(active.queuePair.state, QueuePairState.RTS);
        assert.equal(passive.queuePair.state, QueuePairState.RTS);
      });

      it('is rejected with private data', async () => {
        const listener = await devices[1].listen(
          { address: harness.address, port: 0 },
          {
            requested: (request) => {
              request.reject(Buffer.from('not you'));
              request.close();
            },
          },
        );
        const connection = await devices[0].resolve({ host: harness.address, port: listener.port });
        const domain = devices[0].allocateProtectionDomain();
        const queue = devices[0].createCompletionQueue(4);
        const options = { sendQueue: queue, receiveQueue: queue, maxSendRequests: 1, maxReceiveRequests: 1 };
        connection.createQueuePair(domain, options, { disconnected: () => undefined });
        await assert.rejects(connection.connect(), (error: { code: string; privateData: Buffer }) => {
          assert.equal(error.code, 'RDMA_REJECTED');
          assert.equal(error.privateData.toString().replace(/\0+$/, ''), 'not you');
          return true;
        });
        connection.close();
        queue.close();
        domain.close();
        await listener.close();
      });

      it('fails where nobody listens', async () => {
        const listener = await devices[1].listen(
          { address: harness.address, port: 0 },
          { requested: () => undefined },
        );
        const { port } = listener;
        await listener.close();
        const domain = devices[0].allocateProtectionDomain();
        const queue = devices[0].createCompletionQueue(4);
        const connection = await devices[0].resolve({ host: harness.address, port });
        const options = { sendQueue: queue, receiveQueue: queue, maxSendRequests: 1, maxReceiveRequests: 1 };
        connection.createQueuePair(domain, options, { disconnected: () => undefined });
        await assert.rejects(connection.connect(), ({ code }: { code: string }) =>
          ['RDMA_UNREACHABLE', 'RDMA_REJECTED'].includes(code),
        );
        connection.close();
        queue.close();
        domain.close();
      });

      it('two listeners do not share a port', async () => {
        const listener = await devices[0].listen(
          { address: harness.address, port: 0 },
          { requested: () => undefined },
        );
        await assert.rejects(
          devices[1].listen(
            { address: harness.address, port: listener.port },
            { requested: () => undefined },
          ),
          { code: 'ADDRESS_IN_USE' },
        );
        await listener.close();
      });
    });

    describe('send', () => {
      it('fills receives in the order in which both were posted', async () => {
        await connect({
          beforeAccept: (end) => {
            for (let i = 0; i < 10; i++) end.receive(100 + i, i * 1000, 1000);
          },
        });
        for (let i = 0; i < 10; i++)
          active.queuePair.postSend(active.request(SendOpcode.SEND, i, i * 1000, i * 100));
        active.queuePair.flush();
        await active.completed(10);
        await passive.completed(10);
        for (let i = 0; i < 10; i++) {
          const sent = active.completions[i]!;
          const received = passive.completions[i]!;
          assert.deepEqual([sent.id, sent.status, sent.opcode], [i, SUCCESS, CompletionOpcode.SEND]);
          assert.deepEqual(
            [received.id, received.status, received.opcode, received.byteLength],
            [100 + i, SUCCESS, CompletionOpcode.RECEIVE, i * 100],
          );
          assert.equal(received.queuePairNumber, passive.queuePair.number);
          assert.ok(
            passive.memory.bytes
              .subarray(i * 1000, i * 1000 + i * 100)
              .equals(active.memory.bytes.subarray(i * 1000, i * 1000 + i * 100)),
          );
        }
      });

      it('gathers and scatters, at any lengths', async () => {
        await connect();
        const request = active.request(SendOpcode.SEND, 1, 7, 1);
        request.sges
          .add(active.region, 5000, 70_001)
          .add(active.region, 100_000, 13)
          .add(active.region, 200_000, 0);
        const expected = Buffer.concat([
          active.memory.bytes.subarray(7, 8),
          active.memory.bytes.subarray(5000, 75_001),
          active.memory.bytes.subarray(100_000, 100_013),
        ]);
        const receive = new ReceiveRequest();
        receive.sges
          .add(passive.region, 3, 5)
          .add(passive.region, 10_000, 70_000)
          .add(passive.region, 300_000, 1000);
        passive.queuePair.postReceive(receive);
        active.post(request);
        await passive.completed(1);
        assert.equal(passive.completions[0]!.byteLength, expected.length);
        const got = Buffer.concat([
          passive.memory.bytes.subarray(3, 8),
          passive.memory.bytes.subarray(10_000, 80_000),
          passive.memory.bytes.subarray(300_000, 301_000),
        ]).subarray(0, expected.length);
        assert.ok(got.equals(expected));
      });

      it('goes from the passive side, too, before the active one has sent anything', async () => {
        await connect();
        active.receive(5, 0, 100);
        passive.post(passive.request(SendOpcode.SEND, 6, 50, 100));
        await active.completed(1);
        assert.ok(active.memory.bytes.subarray(0, 100).equals(passive.memory.bytes.subarray(50, 150)));
      });

      it('longer than its receive ends the connection, and touches nothing behind the receive', async () => {
        await connect();
        const before = Buffer.from(passive.memory.bytes);
        passive.receive(1, 1000, 99);
        passive.receive(2, 2000, 100);
        active.post(active.request(SendOpcode.SEND, 3, 0, 100));
        await passive.disconnected();
        await active.disconnected();
        passive.drain();
        assert.deepEqual(
          passive.completions.map(({ id, status }) => [id, status]),
          [
            [1, CompletionStatus.LOCAL_LENGTH_ERROR],
            [2, FLUSH_ERROR],
          ],
        );
        assert.ok(passive.memory.bytes.subarray(0, 1000).equals(before.subarray(0, 1000)));
        assert.ok(passive.memory.bytes.subarray(1099).equals(before.subarray(1099)));
      });

      it('from memory of another domain fails, and ends the connection', async () => {
        await connect();
        const domain = devices[0].allocateProtectionDomain();
        const region = domain.registerMemory(Memory.allocate(100), AccessFlag.LOCAL_WRITE);
        const request = new SendRequest();
        request.id = 9;
        request.sges.add(region, 0, 100);
        active.post(request);
        await active.disconnected();
        assert.deepEqual(
          [active.drain()[0]!.id, statuses(active)],
          [9, [CompletionStatus.LOCAL_PROTECTION_ERROR]],
        );
        region.deregister();
        domain.close();
      });

      it('from beyond the end of its memory fails', async () => {
        await connect();
        active.post(active.request(SendOpcode.SEND, 9, MEMORY_BYTES - 10, 11));
        await active.disconnected();
        active.drain();
        assert.deepEqual(statuses(active), [CompletionStatus.LOCAL_PROTECTION_ERROR]);
      });

      it('from memory that was deregistered fails', async () => {
        await connect();
        const region = active.domain.registerMemory(Memory.allocate(100), AccessFlag.LOCAL_WRITE);
        region.deregister();
        const request = new SendRequest();
        request.sges.add(region, 0, 100);
        active.post(request);
        await active.disconnected();
        active.drain();
        assert.deepEqual(statuses(active), [CompletionStatus.LOCAL_PROTECTION_ERROR]);
      });
    });

    describe('RDMA', () => {
      for (const length of [0, 1, 4096, 65_536, 300_001]) {
        it(`writes ${length} bytes where it was told, and nowhere else`, async () => {
          await connect();
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
          await connect();
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
        await connect({ connect: { initiatorDepth: 2 }, accept: { responderResources: 2 } });
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

      it('completes in the order of posting, and a fence waits for reads', async () => {
        await connect();
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
        [
          'with a wrong key',
          AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE,
          (r) => (r.remoteKey ^= 0x5555),
        ],
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
          it(`a ${kind} ${what} ends the connection, and moves nothing`, async () => {
            await connect({ passive: { access: access | AccessFlag.LOCAL_WRITE } });
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

      it('a key is of no use to a queue pair of another domain', async () => {
        await connect();
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
        await connect();
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

      it('grant a part, and nothing once they are invalidated', async (t) => {
        if (!devices[0].attributes.hasMemoryWindows) {
          t.skip('the device has no memory windows');
          return;
        }
        await connect({ passive: { access: AccessFlag.LOCAL_WRITE | AccessFlag.WINDOW_BIND } });
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

      it('are invalidated by the peer along with a send', async (t) => {
        const { hasMemoryWindows, hasSendWithInvalidate } = devices[0].attributes;
        if (!hasMemoryWindows || !hasSendWithInvalidate) {
          t.skip('the device has no memory windows, or no Send with Invalidate');
          return;
        }
        await connect();
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

    describe('queues', () => {
      it('give no completion for what is unsignaled, and its room back with the next that is', async () => {
        await connect({ active: { queuePair: { maxSendRequests: 4 } } });
        for (let i = 0; i < 3; i++) {
          const request = active.remote(SendOpcode.RDMA_WRITE, i, 0, 10, passive, 0);
          request.flags = 0;
          active.post(request);
        }
        assert.equal(active.queuePair.sendRoom, 1);
        active.post(active.remote(SendOpcode.RDMA_WRITE, 3, 0, 10, passive, 0));
        assert.equal(active.queuePair.sendRoom, 0);
        assert.throws(
          () => {
            active.post(active.remote(SendOpcode.RDMA_WRITE, 4, 0, 10, passive, 0));
          },
          { code: 'RDMA_MISUSE' },
        );
        await active.completed(1);
        assert.deepEqual(
          active.completions.map(({ id }) => id),
          [3],
        );
        assert.equal(active.queuePair.sendRoom, 4);
      });

      it('wake who armed them, once, and never from within a call', async () => {
        await connect();
        active.queue.arm();
        let isPosting = true;
        const request = active.remote(SendOpcode.RDMA_WRITE, 1, 0, 10, passive, 0);
        active.post(request, request);
        assert.equal(active.wakeUps, 0);
        isPosting = false;
        await until(() => active.wakeUps === 1, 'the wake-up');
        assert.equal(isPosting, false);
        await active.completed(2);
        active.post(request);
        await active.completed(3);
        await new Promise((resolve) => setTimeout(resolve, 5));
        assert.equal(active.wakeUps, 1, 'not armed again');
        active.queue.arm();
        active.post(request);
        await until(() => active.wakeUps === 2, 'the second wake-up');
      });

      it('armed for what is solicited, sleep on through the rest', async () => {
        await connect();
        for (let i = 0; i < 3; i++) passive.receive(i, 0, 10);
        passive.queue.arm(true);
        active.post(active.request(SendOpcode.SEND, 1, 0, 1));
        await passive.completed(1);
        await new Promise((resolve) => setTimeout(resolve, 5));
        assert.equal(passive.wakeUps, 0);
        const solicited = active.request(SendOpcode.SEND, 2, 0, 1);
        solicited.flags |= SendFlag.SOLICITED;
        active.post(solicited);
        await until(() => passive.wakeUps === 1, 'the wake-up');
      });

      it('of completions that overrun end the connection', async () => {
        await connect({ active: { completions: 4 } });
        for (let i = 0; i < 8; i++) active.post(active.remote(SendOpcode.RDMA_WRITE, i, 0, 10, passive, 0));
        const error = await active.disconnected();
        assert.equal((error as { code?: string } | null)?.code, 'RDMA_QUEUE_OVERRUN');
        assert.equal(active.overruns, 1);
        await passive.disconnected();
        assert.equal(active.drain().length, 4, 'what there was room for is there');
      });

      it('refuse a receive too many', async () => {
        await connect({ passive: { queuePair: { maxReceiveRequests: 2 } } });
        passive.receive(1, 0, 10);
        passive.receive(2, 0, 10);
        assert.throws(
          () => {
            passive.receive(3, 0, 10);
          },
          { code: 'RDMA_MISUSE' },
        );
      });

      it('refuse a list that is too long', async () => {
        await connect({ active: { queuePair: { maxSges: 1 } } });
        const request = active.request(SendOpcode.SEND, 1, 0, 10);
        request.sges.add(active.region, 20, 10);
        assert.throws(
          () => {
            active.queuePair.postSend(request);
          },
          { code: 'RDMA_MISUSE' },
        );
      });

      it('of receives can be shared', async (t) => {
        if (!devices[0].attributes.hasSharedReceiveQueues) {
          t.skip('the device has no shared receive queues');
          return;
        }
        const domain = devices[1].allocateProtectionDomain();
        const shared = domain.createSharedReceiveQueue(8, 1);
        await connect({ passive: { queuePair: { sharedReceiveQueue: shared } } });
        const request = new ReceiveRequest();
        request.id = 77;
        request.sges.add(passive.region, 0, 100);
        shared.postReceive(request);
        active.post(active.request(SendOpcode.SEND, 1, 0, 100));
        await passive.completed(1);
        assert.deepEqual([passive.completions[0]!.id, passive.completions[0]!.byteLength], [77, 100]);
        assert.throws(
          () => {
            passive.receive(1, 0, 10);
          },
          { code: 'RDMA_MISUSE' },
        );
        await pair!.close();
        pair = null;
        shared.close();
        domain.close();
      });
    });

    describe('the end', () => {
      it('in good order flushes what waits, on both sides', async () => {
        await connect();
        passive.receive(1, 0, 10);
        active.receive(2, 0, 10);
        active.connection.disconnect();
        assert.equal(await active.disconnected(), null);
        assert.equal(await passive.disconnected(), null);
        active.drain();
        passive.drain();
        assert.deepEqual(statuses(active), [FLUSH_ERROR]);
        assert.deepEqual(statuses(passive), [FLUSH_ERROR]);
        assert.equal(active.queuePair.state, QueuePairState.ERROR);
        assert.equal(passive.queuePair.state, QueuePairState.ERROR);
      });

      it('comes after what was posted before', async () => {
        await connect();
        passive.receive(1, 0, 400_000);
        active.post(active.request(SendOpcode.SEND, 1, 0, 400_000));
        active.connection.disconnect();
        await passive.disconnected();
        passive.drain();
        assert.deepEqual(statuses(passive), [SUCCESS]);
        assert.ok(passive.memory.bytes.subarray(0, 400_000).equals(active.memory.bytes.subarray(0, 400_000)));
      });

      it('flushes what is posted afterwards', async () => {
        await connect();
        active.connection.disconnect();
        await active.disconnected();
        active.receive(1, 0, 10);
        active.post(active.request(SendOpcode.SEND, 2, 0, 10));
        await active.completed(2);
        assert.deepEqual(statuses(active), [FLUSH_ERROR, FLUSH_ERROR]);
      });

      it('of a peer that just closes is noticed', async () => {
        await connect();
        active.connection.close();
        await passive.disconnected();
        assert.equal(passive.queuePair.state, QueuePairState.ERROR);
      });

      it('leaves other connections alone', async () => {
        await connect();
        const first = pair!;
        await connect();
        first.active.connection.close();
        await first.passive.disconnected();
        passive.receive(1, 0, 10);
        active.post(active.request(SendOpcode.SEND, 1, 0, 10));
        await passive.completed(1);
        await first.close();
      });
    });

    it('many connections come and go, and leave nothing', async () => {
      for (let i = 0; i < 100; i++) {
        await connect();
        passive.receive(1, 0, 10);
        active.post(active.request(SendOpcode.SEND, 1, 0, 10));
        await passive.completed(1);
        await pair!.close();
        pair = null;
      }
    });
  });
}
