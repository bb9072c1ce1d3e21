/**
 * RDMA Writes to what is not granted, or not any more: each ends the connection by exactly the Terminate that RFC 5040 4.8
 * wants, and harms nothing else.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Terminate, type TerminateReason } from '../../src/rdma/iwarp/terminate.js';
import { CompletionStatus } from '../../src/rdma/work.js';
import { pattern } from '../support/pattern.js';
import { REMOTE_READ, REMOTE_WRITE, Scene } from '../support/rdma-scene.js';
import { AT, LENGTH, Scenes } from '../support/rdma-scenes.js';
import { bytes, tagged, untagged } from '../support/ulpdus.js';

const { SUCCESS } = CompletionStatus;
const TWO_TO_64 = 1n << 64n;

describe('attacks by RDMA Writes', { timeout: 120_000 }, () => {
  const scenes = new Scenes();

  describe('RDMA Write', () => {
    const write = (stag: number, offset: number | bigint, length: number): Buffer =>
      tagged({ stag, offset, payload: bytes(length) });

    it('by a key that was never given', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [write(remoteKey ^ 1, 0, 10)]);
    });

    it('by key 0', async () => {
      const scene = await scenes.open();
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [write(0, 0, 10)]);
    });

    it('by a key of another protection domain', async () => {
      const scene = await scenes.open();
      const other = scene.stage.device.allocateProtectionDomain();
      const region = scene.grant(AT, LENGTH, REMOTE_WRITE, other);
      await scene.attack(Terminate.TAGGED_NOT_ASSOCIATED, [write(region.remoteKey, 0, 10)]);
      region.deregister();
      other.close();
    });

    it('by the key of memory that is registered no more', async () => {
      const scene = await scenes.open();
      const region = scene.grant(AT, LENGTH, REMOTE_WRITE);
      region.deregister();
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [write(region.remoteKey, 0, 10)]);
    });

    it('by the key of a window that was invalidated', async () => {
      const scene = await scenes.open();
      const window = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      scene.invalidate(window.remoteKey);
      const others: [number, number][] = [[8, SUCCESS]];
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [write(window.remoteKey, AT, 10)], { others });
    });

    it('by the key of a window that a Send with Invalidate has ended', async () => {
      const scene = await scenes.open();
      const { remoteKey } = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      const invalidate = untagged({ opcode: 4, invalidate: remoteKey, payload: bytes(3) });
      bytes(3).copy(scene.expected, 900_000);
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [invalidate, write(remoteKey, AT, 10)], {
        receives: { 101: SUCCESS },
      });
      assert.equal(scene.victim.completions.find(({ id }) => id === 101)!.invalidatedKey, remoteKey);
    });

    it('by the key of a window whose region is registered no more', async () => {
      const scene = await scenes.open();
      const { remoteKey } = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      scene.victim.region.deregister();
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [write(remoteKey, AT, 10)]);
    });

    it('by a window that is bound to another queue pair', async () => {
      const scene = await scenes.open();
      const other = await Scene.open(scene.stage, { beside: scene });
      const { remoteKey } = await other.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      await scene.attack(Terminate.TAGGED_NOT_ASSOCIATED, [write(remoteKey, AT, 10)]);
      other.raw.destroy();
      await other.assertEnded(null);
      await other.close();
    });

    it('to memory that may only be read', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await scene.attack(Terminate.ACCESS, [write(remoteKey, 0, 10)]);
    });

    const outside: [string, bigint, number, TerminateReason][] = [
      ['one byte past the end', BigInt(LENGTH), 1, Terminate.TAGGED_BOUNDS],
      ['over the end by one byte', BigInt(LENGTH - 9), 10, Terminate.TAGGED_BOUNDS],
      ['far behind the end', 1n << 40n, 10, Terminate.TAGGED_BOUNDS],
      ['at 2^53, where doubles end', 1n << 53n, 10, Terminate.TAGGED_BOUNDS],
      ['at 2^63', 1n << 63n, 10, Terminate.TAGGED_BOUNDS],
      ['that ends just below 2^64', TWO_TO_64 - 11n, 10, Terminate.TAGGED_BOUNDS],
      ['that ends at 2^64', TWO_TO_64 - 10n, 10, Terminate.TAGGED_WRAP],
      ['that wraps around to the first bytes', TWO_TO_64 - 5n, 10, Terminate.TAGGED_WRAP],
    ];
    for (const [name, offset, length, reason] of outside) {
      it(name, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        await scene.attack(reason, [write(remoteKey, offset, length)]);
      });
    }

    it('one byte before the start of a window', async () => {
      const scene = await scenes.open();
      const { remoteKey } = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      await scene.attack(Terminate.TAGGED_BOUNDS, [write(remoteKey, AT - 1, 10)]);
    });

    it('one byte past the end of a window', async () => {
      const scene = await scenes.open();
      const { remoteKey } = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      await scene.attack(Terminate.TAGGED_BOUNDS, [write(remoteKey, AT + LENGTH - 9, 10)]);
    });

    it('that runs over the end in its second segment: the first stays, nothing of the second', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
      bytes(900).copy(scene.expected, AT);
      const first = tagged({ stag: remoteKey, offset: 0, payload: bytes(900), last: false });
      await scene.attack(Terminate.TAGGED_BOUNDS, [first, write(remoteKey, 900, 101)]);
    });

    it('that is long, one byte over the end', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, 59_999, REMOTE_WRITE);
      const ulpdu = tagged({ stag: remoteKey, offset: 0, payload: pattern(60_000, 1) });
      await scene.attack(Terminate.TAGGED_BOUNDS, [ulpdu]);
    });

    it('of nothing is harmless wherever it aims', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
      bytes(7).copy(scene.expected, AT + 3);
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [
        write(0, 0, 0),
        write(0x1234_5678, TWO_TO_64 - 1n, 0),
        write(remoteKey, 3, 7),
        write(0, 0, 1),
      ]);
    });
  });

  describe('taking back what a long write is being placed into', () => {
    const PAYLOAD = 40_000;
    /** The write's header and so many bytes of its payload are there, and the rest comes after `revoke`. */
    async function midway(
      grant: (scene: Scene) => Promise<{ stag: number; offset: number }>,
      revoke: (scene: Scene) => void,
      others: [number, number][],
    ): Promise<void> {
      const scene = await scenes.open();
      const { stag, offset } = await grant(scene);
      const payload = pattern(PAYLOAD, 5);
      const ulpdu = tagged({ stag, offset, payload });
      const fpdu = Buffer.concat([Buffer.from([ulpdu.length >>> 8, ulpdu.length]), ulpdu, Buffer.alloc(8)]);
      fpdu.writeUInt16BE(ulpdu.length, 0);
      const whole = fpdu.subarray(0, ((2 + ulpdu.length + 3) & ~3) + 4);
      scene.raw.sendBytes(whole.subarray(0, 10_016));
      const { bytes: memory } = scene.victim.memory;
      const deadline = Date.now() + 10_000;
      while (!memory.subarray(AT, AT + 10_000).equals(payload.subarray(0, 10_000))) {
        assert.ok(Date.now() < deadline, 'the first part is not placed directly');
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      revoke(scene);
      payload.copy(scene.expected, AT, 0, 10_000);
      scene.assertMemory();
      scene.raw.sendBytes(whole.subarray(10_016, 20_000));
      await new Promise((resolve) => setTimeout(resolve, 20));
      scene.assertMemory();
      scene.raw.sendBytes(whole.subarray(20_000));
      await scene.assertTerminated(Terminate.TAGGED_INVALID_STAG, ulpdu, { others });
    }

    it('by deregistering', async () => {
      let region!: ReturnType<Scene['grant']>;
      await midway(
        (scene) => {
          region = scene.grant(AT, PAYLOAD, REMOTE_WRITE);
          return Promise.resolve({ stag: region.remoteKey, offset: 0 });
        },
        () => {
          region.deregister();
        },
        [],
      );
    });

    it('by invalidating a window', async () => {
      let stag!: number;
      await midway(
        async (scene) => {
          stag = (await scene.bind(AT, PAYLOAD, REMOTE_WRITE & ~1)).remoteKey;
          return { stag, offset: AT };
        },
        (scene) => {
          scene.invalidate(stag);
        },
        [[8, SUCCESS]],
      );
    });

    it("by deregistering a window's region", async () => {
      await midway(
        async (scene) => ({ stag: (await scene.bind(AT, PAYLOAD, REMOTE_WRITE & ~1)).remoteKey, offset: AT }),
        (scene) => {
          scene.victim.region.deregister();
        },
        [],
      );
    });

    it('by closing a window', async () => {
      let window!: Awaited<ReturnType<Scene['bind']>>;
      await midway(
        async (scene) => {
          window = await scene.bind(AT, PAYLOAD, REMOTE_WRITE & ~1);
          return { stag: window.remoteKey, offset: AT };
        },
        () => {
          window.close();
        },
        [],
      );
    });
  });
});
