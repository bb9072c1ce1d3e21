/**
 * The messages of RFC 7306 where they are not granted or not right: atomic operations, their responses, immediate data. Each
 * ends the connection by the right Terminate (RFC 7306 8), and harms nothing else.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Terminate, type TerminateReason } from '../../src/rdma/iwarp/terminate.js';
import { AccessFlag } from '../../src/rdma/verbs.js';
import { CompletionStatus, SendOpcode, SendRequest } from '../../src/rdma/work.js';
import { REMOTE_READ, REMOTE_WRITE, type Scene } from '../support/rdma-scene.js';
import { AT, LENGTH, Scenes } from '../support/rdma-scenes.js';
import {
  atomicRequest,
  atomicResponse,
  bytes,
  immediateData,
  readResponse,
  untagged,
} from '../support/ulpdus.js';

const { SUCCESS, FLUSH_ERROR } = CompletionStatus;
const REMOTE_ATOMIC = AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_ATOMIC;
const TWO_TO_64 = 1n << 64n;

describe('attacks by the messages of RFC 7306', { timeout: 120_000 }, () => {
  const scenes = new Scenes();

  describe('atomic operations', () => {
    it('by a key that was never given', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_ATOMIC);
      await scene.attack(Terminate.READ_INVALID_STAG, [atomicRequest({ stag: remoteKey ^ 1, offset: 0 })]);
    });

    it('by a key of another protection domain', async () => {
      const scene = await scenes.open();
      const other = scene.stage.device.allocateProtectionDomain();
      const region = scene.grant(AT, LENGTH, REMOTE_ATOMIC, other);
      const request = atomicRequest({ stag: region.remoteKey, offset: 0 });
      await scene.attack(Terminate.READ_NOT_ASSOCIATED, [request]);
      region.deregister();
      other.close();
    });

    it('by the key of memory that is registered no more', async () => {
      const scene = await scenes.open();
      const region = scene.grant(AT, LENGTH, REMOTE_ATOMIC);
      region.deregister();
      await scene.attack(Terminate.READ_INVALID_STAG, [atomicRequest({ stag: region.remoteKey, offset: 0 })]);
    });

    for (const operation of [0, 2]) {
      it(`of memory that may only be read and written, code ${operation}`, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ | REMOTE_WRITE);
        const request = atomicRequest({ stag: remoteKey, offset: 0, operation });
        await scene.attack(Terminate.ACCESS, [request]);
      });
    }

    const outside: [string, bigint, TerminateReason][] = [
      ['one number past the end', BigInt(LENGTH), Terminate.READ_BOUNDS],
      ['over the end by one byte', BigInt(LENGTH - 7), Terminate.READ_BOUNDS],
      ['that ends just below 2^64', TWO_TO_64 - 9n, Terminate.READ_BOUNDS],
      ['that ends at 2^64', TWO_TO_64 - 8n, Terminate.READ_WRAP],
      ['that wraps around', TWO_TO_64 - 1n, Terminate.READ_WRAP],
    ];
    for (const [name, offset, reason] of outside) {
      it(name, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_ATOMIC);
        await scene.attack(reason, [atomicRequest({ stag: remoteKey, offset })]);
      });
    }

    for (const offset of [1, 2, 4, 7]) {
      it(`on a number that is ${offset} bytes from where it should be`, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_ATOMIC);
        await scene.attack(Terminate.STREAM_CATASTROPHIC, [atomicRequest({ stag: remoteKey, offset })]);
      });
    }

    for (const operation of [1, 3, 4, 15]) {
      it(`of code ${operation}, which does not exist`, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_ATOMIC);
        await scene.attack(Terminate.OPERATION, [atomicRequest({ stag: remoteKey, offset: 0, operation })]);
      });
    }

    it('longer, shorter, in parts or at an offset', async () => {
      for (const [change, reason] of [
        [(whole: Buffer) => Buffer.concat([whole, Buffer.alloc(1)]), Terminate.MESSAGE_TOO_LONG],
        [(whole: Buffer) => whole.subarray(0, 69), Terminate.OPERATION],
        [(whole: Buffer) => Buffer.concat([Buffer.from([0x01]), whole.subarray(1)]), Terminate.OPERATION],
        [
          (whole: Buffer) => Buffer.concat([whole.subarray(0, 17), Buffer.from([4]), whole.subarray(18)]),
          Terminate.INVALID_MO,
        ],
      ] as const) {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_ATOMIC);
        await scene.attack(reason, [change(atomicRequest({ stag: remoteKey, offset: 0 }))]);
        await scene.close();
      }
    });

    it('again, under the same number; what was done is done once', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_ATOMIC);
      const original = scene.victim.memory.view.getBigUint64(AT, true);
      const request = atomicRequest({ stag: remoteKey, offset: 0, data: 3n });
      scene.raw.send(request);
      assert.ok((await scene.raw.ulpdu(0)).equals(atomicResponse({ identifier: 0x1de, original })));
      scene.expected.writeBigUInt64LE(BigInt.asUintN(64, original + 3n), AT);
      await scene.attack(Terminate.INVALID_MSN, [request]);
    });

    it('where nothing at all may be asked for', async () => {
      const scene = await scenes.open({ accept: { responderResources: 0 } });
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_ATOMIC);
      await scene.attack(Terminate.NO_BUFFER, [atomicRequest({ stag: remoteKey, offset: 0 })]);
    });
  });

  describe('Atomic Responses', () => {
    const others: [number, number][] = [[1, FLUSH_ERROR]];

    /** The victim has asked for an addition, or a read; what its request is known by. */
    async function asked(
      opcode: SendOpcode = SendOpcode.ATOMIC_FETCH_ADD,
    ): Promise<{ scene: Scene; identifier: number }> {
      const scene = await scenes.open();
      await scene.bind(0, 1, REMOTE_READ);
      const request = new SendRequest();
      Object.assign(request, { id: 1, opcode, remoteKey: 0x77, operand: 5n });
      request.sges.add(scene.victim.region, AT, 8);
      scene.victim.post(request);
      const ulpdu = await scene.raw.ulpdu(0);
      return { scene, identifier: ulpdu.readUInt32BE(22) };
    }

    it('that is right brings the number', async () => {
      const { scene, identifier } = await asked();
      scene.expected.writeBigUInt64LE(0x1122_3344_5566_7788n, AT);
      const response = atomicResponse({ identifier, original: 0x1122_3344_5566_7788n });
      await scene.attack(
        Terminate.UNEXPECTED_OPCODE,
        [response, atomicResponse({ identifier, original: 1n, number: 2 })],
        {
          others: [[1, SUCCESS]],
        },
      );
    });

    it('to another request', async () => {
      const { scene, identifier } = await asked();
      const response = atomicResponse({ identifier: (identifier ^ 1) >>> 0, original: 1n });
      await scene.attack(Terminate.OPERATION, [response], { others });
    });

    it('out of sequence', async () => {
      const { scene, identifier } = await asked();
      await scene.attack(Terminate.INVALID_MSN, [atomicResponse({ identifier, original: 1n, number: 2 })], {
        others,
      });
    });

    it('longer or shorter', async () => {
      for (const length of [29, 31]) {
        const { scene, identifier } = await asked();
        const whole = Buffer.concat([atomicResponse({ identifier, original: 1n }), Buffer.alloc(1)]);
        await scene.attack(Terminate.OPERATION, [whole.subarray(0, length)], { others });
        await scene.close();
      }
    });

    it('to a read, and a Read Response to an atomic operation', async () => {
      const read = await asked(SendOpcode.RDMA_READ);
      const response = atomicResponse({ identifier: read.identifier, original: 1n });
      await read.scene.attack(Terminate.UNEXPECTED_OPCODE, [response], { others });
      await read.scene.close();
      const { scene, identifier } = await asked();
      const tagged = readResponse({ stag: identifier, offset: 0, payload: bytes(8) });
      await scene.attack(Terminate.UNEXPECTED_OPCODE, [tagged], { others });
    });

    it('for memory that was deregistered meanwhile', async () => {
      const { scene, identifier } = await asked();
      scene.victim.region.deregister();
      await scene.attack(Terminate.STREAM_CATASTROPHIC, [atomicResponse({ identifier, original: 1n })], {
        others,
      });
    });
  });

  describe('immediate data', () => {
    it('without a receive', async () => {
      const scene = await scenes.open();
      const sends = [1, 2].map((number) => untagged({ number }));
      await scene.attack(Terminate.NO_BUFFER, [...sends, immediateData({ data: 1n, number: 3 })], {
        receives: { 101: SUCCESS, 102: SUCCESS },
      });
    });

    for (const length of [0, 7, 9, 100]) {
      it(`of ${length} bytes`, async () => {
        const scene = await scenes.open();
        await scene.attack(Terminate.OPERATION, [immediateData({ data: 0n, payload: bytes(length) })]);
      });
    }

    it('that does not end', async () => {
      const scene = await scenes.open();
      await scene.attack(Terminate.OPERATION, [immediateData({ data: 0n, last: false })]);
    });

    it('in the midst of a Send', async () => {
      const scene = await scenes.open();
      bytes(10).copy(scene.expected, 900_000);
      const first = untagged({ payload: bytes(10), last: false });
      await scene.attack(Terminate.UNEXPECTED_OPCODE, [
        first,
        immediateData({ data: 0n, messageOffset: 10 }),
      ]);
    });

    it('out of sequence, or at an offset', async () => {
      const first = await scenes.open();
      await first.attack(Terminate.INVALID_MSN, [immediateData({ data: 0n, number: 2 })]);
      await first.close();
      const second = await scenes.open();
      await second.attack(Terminate.INVALID_MO, [immediateData({ data: 0n, messageOffset: 8 })]);
    });
  });
});
