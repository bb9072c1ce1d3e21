/** How connections end. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { QueuePairState } from '../../../src/rdma/verbs.js';
import { CompletionStatus, SendOpcode } from '../../../src/rdma/work.js';
import { End, MEMORY_BYTES } from '../../support/verbs-pair.js';
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

    it('is told once, though it is brought about again and again', async () => {
      // `End` fails a test in which it is told twice.
      const { active, passive } = await suite.connect();
      active.connection.disconnect();
      active.connection.disconnect();
      assert.equal(await active.disconnected(), null);
      active.connection.disconnect();
      active.connection.close();
      active.connection.close();
      active.connection.disconnect();
      passive.connection.close();
      passive.connection.close();
      await passive.disconnected();
      await new Promise((resolve) => setTimeout(resolve, 5));
      assert.throws(
        () => {
          active.receive(1, 0, 10);
        },
        { code: 'RDMA_MISUSE' },
      );
    });

    it('is told after close, but not from within it', async () => {
      const { active } = await suite.connect();
      active.connection.close();
      assert.equal(active.ended, undefined);
      assert.equal(await active.disconnected(), null);
    });

    it('follows failed work: its completion and those that are flushed are there by then', async () => {
      const { active } = await suite.connect();
      active.receive(1, 0, 10);
      active.post(
        active.request(SendOpcode.SEND, 2, MEMORY_BYTES, 1),
        active.request(SendOpcode.SEND, 3, 0, 1),
      );
      assert.ok((await active.disconnected()) instanceof Error);
      const ended = active.drain().map(({ id, status }) => [id, status]);
      assert.deepEqual(ended.sort(), [
        [1, FLUSH_ERROR],
        [2, CompletionStatus.LOCAL_PROTECTION_ERROR],
        [3, FLUSH_ERROR],
      ]);
      assert.equal(active.queuePair.state, QueuePairState.ERROR);
    });

    for (const how of ['disconnect', 'close'] as const) {
      it(`by ${how} of a connection that is being made fails the making`, async () => {
        const [end, peer] = [new End(suite.devices[0]), new End(suite.devices[1])];
        let accepting = Promise.resolve();
        const { address } = suite.harness;
        const listener = await suite.devices[1].listen(
          { address, port: 0 },
          {
            requested: (request) => {
              peer.attach(request);
              accepting = request.accept();
              accepting.catch(() => undefined);
            },
          },
        );
        end.attach(await suite.devices[0].resolve({ host: address, port: listener.port }));
        const connecting = end.connection.connect();
        end.connection[how]();
        await assert.rejects(connecting);
        await end.disconnected();
        assert.equal(end.queuePair.state, QueuePairState.ERROR);
        await accepting.catch(() => undefined);
        if (peer.isAttached) await peer.disconnected();
        end.close();
        peer.close();
        await listener.close();
      });
    }

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
