/**
 * Headers with any field wrong: each ends the connection by exactly the Terminate that RFC 5040 4.8 wants, and harms
 * nothing else.
 */

import { describe, it } from 'node:test';
import { Terminate } from '../../src/rdma/iwarp/terminate.js';
import { REMOTE_WRITE } from '../support/rdma-scene.js';
import { AT, LENGTH, Scenes } from '../support/rdma-scenes.js';
import { bytes, tagged, untagged } from '../support/ulpdus.js';

describe('attacks by headers', { timeout: 120_000 }, () => {
  const scenes = new Scenes();

  describe('headers', () => {
    for (const version of [0, 2, 3]) {
      it(`DDP version ${version}`, async () => {
        const scene = await scenes.open();
        await scene.attack(Terminate.UNTAGGED_VERSION, [
          untagged({ ddpVersion: version, payload: bytes(1) }),
        ]);
      });

      it(`DDP version ${version} of a tagged segment`, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        const ulpdu = tagged({ stag: remoteKey, offset: 0, ddpVersion: version, payload: bytes(1) });
        await scene.attack(Terminate.TAGGED_VERSION, [ulpdu]);
      });

      it(`RDMAP version ${version}`, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        const ulpdu = tagged({ stag: remoteKey, offset: 0, rdmapVersion: version, payload: bytes(1) });
        await scene.attack(Terminate.RDMAP_VERSION, [ulpdu]);
      });

      it(`RDMAP version ${version} of an untagged segment`, async () => {
        const scene = await scenes.open();
        await scene.attack(Terminate.RDMAP_VERSION, [untagged({ rdmapVersion: version })]);
      });
    }

    for (const opcode of [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) {
      it(`opcode ${opcode} in a tagged segment`, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        const ulpdu = tagged({ opcode, stag: remoteKey, offset: 0, payload: bytes(30) });
        await scene.attack(Terminate.UNEXPECTED_OPCODE, [ulpdu]);
      });
    }

    for (const [queue, right] of [
      [0, [3, 4, 5, 6, 8, 9]],
      [1, [1, 10]],
      [2, [7]],
      // Nothing was asked for.
      [3, []],
    ] as const) {
      for (let opcode = 0; opcode < 16; opcode++) {
        if ((right as readonly number[]).includes(opcode)) continue;
        it(`opcode ${opcode} in queue ${queue}`, async () => {
          const scene = await scenes.open();
          await scene.attack(Terminate.UNEXPECTED_OPCODE, [untagged({ opcode, queue, payload: bytes(32) })]);
        });
      }
    }

    for (const queue of [4, 0x100, 0xffff_ffff]) {
      it(`queue ${queue}`, async () => {
        const scene = await scenes.open();
        await scene.attack(Terminate.INVALID_QUEUE, [untagged({ queue, payload: bytes(4) })]);
      });
    }

    for (let length = 1; length < 18; length++) {
      it(`an untagged ULPDU of ${length} bytes`, async () => {
        const scene = await scenes.open();
        await scene.attack(Terminate.DDP_CATASTROPHIC, [untagged().subarray(0, length)], { isQuoted: false });
      });
      if (length < 14)
        it(`a tagged ULPDU of ${length} bytes`, async () => {
          const scene = await scenes.open();
          const ulpdu = tagged({ stag: 0, offset: 0 }).subarray(0, length);
          await scene.attack(Terminate.DDP_CATASTROPHIC, [ulpdu], { isQuoted: false });
        });
    }
  });
});
