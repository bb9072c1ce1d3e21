/**
 * Attacks on memory and queues by a peer that is connected (RFC 5042 6): each ends the connection by exactly the
 * Terminate that RFC 5040 4.8 wants, and harms nothing else.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Terminate, type TerminateReason } from '../../src/rdma/iwarp/terminate.js';
import { CompletionStatus, SendOpcode, SendRequest } from '../../src/rdma/work.js';
import { pattern } from '../support/pattern.js';
import { REMOTE_READ, REMOTE_WRITE, Scene, type SceneOptions, Stage } from '../support/rdma-scene.js';
import { readRequest, readResponse, tagged, untagged } from '../support/ulpdus.js';

const { SUCCESS, FLUSH_ERROR, LOCAL_LENGTH_ERROR } = CompletionStatus;
const TWO_TO_64 = 1n << 64n;
const DATA = pattern(5000, 9);
const bytes = (n: number): Buffer => DATA.subarray(0, n);

/** The victim's grant in most attacks: so many bytes from there on. */
const AT = 10_000;
const LENGTH = 1000;

describe('attacks on memory and queues', { timeout: 120_000 }, () => {
  let stage: Stage;
  let scene: Scene;
  before(async () => {
    stage = await Stage.set();
  });
  afterEach(async () => {
    await scene.close();
  });
  after(async () => {
    await stage.close();
  });

  const open = async (options?: SceneOptions): Promise<void> => {
    scene = await Scene.open(stage, options);
  };

  /** Send these; the last is the one that is wrong. */
  async function attack(
    reason: TerminateReason,
    ulpdus: Buffer[],
    expectations: Parameters<Scene['assertTerminated']>[2] & { isQuoted?: boolean } = {},
  ): Promise<void> {
    scene.raw.send(...ulpdus);
    const { isQuoted = true } = expectations;
    await scene.assertTerminated(reason, isQuoted ? ulpdus.at(-1)! : null, expectations);
  }

  describe('RDMA Write', () => {
    const write = (stag: number, offset: number | bigint, length: number): Buffer =>
      tagged({ stag, offset, payload: bytes(length) });

    it('by a key that was never given', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
      await attack(Terminate.TAGGED_INVALID_STAG, [write(remoteKey ^ 1, 0, 10)]);
    });

    it('by key 0', async () => {
      await open();
      await attack(Terminate.TAGGED_INVALID_STAG, [write(0, 0, 10)]);
    });

    it('by a key of another protection domain', async () => {
      await open();
      const other = stage.device.allocateProtectionDomain();
      const region = scene.grant(AT, LENGTH, REMOTE_WRITE, other);
      await attack(Terminate.TAGGED_NOT_ASSOCIATED, [write(region.remoteKey, 0, 10)]);
      region.deregister();
      other.close();
    });

    it('by the key of memory that is registered no more', async () => {
      await open();
      const region = scene.grant(AT, LENGTH, REMOTE_WRITE);
      region.deregister();
      await attack(Terminate.TAGGED_INVALID_STAG, [write(region.remoteKey, 0, 10)]);
    });

    it('by the key of a window that was invalidated', async () => {
      await open();
      const window = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      scene.invalidate(window.remoteKey);
      const others: [number, number][] = [[8, SUCCESS]];
      await attack(Terminate.TAGGED_INVALID_STAG, [write(window.remoteKey, AT, 10)], { others });
    });

    it('by the key of a window that a Send with Invalidate has ended', async () => {
      await open();
      const { remoteKey } = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      const invalidate = untagged({ opcode: 4, invalidate: remoteKey, payload: bytes(3) });
      bytes(3).copy(scene.expected, 900_000);
      await attack(Terminate.TAGGED_INVALID_STAG, [invalidate, write(remoteKey, AT, 10)], {
        receives: { 101: SUCCESS },
      });
      assert.equal(scene.victim.completions.find(({ id }) => id === 101)!.invalidatedKey, remoteKey);
    });

    it('by the key of a window whose region is registered no more', async () => {
      await open();
      const { remoteKey } = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      scene.victim.region.deregister();
      await attack(Terminate.TAGGED_INVALID_STAG, [write(remoteKey, AT, 10)]);
    });

    it('by a window that is bound to another queue pair', async () => {
      await open();
      const other = await Scene.open(stage, { beside: scene });
      const { remoteKey } = await other.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      await attack(Terminate.TAGGED_NOT_ASSOCIATED, [write(remoteKey, AT, 10)]);
      other.raw.destroy();
      await other.assertEnded(null);
      await other.close();
    });

    it('to memory that may only be read', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await attack(Terminate.ACCESS, [write(remoteKey, 0, 10)]);
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
        await open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        await attack(reason, [write(remoteKey, offset, length)]);
      });
    }

    it('one byte before the start of a window', async () => {
      await open();
      const { remoteKey } = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      await attack(Terminate.TAGGED_BOUNDS, [write(remoteKey, AT - 1, 10)]);
    });

    it('one byte past the end of a window', async () => {
      await open();
      const { remoteKey } = await scene.bind(AT, LENGTH, REMOTE_WRITE & ~1);
      await attack(Terminate.TAGGED_BOUNDS, [write(remoteKey, AT + LENGTH - 9, 10)]);
    });

    it('that runs over the end in its second segment: the first stays, nothing of the second', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
      bytes(900).copy(scene.expected, AT);
      const first = tagged({ stag: remoteKey, offset: 0, payload: bytes(900), last: false });
      await attack(Terminate.TAGGED_BOUNDS, [first, write(remoteKey, 900, 101)]);
    });

    it('that is long, one byte over the end', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, 59_999, REMOTE_WRITE);
      const ulpdu = tagged({ stag: remoteKey, offset: 0, payload: pattern(60_000, 1) });
      await attack(Terminate.TAGGED_BOUNDS, [ulpdu]);
    });

    it('of nothing is harmless wherever it aims', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
      bytes(7).copy(scene.expected, AT + 3);
      await attack(Terminate.TAGGED_INVALID_STAG, [
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
      grant: () => Promise<{ stag: number; offset: number }>,
      revoke: () => void,
      others: [number, number][],
    ): Promise<void> {
      await open();
      const { stag, offset } = await grant();
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
      revoke();
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
        () => {
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
        async () => {
          stag = (await scene.bind(AT, PAYLOAD, REMOTE_WRITE & ~1)).remoteKey;
          return { stag, offset: AT };
        },
        () => {
          scene.invalidate(stag);
        },
        [[8, SUCCESS]],
      );
    });

    it("by deregistering a window's region", async () => {
      await midway(
        async () => ({ stag: (await scene.bind(AT, PAYLOAD, REMOTE_WRITE & ~1)).remoteKey, offset: AT }),
        () => {
          scene.victim.region.deregister();
        },
        [],
      );
    });

    it('by closing a window', async () => {
      let window!: Awaited<ReturnType<Scene['bind']>>;
      await midway(
        async () => {
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

  describe('RDMA Read', () => {
    const read = (sourceStag: number, sourceOffset: number | bigint, length: number, number = 1): Buffer =>
      readRequest({ sourceStag, sourceOffset, length, number });
    const withRead = true;

    it('by a key that was never given', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await attack(Terminate.READ_INVALID_STAG, [read(remoteKey ^ 1, 0, 10)], { withRead });
    });

    it('by a key of another protection domain', async () => {
      await open();
      const other = stage.device.allocateProtectionDomain();
      const region = scene.grant(AT, LENGTH, REMOTE_READ, other);
      await attack(Terminate.READ_NOT_ASSOCIATED, [read(region.remoteKey, 0, 10)], { withRead });
      region.deregister();
      other.close();
    });

    it('by the key of memory that is registered no more', async () => {
      await open();
      const region = scene.grant(AT, LENGTH, REMOTE_READ);
      region.deregister();
      await attack(Terminate.READ_INVALID_STAG, [read(region.remoteKey, 0, 10)], { withRead });
    });

    it('of memory that may only be written', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
      await attack(Terminate.ACCESS, [read(remoteKey, 0, 10)], { withRead });
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
        await open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
        await attack(reason, [read(remoteKey, offset, length)], { withRead });
      });
    }

    it('of nothing is answered wherever it aims', async () => {
      await open();
      scene.raw.send(readRequest({ sourceStag: 0x99, sourceOffset: TWO_TO_64 - 1n, length: 0 }));
      const answer = await scene.raw.ulpdu(0);
      assert.ok(answer.equals(readResponse({ stag: 0x5157, offset: 0 })));
      await attack(Terminate.READ_INVALID_STAG, [read(0, 0, 1, 2)], { withRead });
    });

    it('more at a time than were agreed', async () => {
      await open({ accept: { responderResources: 3 } });
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      const reads = [1, 2, 3, 4].map((number) => read(remoteKey, 0, LENGTH, number));
      await attack(Terminate.NO_BUFFER, reads);
      // What was sound before the fault may have been answered or not, but only wholly.
      for (const ulpdu of scene.raw.ulpdus.slice(0, -1)) assert.equal(ulpdu.length, 14 + LENGTH);
    });

    it('without any being agreed', async () => {
      await open({ accept: { responderResources: 0 } });
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await attack(Terminate.NO_BUFFER, [read(remoteKey, 0, 10)]);
    });

    it('with a request that is too long', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await attack(Terminate.MESSAGE_TOO_LONG, [Buffer.concat([read(remoteKey, 0, 10), Buffer.alloc(1)])]);
    });

    it('with a request that is too short', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      await attack(Terminate.OPERATION, [read(remoteKey, 0, 10).subarray(0, 45)]);
    });

    it('with a request in two segments', async () => {
      await open();
      const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
      const first = Buffer.from(read(remoteKey, 0, 10).subarray(0, 30));
      first[0] = 0x01;
      await attack(Terminate.OPERATION, [first]);
    });

    it('with a request at a message offset', async () => {
      await open();
      const request = readRequest({ sourceStag: 1, sourceOffset: 0, length: 1, messageOffset: 4 });
      await attack(Terminate.INVALID_MO, [request]);
    });

    for (const [name, number] of [
      ['again', 1],
      ['with a gap', 3],
      ['of number 0', 0],
    ] as const) {
      it(`request ${name}`, async () => {
        await open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_READ);
        scene.raw.send(read(remoteKey, 0, 10));
        await scene.raw.ulpdu(0);
        await attack(Terminate.INVALID_MSN, [read(remoteKey, 0, 10, number)]);
      });
    }

    it('of memory that is taken back while the answer is on its way', async () => {
      await open({ accept: { responderResources: 8 } });
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
      await open({ accept: { responderResources: 8 } });
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
    async function asked(length: number): Promise<{ stag: number }> {
      await open();
      // An answered bind shows that the first FPDU has come, so that the victim may send.
      await scene.bind(0, 1, REMOTE_READ);
      const request = new SendRequest();
      Object.assign(request, { id: 1, opcode: SendOpcode.RDMA_READ, remoteKey: 0x77 });
      request.sges.add(scene.victim.region, AT, length);
      scene.victim.post(request);
      const ulpdu = await scene.raw.ulpdu(0);
      assert.equal(ulpdu.length, 46);
      return { stag: ulpdu.readUInt32BE(18) };
    }
    const others: [number, number][] = [[1, FLUSH_ERROR]];

    it('that nothing asked for', async () => {
      await open();
      await attack(Terminate.UNEXPECTED_OPCODE, [readResponse({ stag: 1, offset: 0, payload: bytes(10) })]);
    });

    it('by another key', async () => {
      const { stag } = await asked(100);
      const response = readResponse({ stag: stag ^ 1, offset: 0, payload: bytes(100) });
      await attack(Terminate.TAGGED_INVALID_STAG, [response], { others });
    });

    it('at another offset', async () => {
      const { stag } = await asked(100);
      await attack(Terminate.TAGGED_BOUNDS, [readResponse({ stag, offset: 1, payload: bytes(99) })], {
        others,
      });
    });

    it('with a gap in the second segment', async () => {
      const { stag } = await asked(100);
      bytes(50).copy(scene.expected, AT);
      const first = readResponse({ stag, offset: 0, payload: bytes(50), last: false });
      const second = readResponse({ stag, offset: 51, payload: bytes(49) });
      await attack(Terminate.TAGGED_BOUNDS, [first, second], { others });
    });

    it('longer than asked for', async () => {
      const { stag } = await asked(100);
      await attack(Terminate.TAGGED_BOUNDS, [readResponse({ stag, offset: 0, payload: bytes(101) })], {
        others,
      });
    });

    it('longer than asked for in the second segment', async () => {
      const { stag } = await asked(100);
      bytes(99).copy(scene.expected, AT);
      const first = readResponse({ stag, offset: 0, payload: bytes(99), last: false });
      const second = readResponse({ stag, offset: 99, payload: bytes(2) });
      await attack(Terminate.TAGGED_BOUNDS, [first, second], { others });
    });

    it('that ends too early', async () => {
      const { stag } = await asked(100);
      await attack(Terminate.OPERATION, [readResponse({ stag, offset: 0, payload: bytes(99) })], { others });
    });

    it('that does not end', async () => {
      const { stag } = await asked(100);
      const response = readResponse({ stag, offset: 0, payload: bytes(100), last: false });
      await attack(Terminate.OPERATION, [response], { others });
    });

    it('for a second time', async () => {
      const { stag } = await asked(100);
      bytes(100).copy(scene.expected, AT);
      const response = readResponse({ stag, offset: 0, payload: bytes(100) });
      await attack(Terminate.UNEXPECTED_OPCODE, [response, response], { others: [[1, SUCCESS]] });
    });

    it('by a Write to the key of a read', async () => {
      const { stag } = await asked(100);
      await attack(Terminate.TAGGED_INVALID_STAG, [tagged({ stag, offset: 0, payload: bytes(10) })], {
        others,
      });
    });
  });

  describe('Sends', () => {
    const last = false;

    it('longer than the receive', async () => {
      await open();
      await attack(Terminate.MESSAGE_TOO_LONG, [untagged({ payload: bytes(101) })], {
        receives: { 101: LOCAL_LENGTH_ERROR },
      });
    });

    it('longer than the receive in the second segment: nothing of that is placed', async () => {
      await open();
      bytes(60).copy(scene.expected, 900_000);
      const first = untagged({ payload: bytes(60), last });
      await attack(Terminate.MESSAGE_TOO_LONG, [first, untagged({ messageOffset: 60, payload: bytes(41) })], {
        receives: { 101: LOCAL_LENGTH_ERROR },
      });
    });

    it('that are long, and longer than the receive', async () => {
      await open();
      await attack(Terminate.MESSAGE_TOO_LONG, [untagged({ payload: pattern(60_000, 1) })], {
        receives: { 101: LOCAL_LENGTH_ERROR },
      });
    });

    it('without a receive', async () => {
      await open();
      for (const [i, offset] of [900_000, 901_000].entries()) bytes(i + 1).copy(scene.expected, offset);
      const sends = [1, 2, 3].map((number) => untagged({ number, payload: bytes(number) }));
      await attack(Terminate.NO_BUFFER, sends, { receives: { 101: SUCCESS, 102: SUCCESS } });
    });

    it('of nothing, without a receive', async () => {
      await open();
      const sends = [1, 2, 3].map((number) => untagged({ number }));
      await attack(Terminate.NO_BUFFER, sends, { receives: { 101: SUCCESS, 102: SUCCESS } });
    });

    for (const [name, number] of [
      ['again', 1],
      ['with a gap', 3],
      ['of number 0', 0],
      ['of number 2^32 - 1', 0xffff_ffff],
    ] as const) {
      it(name, async () => {
        await open();
        bytes(5).copy(scene.expected, 900_000);
        const sends = [untagged({ payload: bytes(5) }), untagged({ number, payload: bytes(6) })];
        await attack(Terminate.INVALID_MSN, sends, { receives: { 101: SUCCESS } });
      });
    }

    for (const [name, messageOffset] of [
      ['a gap', 51],
      ['an overlap', 49],
      ['a second beginning', 0],
      ['an offset of 2^32 - 1', 0xffff_ffff],
    ] as const) {
      it(`in segments with ${name}`, async () => {
        await open();
        bytes(50).copy(scene.expected, 900_000);
        const first = untagged({ payload: bytes(50), last });
        await attack(Terminate.INVALID_MO, [first, untagged({ messageOffset, payload: bytes(10) })]);
      });
    }

    it('that begin at an offset', async () => {
      await open();
      await attack(Terminate.INVALID_MO, [untagged({ messageOffset: 1, payload: bytes(10) })]);
    });

    it('whose next message comes before they end', async () => {
      await open();
      bytes(50).copy(scene.expected, 900_000);
      const first = untagged({ payload: bytes(50), last });
      await attack(Terminate.INVALID_MSN, [first, untagged({ number: 2, payload: bytes(10) })]);
    });

    it('whose opcode changes', async () => {
      await open();
      bytes(50).copy(scene.expected, 900_000);
      const first = untagged({ payload: bytes(50), last });
      const second = untagged({ opcode: 5, messageOffset: 50, payload: bytes(10) });
      await attack(Terminate.UNEXPECTED_OPCODE, [first, second]);
    });
  });

  describe('Send with Invalidate', () => {
    for (const opcode of [4, 6]) {
      const send = (invalidate: number): Buffer => untagged({ opcode, invalidate, payload: bytes(10) });
      const prepare = (): void => {
        bytes(10).copy(scene.expected, 900_000);
      };

      it(`(opcode ${opcode}) of a key that was never given`, async () => {
        await open();
        prepare();
        await attack(Terminate.CANNOT_INVALIDATE, [send(0x1234)]);
      });

      it(`(opcode ${opcode}) of a region's key, which stays valid`, async () => {
        await open();
        prepare();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        bytes(10).copy(scene.expected, AT);
        const write = tagged({ stag: remoteKey, offset: 0, payload: bytes(10) });
        await attack(Terminate.CANNOT_INVALIDATE, [write, send(remoteKey)]);
        assert.equal(stage.keys, 2);
      });

      it(`(opcode ${opcode}) of another queue pair's window, which stays valid`, async () => {
        await open();
        const other = await Scene.open(stage, { beside: scene });
        const { remoteKey } = await other.bind(AT, LENGTH, REMOTE_WRITE & ~1);
        prepare();
        await attack(Terminate.CANNOT_INVALIDATE, [send(remoteKey)]);
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

  describe('headers', () => {
    for (const version of [0, 2, 3]) {
      it(`DDP version ${version}`, async () => {
        await open();
        await attack(Terminate.UNTAGGED_VERSION, [untagged({ ddpVersion: version, payload: bytes(1) })]);
      });

      it(`DDP version ${version} of a tagged segment`, async () => {
        await open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        const ulpdu = tagged({ stag: remoteKey, offset: 0, ddpVersion: version, payload: bytes(1) });
        await attack(Terminate.TAGGED_VERSION, [ulpdu]);
      });

      it(`RDMAP version ${version}`, async () => {
        await open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        const ulpdu = tagged({ stag: remoteKey, offset: 0, rdmapVersion: version, payload: bytes(1) });
        await attack(Terminate.RDMAP_VERSION, [ulpdu]);
      });

      it(`RDMAP version ${version} of an untagged segment`, async () => {
        await open();
        await attack(Terminate.RDMAP_VERSION, [untagged({ rdmapVersion: version })]);
      });
    }

    for (const opcode of [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) {
      it(`opcode ${opcode} in a tagged segment`, async () => {
        await open();
        const { remoteKey } = scene.grant(AT, LENGTH, REMOTE_WRITE);
        const ulpdu = tagged({ opcode, stag: remoteKey, offset: 0, payload: bytes(30) });
        await attack(Terminate.UNEXPECTED_OPCODE, [ulpdu]);
      });
    }

    for (const [queue, right] of [
      [0, [3, 4, 5, 6]],
      [1, [1]],
      [2, [7]],
    ] as const) {
      for (let opcode = 0; opcode < 16; opcode++) {
        if ((right as readonly number[]).includes(opcode)) continue;
        it(`opcode ${opcode} in queue ${queue}`, async () => {
          await open();
          await attack(Terminate.UNEXPECTED_OPCODE, [untagged({ opcode, queue, payload: bytes(32) })]);
        });
      }
    }

    for (const queue of [3, 4, 0x100, 0xffff_ffff]) {
      it(`queue ${queue}`, async () => {
        await open();
        await attack(Terminate.INVALID_QUEUE, [untagged({ queue, payload: bytes(4) })]);
      });
    }

    for (let length = 1; length < 18; length++) {
      it(`an untagged ULPDU of ${length} bytes`, async () => {
        await open();
        await attack(Terminate.DDP_CATASTROPHIC, [untagged().subarray(0, length)], { isQuoted: false });
      });
      if (length < 14)
        it(`a tagged ULPDU of ${length} bytes`, async () => {
          await open();
          const ulpdu = tagged({ stag: 0, offset: 0 }).subarray(0, length);
          await attack(Terminate.DDP_CATASTROPHIC, [ulpdu], { isQuoted: false });
        });
    }
  });
});
