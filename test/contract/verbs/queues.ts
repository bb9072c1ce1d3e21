/** Queues: room, wake-ups, overruns, limits. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ReceiveRequest, SendFlag, SendOpcode } from '../../../src/rdma/work.js';
import { until } from '../../support/verbs-pair.js';
import type { VerbsSuite } from './suite.js';

export function queuesContract(suite: VerbsSuite): void {
  describe('queues', () => {
    it('give no completion for what is unsignaled, and its room back with the next that is', async () => {
      const { active, passive } = await suite.connect({ active: { queuePair: { maxSendRequests: 4 } } });
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
      const { active, passive } = await suite.connect();
      active.queue.arm();
      const request = active.remote(SendOpcode.RDMA_WRITE, 1, 0, 10, passive, 0);
      active.post(request, request);
      assert.equal(active.wakeUps, 0, 'from within the call');
      await until(() => active.wakeUps === 1, 'the wake-up');
      await active.completed(2);
      active.post(request);
      await active.completed(3);
      await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(active.wakeUps, 1, 'not armed again');
      active.queue.arm();
      active.post(request);
      await until(() => active.wakeUps === 2, 'the second wake-up');
    });

    it('armed for what is solicited, sleep on through the rest', async (t) => {
      if (suite.harness.wakesForAll !== undefined) {
        t.skip(suite.harness.wakesForAll);
        return;
      }
      const { active, passive } = await suite.connect();
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

    it('tell nobody once they are closed', async () => {
      const { active } = await suite.connect();
      active.receive(1, 0, 10);
      active.queue.arm();
      // Which flushes the receive.
      active.connection.close();
      active.queue.close();
      await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(active.wakeUps, 0);
    });

    it('of completions that overrun end the connection', async () => {
      const { active, passive } = await suite.connect({ active: { completions: 4 } });
      for (let i = 0; i < 8; i++) active.post(active.remote(SendOpcode.RDMA_WRITE, i, 0, 10, passive, 0));
      const error = await active.disconnected();
      assert.equal((error as { code?: string } | null)?.code, 'RDMA_QUEUE_OVERRUN');
      assert.equal(active.overruns, 1);
      await passive.disconnected();
      assert.equal(active.drain().length, 4, 'what there was room for is there');
    });

    it('refuse a receive too many', async () => {
      const { passive } = await suite.connect({ passive: { queuePair: { maxReceiveRequests: 2 } } });
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
      const { active } = await suite.connect({ active: { queuePair: { maxSges: 1 } } });
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
      if (!suite.devices[0].attributes.hasSharedReceiveQueues) {
        t.skip('the device has no shared receive queues');
        return;
      }
      const domain = suite.devices[1].allocateProtectionDomain();
      const shared = domain.createSharedReceiveQueue(8, 1);
      const { active, passive } = await suite.connect({
        // Adapters look at the shared queue's domain.
        passive: { domain, queuePair: { sharedReceiveQueue: shared } },
      });
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
      await suite.disconnect();
      shared.close();
      domain.close();
    });
  });
}
