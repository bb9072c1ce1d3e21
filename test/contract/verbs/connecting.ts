/** Connections are made, rejected, or fail. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QueuePairState } from '../../../src/rdma/verbs.js';
import { CompletionStatus, SendOpcode } from '../../../src/rdma/work.js';
import type { VerbsSuite } from './suite.js';

export function connectingContract(suite: VerbsSuite): void {
  describe('connecting', () => {
    it('carries private data and depths both ways', async () => {
      const { active, passive, requested, established } = await suite.connect({
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
      assert.equal(requested.privateData.toString().replace(/\0+$/, ''), 'from the active side');
      assert.equal(established.privateData.toString().replace(/\0+$/, ''), 'from the passive one');
      assert.deepEqual([requested.responderResources, requested.initiatorDepth], [3, 5]);
      assert.deepEqual([established.initiatorDepth, established.responderResources], [3, 5]);
      assert.equal(active.queuePair.state, QueuePairState.RTS);
      assert.equal(passive.queuePair.state, QueuePairState.RTS);
    });

    it('grants no more reads than the other side serves, nor than were asked for', async (t) => {
      if (suite.harness.overgrants !== undefined) {
        t.skip(suite.harness.overgrants);
        return;
      }
      const { active, passive, established } = await suite.connect({
        connect: { initiatorDepth: 4, responderResources: 2 },
        accept: { initiatorDepth: 4, responderResources: 1 },
      });
      assert.deepEqual([established.initiatorDepth, established.responderResources], [1, 2]);
      // Both sides keep to that, whatever is posted.
      for (const [end, peer] of [
        [active, passive],
        [passive, active],
      ] as const) {
        end.post(...[1, 2, 3, 4].map((id) => end.remote(SendOpcode.RDMA_READ, id, 0, 100, peer, 0)));
        await end.completed(4);
        assert.ok(end.completions.every(({ status }) => status === CompletionStatus.SUCCESS));
      }
    });

    it('tells the addresses of both ends, without ports', async () => {
      const { active, passive } = await suite.connect();
      const { address } = suite.harness;
      assert.equal(active.connection.remoteAddress, address);
      assert.equal(passive.connection.localAddress, address);
      assert.equal(passive.connection.remoteAddress, active.connection.localAddress);
    });

    it('is done once', async () => {
      const { active, passive } = await suite.connect();
      await assert.rejects(active.connection.connect(), { code: 'RDMA_MISUSE' });
      await assert.rejects(passive.connection.accept(), { code: 'RDMA_MISUSE' });
      await assert.rejects(passive.connection.connect(), { code: 'RDMA_MISUSE' });
    });

    it('is rejected with private data', async () => {
      const listener = await suite.devices[1].listen(
        { address: suite.harness.address, port: 0 },
        {
          requested: (request) => {
            request.reject(Buffer.from('not you'));
            request.close();
          },
        },
      );
      const connection = await suite.devices[0].resolve({ host: suite.harness.address, port: listener.port });
      const domain = suite.devices[0].allocateProtectionDomain();
      const queue = suite.devices[0].createCompletionQueue(4);
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
      const listener = await suite.devices[1].listen(
        { address: suite.harness.address, port: 0 },
        { requested: () => undefined },
      );
      const { port } = listener;
      await listener.close();
      const domain = suite.devices[0].allocateProtectionDomain();
      const queue = suite.devices[0].createCompletionQueue(4);
      const connection = await suite.devices[0].resolve({ host: suite.harness.address, port });
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
      const listener = await suite.devices[0].listen(
        { address: suite.harness.address, port: 0 },
        { requested: () => undefined },
      );
      await assert.rejects(
        suite.devices[1].listen(
          { address: suite.harness.address, port: listener.port },
          { requested: () => undefined },
        ),
        { code: 'ADDRESS_IN_USE' },
      );
      await listener.close();
    });
  });
}
