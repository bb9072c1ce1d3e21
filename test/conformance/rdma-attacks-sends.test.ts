/**
 * Sends that do not fit their receives, their sequence or their segments, and those that invalidate what they must not: each
 * ends the connection by exactly the Terminate that RFC 5040 4.8 wants, and harms nothing else.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Terminate } from '../../src/rdma/iwarp/terminate.js';
import { CompletionStatus } from '../../src/rdma/work.js';
import { pattern } from '../support/pattern.js';
import { REMOTE_WRITE, Scene } from '../support/rdma-scene.js';
import { AT, LENGTH, Scenes } from '../support/rdma-scenes.js';
import { bytes, readRequest, tagged, untagged } from '../support/ulpdus.js';

const { SUCCESS, LOCAL_LENGTH_ERROR } = CompletionStatus;

describe('attacks by Sends', { timeout: 120_000 }, () => {
  const scenes = new Scenes();

  describe('Sends', () => {
    const last = false;

    it('longer than the receive', async () => {
      const scene = await scenes.open();
      await scene.attack(Terminate.MESSAGE_TOO_LONG, [untagged({ payload: bytes(101) })], {
        receives: { 101: LOCAL_LENGTH_ERROR },
      });
    });

    it('longer than the receive in the second segment: nothing of that is placed', async () => {
      const scene = await scenes.open();
      bytes(60).copy(scene.expected, 900_000);
      const first = untagged({ payload: bytes(60), last });
      await scene.attack(
        Terminate.MESSAGE_TOO_LONG,
        [first, untagged({ messageOffset: 60, payload: bytes(41) })],
        {
          receives: { 101: LOCAL_LENGTH_ERROR },
        },
      );
    });

    it('that are long, and longer than the receive', async () => {
      const scene = await scenes.open();
      await scene.attack(Terminate.MESSAGE_TOO_LONG, [untagged({ payload: pattern(60_000, 1) })], {
        receives: { 101: LOCAL_LENGTH_ERROR },
      });
    });

    it('to a receive whose memory was deregistered meanwhile', async () => {
      const scene = await scenes.open();
      scene.victim.region.deregister();
      await scene.attack(Terminate.STREAM_CATASTROPHIC, [untagged({ payload: bytes(10) })], {
        receives: { 101: CompletionStatus.LOCAL_PROTECTION_ERROR },
      });
    });

    it('without a receive', async () => {
      const scene = await scenes.open();
      for (const [i, offset] of [900_000, 901_000].entries()) bytes(i + 1).copy(scene.expected, offset);
      const sends = [1, 2, 3].map((number) => untagged({ number, payload: bytes(number) }));
      await scene.attack(Terminate.NO_BUFFER, sends, { receives: { 101: SUCCESS, 102: SUCCESS } });
    });

    it('of nothing, without a receive', async () => {
      const scene = await scenes.open();
      const sends = [1, 2, 3].map((number) => untagged({ number }));
      await scene.attack(Terminate.NO_BUFFER, sends, { receives: { 101: SUCCESS, 102: SUCCESS } });
    });

    for (const [name, number] of [
      ['again', 1],
      ['with a gap', 3],
      ['of number 0', 0],
      ['of number 2^32 - 1', 0xffff_ffff],
    ] as const) {
      it(name, async () => {
        const scene = await scenes.open();
        bytes(5).copy(scene.expected, 900_000);
        const sends = [untagged({ payload: bytes(5) }), untagged({ number, payload: bytes(6) })];
        await scene.attack(Terminate.INVALID_MSN, sends, { receives: { 101: SUCCESS } });
      });
    }

    for (const [name, messageOffset] of [
      ['a gap', 51],
      ['an overlap', 49],
      ['a second beginning', 0],
      ['an offset of 2^32 - 1', 0xffff_ffff],
    ] as const) {
      it(`in segments with ${name}`, async () => {
        const scene = await scenes.open();
        bytes(50).copy(scene.expected, 900_000);
        const first = untagged({ payload: bytes(50), last });
        await scene.attack(Terminate.INVALID_MO, [first, untagged({ messageOffset, payload: bytes(10) })]);
      });
    }

    it('that begin at an offset', async () => {
      const scene = await scenes.open();
      await scene.attack(Terminate.INVALID_MO, [untagged({ messageOffset: 1, payload: bytes(10) })]);
    });

    it('whose next message comes before they end', async () => {
      const scene = await scenes.open();
      bytes(50).copy(scene.expected, 900_000);
      const first = untagged({ payload: bytes(50), last });
      await scene.attack(Terminate.INVALID_MSN, [first, untagged({ number: 2, payload: bytes(10) })]);
    });

    it('whose opcode changes', async () => {
      const scene = await scenes.open();
      bytes(50).copy(scene.expected, 900_000);
      const first = untagged({ payload: bytes(50), last });
      const second = untagged({ opcode: 5, messageOffset: 50, payload: bytes(10) });
      await scene.attack(Terminate.UNEXPECTED_OPCODE, [first, second]);
    });
  });

  describe('Send with Invalidate', () => {
    for (const opcode of [4, 6]) {
      const send = (invalidate: number): Buffer => untagged({ opcode, invalidate, payload: bytes(10) });
      const prepare = (scene: Scene): void => {
        bytes(10).copy(scene.expected, 900_000);
      };

      it(`(opcode ${opcode}) of a key that was never given`, async () => {
        const scene = await scenes.open();
        prepare(scene);
        await scene.attack(Terminate.CANNOT_INVALIDATE, [send(0x1234)]);
      });

      it(`(opcode ${opcode}) of a region's key, which stays valid`, async () => {
        const scene = await scenes.open();
        prepare(scene);
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        bytes(10).copy(scene.expected, AT);
        const write = tagged({ stag: remoteKey, offset: 0, payload: bytes(10) });
        await scene.attack(Terminate.CANNOT_INVALIDATE, [write, send(remoteKey)]);
        assert.equal(scene.stage.keys, 2);
      });

      it(`(opcode ${opcode}) of another queue pair's window, which stays valid`, async () => {
        const scene = await scenes.open();
        const other = await Scene.open(scene.stage, { beside: scene });
        const { remoteKey } = await other.bind(AT, LENGTH, REMOTE_WRITE & ~1);
        prepare(scene);
        await scene.attack(Terminate.CANNOT_INVALIDATE, [send(remoteKey)]);
        bytes(10).copy(other.expected, AT);
        other.raw.send(
          tagged({ stag: remoteKey, offset: AT, payload: bytes(10) }),
          readRequest({ sourceStag: 0, sourceOffset: 0, length: 0 }),
        );
        await other.raw.ulpdu(0);
        other.raw.destroy();
        await other.assertEnded(null);
        await other.close();
      });
    }
  });
});
