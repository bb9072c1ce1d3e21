/**
 * RDMA Reads of what is not granted, too many of them, and Read Responses for other data than was asked for: each ends the
 * connection by exactly the Terminate that RFC 5040 4.8 wants, and harms nothing else.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Terminate, type TerminateReason } from '../../src/rdma/iwarp/terminate.js';
import { CompletionStatus, SendOpcode, SendRequest } from '../../src/rdma/work.js';
import { REMOTE_READ, REMOTE_WRITE, type Scene } from '../support/rdma-scene.js';
import { AT, LENGTH, Scenes } from '../support/rdma-scenes.js';
import { bytes, readRequest, readResponse, tagged } from '../support/ulpdus.js';

const { SUCCESS, FLUSH_ERROR } = CompletionStatus;
const TWO_TO_64 = 1n << 64n;

describe('attacks by RDMA Reads', { timeout: 120_000 }, () => {
  const scenes = new Scenes();

  describe('RDMA Read', () => {
    const read = (sourceStag: number, sourceOffset: number | bigint, length: number, number = 1): Buffer =>
      readRequest({ sourceStag, sourceOffset, length, number });
    const withRead = true;

    it('by a key that was never given', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await scene.attack(Terminate.READ_INVALID_STAG, [read(remoteKey ^ 1, 0, 10)], { withRead });
    });

    it('by a key of another protection domain', async () => {
      const scene = await scenes.open();
      const other = scene.stage.device.allocateProtectionDomain();
      const region = scene.grant(AT, LENGTH, REMOTE_READ, other);
      await scene.attack(Terminate.READ_NOT_ASSOCIATED, [read(region.remoteKey, 0, 10)], { withRead });
      region.deregister();
      other.close();
    });

    it('by the key of memory that is registered no more', async () => {
      const scene = await scenes.open();
      const region = scene.grant(AT, LENGTH, REMOTE_READ);
      region.deregister();
      await scene.attack(Terminate.READ_INVALID_STAG, [read(region.remoteKey, 0, 10)], { withRead });
    });

    it('of memory that may only be written', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
      await scene.attack(Terminate.ACCESS, [read(remoteKey, 0, 10)], { withRead });
    });

    const outside: [string, bigint, number, TerminateReason][] = [
      ['one byte past the end', BigInt(LENGTH), 1, Terminate.READ_BOUNDS],
      ['over the end by one byte', 0n, LENGTH + 1, Terminate.READ_BOUNDS],
      ['of 2^32 - 1 bytes', 0n, 0xffff_ffff, Terminate.READ_BOUNDS],
      ['that ends just below 2^64', TWO_TO_64 - 11n, 10, Terminate.READ_BOUNDS],
      ['that ends at 2^64', TWO_TO_64 - 10n, 10, Terminate.READ_WRAP],
      ['that wraps around', TWO_TO_64 - 1n, 0xffff_ffff, Terminate.READ_WRAP],
    ];
    for (const [name, offset, length, reason] of outside) {
      it(name, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
        await scene.attack(reason, [read(remoteKey, offset, length)], { withRead });
      });
    }

    it('of nothing is answered wherever it aims', async () => {
      const scene = await scenes.open();
      scene.raw.send(readRequest({ sourceStag: 0x99, sourceOffset: TWO_TO_64 - 1n, length: 0 }));
      const answer = await scene.raw.ulpdu(0);
      assert.ok(answer.equals(readResponse({ stag: 0x5157, offset: 0 })));
      await scene.attack(Terminate.READ_INVALID_STAG, [read(0, 0, 1, 2)], { withRead });
    });

    it('more at a time than were agreed', async () => {
      const scene = await scenes.open({ accept: { responderResources: 3 } });
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      const reads = [1, 2, 3, 4].map((number) => read(remoteKey, 0, LENGTH, number));
      await scene.attack(Terminate.NO_BUFFER, reads);
      // What was sound before the fault may have been answered or not, but only wholly.
      for (const ulpdu of scene.raw.ulpdus.slice(0, -1)) assert.equal(ulpdu.length, 14 + LENGTH);
    });

    it('without any being agreed', async () => {
      const scene = await scenes.open({ accept: { responderResources: 0 } });
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await scene.attack(Terminate.NO_BUFFER, [read(remoteKey, 0, 10)]);
    });

    it('with a request that is too long', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await scene.attack(Terminate.MESSAGE_TOO_LONG, [
        Buffer.concat([read(remoteKey, 0, 10), Buffer.alloc(1)]),
      ]);
    });

    it('with a request that is too short', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await scene.attack(Terminate.OPERATION, [read(remoteKey, 0, 10).subarray(0, 45)]);
    });

    it('with a request in two segments', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      const first = Buffer.from(read(remoteKey, 0, 10).subarray(0, 30));
      first[0] = 0x01;
      await scene.attack(Terminate.OPERATION, [first]);
    });

    it('with a request at a message offset', async () => {
      const scene = await scenes.open();
      const request = readRequest({ sourceStag: 1, sourceOffset: 0, length: 1, messageOffset: 4 });
      await scene.attack(Terminate.INVALID_MO, [request]);
    });

    for (const [name, number] of [
      ['again', 1],
      ['with a gap', 3],
      ['of number 0', 0],
    ] as const) {
      it(`request ${name}`, async () => {
        const scene = await scenes.open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
        scene.raw.send(read(remoteKey, 0, 10));
        await scene.raw.ulpdu(0);
        await scene.attack(Terminate.INVALID_MSN, [read(remoteKey, 0, 10, number)]);
      });
    }

    it('of memory that is taken back while the answer is on its way', async () => {
      const scene = await scenes.open({ accept: { responderResources: 8 } });
      const region = scene.grant(0, 800_000, REMOTE_READ);
      scene.raw.socket.pause();
      scene.raw.send(...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => read(region.remoteKey, 0, 800_000, n)));
      // More than the sockets hold: the answers are under way, and not all of them have left.
      await new Promise((resolve) => setTimeout(resolve, 100));
      region.deregister();
      scene.raw.socket.resume();
      await scene.assertTerminated(Terminate.READ_INVALID_STAG, null);
    });

    it('of a window that is taken back while the answer is on its way', async () => {
      const scene = await scenes.open({ accept: { responderResources: 8 } });
      const { remoteKey } = await scene.bind(0, 800_000, REMOTE_READ);
      scene.raw.socket.pause();
      scene.raw.send(...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => read(remoteKey, 0, 800_000, n)));
      await new Promise((resolve) => setTimeout(resolve, 100));
      scene.victim.region.deregister();
      scene.raw.socket.resume();
      await scene.assertTerminated(Terminate.READ_INVALID_STAG, null);
    });
  });

  describe('Read Responses', () => {
    /** The victim has asked for `length` bytes; its request. */
    async function asked(length: number): Promise<{ scene: Scene; stag: number }> {
      const scene = await scenes.open();
      // An answered bind shows that the first FPDU has come, so that the victim may send.
      await scene.bind(0, 1, REMOTE_READ);
      const request = new SendRequest();
      Object.assign(request, { id: 1, opcode: SendOpcode.RDMA_READ, remoteKey: 0x77 });
      request.sges.add(scene.victim.region, AT, length);
      scene.victim.post(request);
      const ulpdu = await scene.raw.ulpdu(0);
      assert.equal(ulpdu.length, 46);
      return { scene, stag: ulpdu.readUInt32BE(18) };
    }
    const others: [number, number][] = [[1, FLUSH_ERROR]];

    it('that nothing asked for', async () => {
      const scene = await scenes.open();
      await scene.attack(Terminate.UNEXPECTED_OPCODE, [
        readResponse({ stag: 1, offset: 0, payload: bytes(10) }),
      ]);
    });

    it('by another key', async () => {
      const { scene, stag } = await asked(100);
      const response = readResponse({ stag: stag ^ 1, offset: 0, payload: bytes(100) });
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [response], { others });
    });

    it('at another offset', async () => {
      const { scene, stag } = await asked(100);
      await scene.attack(Terminate.TAGGED_BOUNDS, [readResponse({ stag, offset: 1, payload: bytes(99) })], {
        others,
      });
    });

    it('with a gap in the second segment', async () => {
      const { scene, stag } = await asked(100);
      bytes(50).copy(scene.expected, AT);
      const first = readResponse({ stag, offset: 0, payload: bytes(50), last: false });
      const second = readResponse({ stag, offset: 51, payload: bytes(49) });
      await scene.attack(Terminate.TAGGED_BOUNDS, [first, second], { others });
    });

    it('longer than asked for', async () => {
      const { scene, stag } = await asked(100);
      await scene.attack(Terminate.TAGGED_BOUNDS, [readResponse({ stag, offset: 0, payload: bytes(101) })], {
        others,
      });
    });

    it('longer than asked for in the second segment', async () => {
      const { scene, stag } = await asked(100);
      bytes(99).copy(scene.expected, AT);
      const first = readResponse({ stag, offset: 0, payload: bytes(99), last: false });
      const second = readResponse({ stag, offset: 99, payload: bytes(2) });
      await scene.attack(Terminate.TAGGED_BOUNDS, [first, second], { others });
    });

    it('that ends too early', async () => {
      const { scene, stag } = await asked(100);
      await scene.attack(Terminate.OPERATION, [readResponse({ stag, offset: 0, payload: bytes(99) })], {
        others,
      });
    });

    it('that does not end', async () => {
      const { scene, stag } = await asked(100);
      const response = readResponse({ stag, offset: 0, payload: bytes(100), last: false });
      await scene.attack(Terminate.OPERATION, [response], { others });
    });

    it('for a second time', async () => {
      const { scene, stag } = await asked(100);
      bytes(100).copy(scene.expected, AT);
      const response = readResponse({ stag, offset: 0, payload: bytes(100) });
      await scene.attack(Terminate.UNEXPECTED_OPCODE, [response, response], { others: [[1, SUCCESS]] });
    });

    it('for memory that was deregistered meanwhile', async () => {
      const { scene, stag } = await asked(100);
      scene.victim.region.deregister();
      await scene.attack(
        Terminate.STREAM_CATASTROPHIC,
        [readResponse({ stag, offset: 0, payload: bytes(100) })],
        { others },
      );
    });

    it('by a Write to the key of a read', async () => {
      const { scene, stag } = await asked(100);
      await scene.attack(Terminate.TAGGED_INVALID_STAG, [tagged({ stag, offset: 0, payload: bytes(10) })], {
        others,
      });
    });
  });
});
