/** How connections end. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QueuePairState } from '../../../src/rdma/verbs.js';
import { CompletionStatus, SendOpcode } from '../../../src/rdma/work.js';
import { statuses, type VerbsSuite } from './suite.js';

const { SUCCESS, FLUSH_ERROR } = CompletionStatus;

export function endContract(suite: VerbsSuite): void {
  describe('the end', () => {
    it('in good order flushes what waits, on both sides', async () => {
      const { active, passive } = await suite.connect();
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
      const { active, passive } = await suite.connect();
      passive.receive(1, 0, 400_000);
      active.post(active.request(SendOpcode.SEND, 1, 0, 400_000));
      active.connection.disconnect();
      await passive.disconnected();
      passive.drain();
      assert.deepEqual(statuses(passive), [SUCCESS]);
      assert.ok(passive.memory.bytes.subarray(0, 400_000).equals(active.memory.bytes.subarray(0, 400_000)));
    });

    it('flushes what is posted afterwards', async () => {
      const { active } = await suite.connect();
      active.connection.disconnect();
      await active.disconnected();
      active.receive(1, 0, 10);
      active.post(active.request(SendOpcode.SEND, 2, 0, 10));
      await active.completed(2);
      assert.deepEqual(statuses(active), [FLUSH_ERROR, FLUSH_ERROR]);
    });

    it('of a peer that just closes is noticed', async () => {
      const { active, passive } = await suite.connect();
      active.connection.close();
      await passive.disconnected();
      assert.equal(passive.queuePair.state, QueuePairState.ERROR);
    });

    it('leaves other connections alone', async () => {
      const first = await suite.connect();
      const { active, passive } = await suite.connect();
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
      const { active, passive } = await suite.connect();
      passive.receive(1, 0, 10);
      active.post(active.request(SendOpcode.SEND, 1, 0, 10));
      await passive.completed(1);
      await suite.disconnect();
    }
  });
}
