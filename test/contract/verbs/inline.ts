/** Data that is copied when it is posted. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { CompletionStatus, SendFlag, SendOpcode, type SendRequest } from '../../../src/rdma/work.js';
import type { End, Pair } from '../../support/verbs-pair.js';
import { statuses, type VerbsSuite } from './suite.js';

const LENGTH = 48;

export function inlineContract(suite: VerbsSuite): void {
  describe('inline data', () => {
    /** Null, and the test is skipped, where the device copies nothing. */
    async function connect(t: TestContext): Promise<Pair | null> {
      const [device] = suite.devices;
      if (device.attributes.maxInlineData < LENGTH) {
        t.skip(`${device.name} copies ${device.attributes.maxInlineData} bytes`);
        return null;
      }
      return suite.connect({ active: { queuePair: { maxInlineData: LENGTH } } });
    }

    function inline(end: End, opcode: SendOpcode, id: number, flags: number): SendRequest {
      const request = end.request(opcode, id, 0, LENGTH);
      request.flags = SendFlag.INLINE | flags;
      return request;
    }

    for (const isWaiting of [false, true]) {
      it(`is as it was when it was posted${isWaiting ? ', although it had to wait' : ''}`, async (t) => {
        const pair = await connect(t);
        if (pair === null) return;
        const { active, passive } = pair;
        const first = isWaiting ? 1 : 0;
        if (isWaiting) {
          passive.receive(0, 0, 500_000);
          active.queuePair.postSend(active.request(SendOpcode.SEND, 100, 1000, 500_000));
        }
        for (let i = 0; i < 6; i++) {
          passive.receive(first + i, 600_000 + i * LENGTH, LENGTH);
          active.memory.bytes.fill(i, 0, LENGTH);
          // Some with a completion, some without.
          active.queuePair.postSend(inline(active, SendOpcode.SEND, i, i % 2 === 1 ? SendFlag.SIGNALED : 0));
          active.memory.bytes.fill(0xee, 0, LENGTH);
        }
        active.queuePair.flush();
        await passive.completed(first + 6);
        await active.completed(first + 3);
        for (let i = 0; i < 6; i++) {
          const at = 600_000 + i * LENGTH;
          assert.ok(
            passive.memory.bytes.subarray(at, at + LENGTH).every((byte) => byte === i),
            `message ${i}`,
          );
        }
        assert.deepEqual(
          active.completions.slice(first).map(({ id }) => id),
          [1, 3, 5],
        );
        assert.equal(active.queuePair.sendRoom, 32);
      });
    }

    it('goes by RDMA Write, too', async (t) => {
      const pair = await connect(t);
      if (pair === null) return;
      const { active, passive } = pair;
      active.memory.bytes.fill(7, 0, LENGTH);
      const request = active.remote(SendOpcode.RDMA_WRITE, 1, 0, LENGTH, passive, 5000);
      request.flags |= SendFlag.INLINE;
      active.queuePair.postSend(request);
      active.memory.bytes.fill(0xee, 0, LENGTH);
      passive.receive(1, 0, 10);
      active.post(active.request(SendOpcode.SEND, 2, 0, 1));
      await passive.completed(1);
      await active.completed(2);
      assert.deepEqual(statuses(active), [CompletionStatus.SUCCESS, CompletionStatus.SUCCESS]);
      assert.ok(passive.memory.bytes.subarray(5000, 5000 + LENGTH).every((byte) => byte === 7));
    });

    it('is refused by a queue pair that was not made for it', async () => {
      const { active } = await suite.connect();
      const request = inline(active, SendOpcode.SEND, 1, 0);
      assert.throws(() => {
        active.queuePair.postSend(request);
      }, /inline/);
    });

    it('is no more than the queue pair was made for, and not for a Read', async (t) => {
      const pair = await connect(t);
      if (pair === null) return;
      const { active, passive } = pair;
      const long = inline(active, SendOpcode.SEND, 1, 0);
      long.sges.clear().add(active.region, 0, LENGTH + 1);
      assert.throws(() => {
        active.queuePair.postSend(long);
      }, /inline/);
      const read = active.remote(SendOpcode.RDMA_READ, 1, 0, LENGTH, passive, 0);
      read.flags |= SendFlag.INLINE;
      assert.throws(() => {
        active.queuePair.postSend(read);
      }, /inline/);
    });
  });
}
