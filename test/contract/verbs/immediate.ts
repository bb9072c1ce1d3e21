/** RDMA Writes with immediate data: they use up a receive, whose memory stays as it is. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import {
  CompletionFlag,
  CompletionOpcode,
  CompletionStatus,
  SendFlag,
  SendOpcode,
} from '../../../src/rdma/work.js';
import { until } from '../../support/verbs-pair.js';
import { statuses, type VerbsSuite } from './suite.js';

const { SUCCESS } = CompletionStatus;
const OPCODE = SendOpcode.RDMA_WRITE_WITH_IMMEDIATE;

export function immediateContract(suite: VerbsSuite): void {
  /** Whether the device can do that; the skip says so if it cannot. */
  const isThere = (t: TestContext): boolean => {
    const { hasWriteWithImmediate } = suite.devices[0].attributes;
    if (!hasWriteWithImmediate) t.skip('the device has no RDMA Writes with immediate data');
    return hasWriteWithImmediate;
  };

  describe('RDMA Write with immediate data', () => {
    for (const [length, immediate] of [
      [0, 0],
      [1, 1],
      [4096, 0x8000_0001],
      [200_001, 0xffff_ffff],
    ] as const) {
      it(`of ${length} bytes is there when its receive completes`, async (t) => {
        if (!isThere(t)) return;
        const { active, passive } = await suite.connect();
        const before = Buffer.from(passive.memory.bytes);
        passive.receive(9, 900_000, 100);
        const request = active.remote(OPCODE, 1, 333, length, passive, 4321);
        request.immediate = immediate;
        active.post(request);
        await passive.completed(1);
        await active.completed(1);
        assert.deepEqual(
          active.completions.map(({ id, status, opcode }) => [id, status, opcode]),
          [[1, SUCCESS, CompletionOpcode.RDMA_WRITE]],
        );
        const [received] = passive.completions;
        assert.deepEqual(
          [received!.id, received!.status, received!.opcode, received!.flags, received!.immediate],
          [
            9,
            SUCCESS,
            CompletionOpcode.RECEIVE_RDMA_WITH_IMMEDIATE,
            CompletionFlag.WITH_IMMEDIATE,
            immediate,
          ],
        );
        active.memory.bytes.copy(before, 4321, 333, 333 + length);
        assert.ok(passive.memory.bytes.equals(before), 'the memory of the receive is not used');
      });
    }

    it('keeps its place among Sends', async (t) => {
      if (!isThere(t)) return;
      const { active, passive } = await suite.connect();
      for (let id = 0; id < 6; id++) passive.receive(id, 900_000 + 100 * id, 100);
      for (let i = 0; i < 6; i++) {
        const isSend = i % 2 === 0;
        const request = isSend
          ? active.request(SendOpcode.SEND, i, 0, 10 + i)
          : active.remote(OPCODE, i, 0, 70_000, passive, 0);
        request.immediate = 100 + i;
        active.queuePair.postSend(request);
      }
      active.queuePair.flush();
      await passive.completed(6);
      await active.completed(6);
      assert.deepEqual(statuses(active), new Array(6).fill(SUCCESS));
      assert.deepEqual(
        passive.completions.map(({ id, opcode, flags, immediate, byteLength }) =>
          opcode === CompletionOpcode.RECEIVE ? [id, flags, byteLength] : [id, flags, immediate],
        ),
        [0, 1, 2, 3, 4, 5].map((i) =>
          i % 2 === 0 ? [i, 0, 10 + i] : [i, CompletionFlag.WITH_IMMEDIATE, 100 + i],
        ),
      );
    });

    it('wakes who waits for solicited completions, if it is', async (t) => {
      if (!isThere(t)) return;
      const { active, passive } = await suite.connect();
      passive.receive(1, 0, 10);
      passive.receive(2, 0, 10);
      passive.queue.arm(true);
      const request = active.remote(OPCODE, 1, 0, 10, passive, 0);
      active.post(request);
      await passive.completed(1);
      assert.equal(passive.wakeUps, 0);
      request.flags |= SendFlag.SOLICITED;
      active.post(request);
      await until(() => passive.wakeUps === 1, 'the wake-up');
    });

    it('is not one with Sends, unless the device says so', async () => {
      const { active } = await suite.connect();
      if (suite.devices[0].attributes.hasSendWithImmediate) return;
      assert.throws(
        () => {
          active.post(active.request(SendOpcode.SEND_WITH_IMMEDIATE, 1, 0, 10));
        },
        { code: 'RDMA_MISUSE' },
      );
    });
  });
}
