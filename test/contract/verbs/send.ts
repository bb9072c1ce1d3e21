/** Sends, and the receives that they fill. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AccessFlag } from '../../../src/rdma/verbs.js';
import {
  CompletionOpcode,
  CompletionStatus,
  ReceiveRequest,
  SendOpcode,
  SendRequest,
} from '../../../src/rdma/work.js';
import { Memory } from '../../../src/util/memory.js';
import { MEMORY_BYTES } from '../../support/verbs-pair.js';
import { statuses, type VerbsSuite } from './suite.js';

const { SUCCESS, FLUSH_ERROR } = CompletionStatus;

export function sendContract(suite: VerbsSuite): void {
  describe('send', () => {
    it('fills receives in the order in which both were posted', async () => {
      const { active, passive } = await suite.connect({
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
      const { active, passive } = await suite.connect();
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
      const { active, passive } = await suite.connect();
      active.receive(5, 0, 100);
      passive.post(passive.request(SendOpcode.SEND, 6, 50, 100));
      await active.completed(1);
      assert.ok(active.memory.bytes.subarray(0, 100).equals(passive.memory.bytes.subarray(50, 150)));
    });

    it('longer than its receive ends the connection, and touches nothing behind the receive', async () => {
      const { active, passive } = await suite.connect();
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

    it('into memory that may not be written to fails, and ends the connection', async () => {
      const { active, passive } = await suite.connect({ passive: { access: AccessFlag.REMOTE_READ } });
      const before = Buffer.from(passive.memory.bytes);
      passive.receive(1, 0, 100);
      active.post(active.request(SendOpcode.SEND, 1, 0, 100));
      await passive.disconnected();
      passive.drain();
      assert.deepEqual(statuses(passive), [CompletionStatus.LOCAL_PROTECTION_ERROR]);
      assert.ok(passive.memory.bytes.equals(before));
    });

    it('from memory of another domain fails, and ends the connection', async () => {
      const { active } = await suite.connect();
      const domain = suite.devices[0].allocateProtectionDomain();
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
      const { active } = await suite.connect();
      active.post(active.request(SendOpcode.SEND, 9, MEMORY_BYTES - 10, 11));
      await active.disconnected();
      active.drain();
      assert.deepEqual(statuses(active), [CompletionStatus.LOCAL_PROTECTION_ERROR]);
    });

    it('from memory that was deregistered fails', async () => {
      const { active } = await suite.connect();
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
}
