/** Atomic operations on 64-bit numbers of the peer's memory. */

import assert from 'node:assert/strict';
import { endianness } from 'node:os';
import { describe, it, type TestContext } from 'node:test';
import { AccessFlag } from '../../../src/rdma/verbs.js';
import { CompletionOpcode, CompletionStatus, SendOpcode, type SendRequest } from '../../../src/rdma/work.js';
import type { Memory } from '../../../src/util/memory.js';
import type { End } from '../../support/verbs-pair.js';
import { statuses, type VerbsSuite } from './suite.js';

const { SUCCESS } = CompletionStatus;
const { ATOMIC_FETCH_ADD, ATOMIC_COMPARE_SWAP } = SendOpcode;
const IS_LITTLE = endianness() === 'LE';
const LARGEST = 0xffff_ffff_ffff_ffffn;
/** Where the number is in the peer's memory. */
const AT = 8000;

const numberAt = ({ view }: Memory, at: number): bigint => view.getBigUint64(at, IS_LITTLE);
const setNumber = ({ view }: Memory, at: number, value: bigint): void => {
  view.setBigUint64(at, value, IS_LITTLE);
};

const access = AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_READ | AccessFlag.REMOTE_ATOMIC;
const GRANTED = { active: { access }, passive: { access } };

/** The number's value before comes to `offset`. */
function atomic(
  opcode: typeof ATOMIC_FETCH_ADD | typeof ATOMIC_COMPARE_SWAP,
  [from, to]: readonly [End, End],
  {
    id = 1,
    offset = 0,
    operand,
    compare = 0n,
  }: { id?: number; offset?: number; operand: bigint; compare?: bigint },
): SendRequest {
  return Object.assign(from.remote(opcode, id, offset, 8, to, AT), { operand, compare });
}

export function atomicsContract(suite: VerbsSuite): void {
  /** Whether the device can do that; the skip says so if it cannot. */
  const isThere = (t: TestContext): boolean => {
    const { hasAtomics } = suite.devices[0].attributes;
    if (!hasAtomics) t.skip('the device has no atomic operations');
    return hasAtomics;
  };

  describe('atomic operations', () => {
    for (const [before, operand, after] of [
      [0n, 1n, 1n],
      [0x1_0000_0000n, 0xffff_ffff_ffffn, 0x1_0000_ffff_ffffn],
      [LARGEST, 2n, 1n],
      [5n, LARGEST, 4n],
    ] as const) {
      it(`${operand} added to ${before} is ${after}`, async (t) => {
        if (!isThere(t)) return;
        const { active, passive } = await suite.connect(GRANTED);
        setNumber(passive.memory, AT, before);
        const memory = Buffer.from(passive.memory.bytes);
        active.post(atomic(ATOMIC_FETCH_ADD, [active, passive], { operand }));
        await active.completed(1);
        const [done] = active.completions;
        assert.deepEqual([done!.status, done!.opcode], [SUCCESS, CompletionOpcode.ATOMIC_FETCH_ADD]);
        assert.equal(numberAt(active.memory, 0), before);
        assert.equal(numberAt(passive.memory, AT), after);
        passive.memory.bytes.copy(memory, AT, AT, AT + 8);
        assert.ok(passive.memory.bytes.equals(memory), 'nothing else has changed');
      });
    }

    for (const compare of [77n, 76n]) {
      it(`compares with ${compare === 77n ? 'what is there, and swaps' : 'something else, and does not swap'}`, async (t) => {
        if (!isThere(t)) return;
        const { active, passive } = await suite.connect(GRANTED);
        setNumber(passive.memory, AT, 77n);
        active.post(atomic(ATOMIC_COMPARE_SWAP, [active, passive], { operand: LARGEST - 5n, compare }));
        await active.completed(1);
        const [done] = active.completions;
        assert.deepEqual([done!.status, done!.opcode], [SUCCESS, CompletionOpcode.ATOMIC_COMPARE_SWAP]);
        assert.equal(numberAt(active.memory, 0), 77n);
        assert.equal(numberAt(passive.memory, AT), compare === 77n ? LARGEST - 5n : 77n);
      });
    }

    it('are as many as RDMA Reads may be, with them and in their order, and more posted', async (t) => {
      if (!isThere(t)) return;
      const { active, passive } = await suite.connect({
        ...GRANTED,
        connect: { initiatorDepth: 3 },
        accept: { responderResources: 3 },
      });
      setNumber(passive.memory, AT, 0n);
      active.post(
        ...Array.from({ length: 30 }, (_, i) =>
          i % 3 === 2
            ? active.remote(SendOpcode.RDMA_READ, i, 100_000 * (i % 3), 50_000, passive, 300_000)
            : atomic(ATOMIC_FETCH_ADD, [active, passive], { id: i, offset: 8 * i, operand: 1n }),
        ),
      );
      await active.completed(30);
      assert.deepEqual(
        active.completions.map(({ id, status }) => [id, status]),
        Array.from({ length: 30 }, (_, i) => [i, SUCCESS]),
      );
      const originals = Array.from({ length: 30 }, (_, i) => i)
        .filter((i) => i % 3 !== 2)
        .map((i) => numberAt(active.memory, 8 * i));
      assert.deepEqual(
        originals,
        Array.from({ length: 20 }, (_, i) => BigInt(i)),
      );
    });

    it('go both ways at once', async (t) => {
      if (!isThere(t)) return;
      const { active, passive } = await suite.connect(GRANTED);
      for (const [end, peer] of [
        [active, passive],
        [passive, active],
      ] as const) {
        setNumber(peer.memory, AT, 1000n);
        end.post(...[1, 2, 3, 4, 5].map((id) => atomic(ATOMIC_FETCH_ADD, [end, peer], { id, operand: 10n })));
      }
      for (const end of [active, passive]) {
        await end.completed(5);
        assert.deepEqual(statuses(end), new Array(5).fill(SUCCESS));
        assert.equal(numberAt(end.memory, 0), 1040n);
        assert.equal(numberAt(end.memory, AT), 1050n);
      }
    });

    it('end the connection where they are not granted, and change nothing', async (t) => {
      if (!isThere(t)) return;
      const others = AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE;
      const { active, passive } = await suite.connect({ passive: { access: others } });
      const before = Buffer.from(passive.memory.bytes);
      active.post(atomic(ATOMIC_FETCH_ADD, [active, passive], { operand: 1n }));
      await active.disconnected();
      await passive.disconnected();
      active.drain();
      assert.deepEqual(statuses(active), [CompletionStatus.REMOTE_ACCESS_ERROR]);
      assert.ok(passive.memory.bytes.equals(before));
    });

    it('end the connection where the number is not aligned, and change nothing', async (t) => {
      if (!isThere(t)) return;
      const { active, passive } = await suite.connect(GRANTED);
      const before = Buffer.from(passive.memory.bytes);
      const request = atomic(ATOMIC_FETCH_ADD, [active, passive], { operand: 1n });
      request.remoteAddressLow += 4;
      active.post(request);
      await active.disconnected();
      await passive.disconnected();
      active.drain();
      assert.notEqual(active.completions[0]!.status, SUCCESS);
      assert.ok(passive.memory.bytes.equals(before));
    });

    it('take numbers of 64 bits without sign only, and the connection goes on', async (t) => {
      if (!isThere(t)) return;
      const { active, passive } = await suite.connect(GRANTED);
      for (const wrong of [{ operand: -1n }, { operand: LARGEST + 1n }, { operand: 0n, compare: -1n }])
        assert.throws(
          () => {
            active.post(atomic(ATOMIC_COMPARE_SWAP, [active, passive], wrong));
          },
          { code: 'RDMA_MISUSE' },
        );
      active.post(atomic(ATOMIC_FETCH_ADD, [active, passive], { operand: LARGEST }));
      await active.completed(1);
      assert.deepEqual(statuses(active), [SUCCESS]);
    });

    it('have room for 8 bytes, neither less nor more', async (t) => {
      if (!isThere(t)) return;
      for (const length of [7, 9]) {
        const { active, passive } = await suite.connect(GRANTED);
        const before = Buffer.from(passive.memory.bytes);
        const request = active.remote(ATOMIC_FETCH_ADD, 1, 0, length, passive, AT);
        active.post(request);
        await active.disconnected();
        active.drain();
        assert.deepEqual(statuses(active), [CompletionStatus.LOCAL_LENGTH_ERROR]);
        assert.ok(passive.memory.bytes.equals(before));
        await suite.disconnect();
      }
    });
  });
}
