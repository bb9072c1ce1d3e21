/**
 * Attacks on RDMA connections as such: framing, Terminates, and ends that do not come (RFC 5044 8; RFC 5042 6.4).
 * Whatever a peer does, its connection ends within a time, and all else goes on.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeStream } from '../../src/rdma/iwarp/mpa/testing/fpdus.js';
import { Terminate } from '../../src/rdma/iwarp/terminate.js';
import { CompletionStatus, ReceiveRequest, SendOpcode, SendRequest } from '../../src/rdma/work.js';
import { REMOTE_READ, REMOTE_WRITE } from '../support/rdma-scene.js';
import { Scenes } from '../support/rdma-scenes.js';
import { bytes, readRequest, readResponse, tagged, terminateMessage, untagged } from '../support/ulpdus.js';
import { MEMORY_BYTES, until } from '../support/verbs-pair.js';

const { SUCCESS, FLUSH_ERROR } = CompletionStatus;
const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

describe('attacks on connections', { timeout: 120_000 }, () => {
  const scenes = new Scenes();

  describe('framing', () => {
    it('a CRC that is wrong', async () => {
      const scene = await scenes.open({ request: { crc: true } });
      const stream = encodeStream([untagged({ payload: bytes(20) })], { crc: true, markers: false });
      stream[stream.length - 1]! ^= 1;
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.MPA_CRC, null, { code: 'MPA_CRC' });
    });

    it('a payload that changed on its way', async () => {
      const scene = await scenes.open({ request: { crc: true } });
      const { remoteKey } = scene.grant(0, 60_000, REMOTE_WRITE);
      const ulpdu = tagged({ stag: remoteKey, offset: 0, payload: bytes(60_000) });
      const stream = encodeStream([ulpdu], { crc: true, markers: false });
      stream[30_000]! ^= 0x10;
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.MPA_CRC, null, { code: 'MPA_CRC' });
    });

    it('a length that is wrong, noticed by the CRC', async () => {
      const scene = await scenes.open({ request: { crc: true } });
      const stream = encodeStream([untagged({ payload: bytes(200) })], { crc: true, markers: false });
      stream.writeUInt16BE(100, 0);
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.MPA_CRC, null, { code: 'MPA_CRC' });
    });

    it('a length that is wrong, without CRCs: what follows is no segment', async () => {
      const scene = await scenes.open();
      const stream = encodeStream([untagged({ payload: Buffer.alloc(80) })], { crc: false, markers: false });
      stream.writeUInt16BE(28, 0);
      Buffer.from([0, 6, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55]).copy(stream, 36);
      Buffer.alloc(10).copy(scene.expected, 900_000);
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.DDP_CATASTROPHIC, null, { receives: { 101: SUCCESS } });
    });

    it('FPDUs of nothing, thousands of them', async () => {
      const scene = await scenes.open();
      scene.raw.sendBytes(Buffer.alloc(8 * 20_000));
      scene.raw.send(untagged({ queue: 9 }));
      await scene.assertTerminated(Terminate.INVALID_QUEUE, untagged({ queue: 9 }));
    });

    it('FPDUs byte by byte', async () => {
      const scene = await scenes.open();
      bytes(50).copy(scene.expected, 900_000);
      const ulpdus = [untagged({ payload: bytes(50) }), untagged({ queue: 9, payload: bytes(9) })];
      for (const byte of encodeStream(ulpdus, { crc: false, markers: false })) {
        scene.raw.sendBytes(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      await scene.assertTerminated(Terminate.INVALID_QUEUE, ulpdus[1]!, { receives: { 101: SUCCESS } });
    });

    it('an FPDU that never ends, and a FIN', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(0, 60_000, REMOTE_WRITE);
      const stream = encodeStream([tagged({ stag: remoteKey, offset: 0, payload: bytes(60_000) })], {
        crc: false,
        markers: false,
      });
      bytes(10_000).copy(scene.expected);
      scene.raw.sendBytes(stream.subarray(0, 10_016));
      scene.raw.socket.end();
      await scene.assertEnded(null);
    });
  });

  describe('Terminates', () => {
    const some = terminateMessage(Terminate.TAGGED_BOUNDS, tagged({ stag: 1, offset: 2 }));

    it('many of them', async () => {
      const scene = await scenes.open();
      scene.raw.send(...Array.from({ length: 5000 }, () => some));
      await scene.raw.ended();
      assert.deepEqual(scene.raw.ulpdus, []);
      scene.raw.socket.end();
      await scene.assertEnded('RDMA_TERMINATED');
    });

    const odd: [string, Buffer][] = [
      ['without anything', untagged({ opcode: 7, queue: 2 })],
      ['one byte too short', some.subarray(0, 21)],
      ['of unknown layer, type and code', terminateMessage({ layer: 9, type: 13, code: 200 }, null)],
      ['of 60,000 bytes of garbage', untagged({ opcode: 7, queue: 2, payload: bytes(60_000) })],
      ['out of sequence and at an offset', untagged({ opcode: 7, queue: 2, number: 77, messageOffset: 5 })],
      ['that says more is to come', untagged({ opcode: 7, queue: 2, last: false, payload: bytes(4) })],
    ];
    for (const [name, ulpdu] of odd) {
      it(name, async () => {
        const scene = await scenes.open();
        scene.raw.send(ulpdu, untagged({ payload: bytes(10) }));
        await scene.raw.ended();
        assert.deepEqual(scene.raw.ulpdus, [], 'a Terminate is not answered');
        scene.raw.socket.end();
        await scene.assertEnded('RDMA_TERMINATED');
      });
    }
  });

  it('a Terminate of Linux siw: layer and type are the wrong way round, and understood where that is no other reason', async () => {
    const scene = await scenes.open();
    const { layer, type, code } = Terminate.NO_BUFFER;
    scene.raw.send(terminateMessage({ layer: type, type: layer, code }, null));
    await scene.raw.ended();
    scene.raw.socket.end();
    assert.match((await scene.victim.disconnected())!.message, /no buffer for this message/);
    await scene.assertEnded('RDMA_TERMINATED');
  });

  describe('after its own Terminate', () => {
    const wrong = untagged({ queue: 9 });

    it('nothing that comes is looked at', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(0, 60_000, REMOTE_WRITE);
      const write = tagged({ stag: remoteKey, offset: 0, payload: bytes(60_000) });
      scene.raw.send(
        wrong,
        write,
        untagged({ payload: bytes(10) }),
        ...Array.from({ length: 50 }, () => write),
      );
      await scene.assertTerminated(Terminate.INVALID_QUEUE, wrong);
    });

    it('a peer that goes on sending without closing is left within a time', async () => {
      const scene = await scenes.open();
      scene.raw.send(wrong);
      await scene.raw.ended();
      const drip = setInterval(() => {
        scene.raw.sendBytes(Buffer.alloc(3));
      }, 50);
      try {
        await scene.assertEnded('RDMA_VIOLATION');
      } finally {
        clearInterval(drip);
      }
    });

    it('a peer that does not close is left within a time', async () => {
      const scene = await scenes.open();
      scene.raw.send(wrong);
      await scene.raw.ended();
      await scene.assertEnded('RDMA_VIOLATION');
    });

    it('a peer that never reads is left within a time', async () => {
      const scene = await scenes.open();
      const { remoteKey } = scene.grant(0, 800_000, REMOTE_READ);
      scene.raw.socket.pause();
      for (let number = 1; number <= 12; number++)
        scene.raw.send(readRequest({ number, sourceStag: remoteKey, sourceOffset: 0, length: 800_000 }));
      await pause(50);
      scene.raw.send(wrong);
      await scene.assertEnded('RDMA_VIOLATION');
    });
  });

  describe('ends', () => {
    it('a peer that half-closes gets no more, and its end is told', async () => {
      const scene = await scenes.open();
      scene.raw.socket.end();
      await scene.assertEnded(null);
    });

    it('a peer that vanishes: what had not left is flushed, not completed', async () => {
      const scene = await scenes.open();
      await scene.bind(0, 1, REMOTE_READ);
      scene.raw.socket.pause();
      const request = scene.victim.request(SendOpcode.SEND, 0, 0, MEMORY_BYTES);
      const ids = Array.from({ length: 20 }, (_, i) => i + 1);
      for (const id of ids) {
        request.id = id;
        scene.victim.post(request);
      }
      await pause(50);
      const done = scene.victim.drain().length;
      assert.ok(done < 20, 'the sockets hold it all');
      scene.raw.socket.resetAndDestroy();
      await scene.victim.disconnected();
      const statuses = scene.victim.drain().filter(({ id }) => id <= 100);
      assert.deepEqual(
        statuses.map(({ id }) => id),
        ids,
      );
      const lost = statuses.filter(({ status }) => status === FLUSH_ERROR).length;
      assert.ok(lost >= 20 - done - 1, `${20 - done} had not left, and ${lost} are flushed`);
    });

    it('memory that is deregistered while a message of it is sent is not sent any more', async () => {
      const scene = await scenes.open();
      const region = scene.grant(0, 800_000, 0);
      await scene.bind(0, 1, REMOTE_READ);
      scene.raw.socket.pause();
      const request = new SendRequest();
      request.sges.add(region, 0, 800_000);
      for (let id = 1; id <= 12; id++) {
        request.id = id;
        scene.victim.post(request);
      }
      await pause(50);
      const done = scene.victim.drain().length;
      region.deregister();
      scene.raw.socket.resume();
      await scene.raw.ended();
      assert.ok(scene.raw.ulpdus.at(-1)!.equals(terminateMessage(Terminate.LOCAL_CATASTROPHIC, null)));
      scene.raw.socket.end();
      await scene.victim.disconnected();
      const own = scene.victim.drain().filter(({ id }) => id <= 100);
      assert.equal(own.length, 12);
      const failed = own.findIndex(({ status }) => status !== SUCCESS);
      assert.ok(failed >= done && failed < 12);
      assert.equal(own[failed]!.status, CompletionStatus.LOCAL_PROTECTION_ERROR);
      assert.ok(own.slice(failed + 1).every(({ status }) => status === FLUSH_ERROR));
    });

    it('a receive that is deregistered while a Send comes takes no more of it', async () => {
      const scene = await scenes.open();
      const region = scene.grant(0, 50_000, 1);
      const { victim } = scene;
      // Behind the two that are there.
      scene.raw.send(untagged({ number: 1 }), untagged({ number: 2 }));
      await victim.completed(2);
      const receive = new ReceiveRequest();
      receive.id = 5;
      receive.sges.add(region, 0, 50_000);
      victim.queuePair.postReceive(receive);
      const ulpdu = untagged({ number: 3, payload: bytes(50_000) });
      const stream = encodeStream([ulpdu], { crc: false, markers: false });
      scene.raw.sendBytes(stream.subarray(0, 10_020));
      await until(
        () => victim.memory.bytes.subarray(0, 10_000).equals(bytes(10_000)),
        'the first part of the Send',
      );
      region.deregister();
      bytes(10_000).copy(scene.expected);
      scene.raw.sendBytes(stream.subarray(10_020));
      await scene.assertTerminated(Terminate.STREAM_CATASTROPHIC, ulpdu, {
        receives: { 101: SUCCESS, 102: SUCCESS },
        others: [[5, CompletionStatus.LOCAL_PROTECTION_ERROR]],
      });
    });
  });
});

describe('reads under way', { timeout: 60_000 }, () => {
  const scenes = new Scenes();

  it('are as many as were agreed, and one more for each that is answered', async () => {
    const scene = await scenes.open({ accept: { initiatorDepth: 3 } });
    const { victim, raw } = scene;
    await scene.bind(0, 1, REMOTE_READ);
    const ids = [1, 2, 3, 4, 5, 6];
    victim.post(...ids.map((id) => victim.request(SendOpcode.RDMA_READ, id, 100 * id, 100)));
    for (const [answered, id] of ids.entries()) {
      const request = await raw.ulpdu(Math.min(answered + 2, 5));
      assert.equal(request.length, 46);
      // Time for one too many.
      await pause(10);
      assert.equal(raw.ulpdus.length, Math.min(answered + 3, 6));
      const stag = raw.ulpdus[answered]!.readUInt32BE(18);
      bytes(100).copy(scene.expected, 100 * id);
      raw.send(readResponse({ stag, offset: 0, payload: bytes(100) }));
    }
    await victim.completed(6);
    raw.destroy();
    await scene.assertEnded(
      null,
      {},
      ids.map((id) => [id, SUCCESS]),
    );
  });
});

describe('an end in good order', { timeout: 60_000 }, () => {
  const scenes = new Scenes({ endTimeout: 300 });

  it('does not wait for a peer that never reads', async () => {
    const scene = await scenes.open();
    const { victim } = scene;
    await scene.bind(0, 1, REMOTE_READ);
    scene.raw.socket.pause();
    for (let id = 1; id <= 20; id++) victim.post(victim.request(SendOpcode.SEND, id, 0, MEMORY_BYTES));
    victim.connection.disconnect();
    const error = (await victim.disconnected()) as { code?: string } | null;
    assert.equal(error?.code, 'RDMA_TIMEOUT');
    assert.equal(victim.drain().filter(({ id }) => id <= 20).length, 20);
  });

  it('does not wait for a peer that never sends what has to come first', async () => {
    const scene = await scenes.open({ isMute: true });
    const { victim } = scene;
    victim.post(victim.request(SendOpcode.SEND, 1, 0, 10));
    victim.connection.disconnect();
    await scene.assertEnded('RDMA_TIMEOUT', {}, [[1, FLUSH_ERROR]]);
  });

  it('waits for a peer that reads, though slowly', async () => {
    const scene = await scenes.open();
    const { victim, raw } = scene;
    await scene.bind(0, 1, REMOTE_READ);
    raw.socket.pause();
    const ids = Array.from({ length: 20 }, (_, i) => i + 1);
    for (const id of ids) victim.post(victim.request(SendOpcode.SEND, id, 0, MEMORY_BYTES));
    victim.connection.disconnect();
    const sip = setInterval(() => {
      raw.socket.resume();
      setImmediate(() => raw.socket.pause());
    }, 20);
    try {
      await victim.disconnected();
    } finally {
      clearInterval(sip);
    }
    assert.equal(victim.ended, null);
    assert.deepEqual(
      victim.drain().flatMap(({ id, status }) => (id <= 20 ? [[id, status]] : [])),
      ids.map((id) => [id, SUCCESS]),
    );
  });
});

describe('markers that are wrong', { timeout: 60_000 }, () => {
  const scenes = new Scenes({ markers: true });

  for (const [name, at] of [
    ['at the start', 2],
    ['within an FPDU', 512 + 3],
  ] as const) {
    it(name, async () => {
      const scene = await scenes.open({ isMute: true });
      const ulpdu = untagged({ payload: bytes(900) });
      const stream = encodeStream([ulpdu], { crc: false, markers: true });
      stream[at]! ^= 0x20;
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.MPA_MARKER, null, { code: 'MPA_MARKER' });
    });
  }
});
