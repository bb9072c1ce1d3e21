/**
 * Attacks on RDMA connections as such: framing, Terminates, ends that do not come, and startups (RFC 5044 7, 8; RFC 5042
 * 6.4). Whatever a peer does, its connection ends within a time, and all else goes on.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { encodeStream } from '../../src/rdma/iwarp/mpa/testing/fpdus.js';
import { Terminate, type TerminateReason } from '../../src/rdma/iwarp/terminate.js';
import type { RdmaListener } from '../../src/rdma/verbs.js';
import { CompletionStatus, ReceiveRequest, SendOpcode, SendRequest } from '../../src/rdma/work.js';
import { pattern } from '../support/pattern.js';
import { RawIwarp, startupFrame } from '../support/raw-iwarp.js';
import { REMOTE_READ, REMOTE_WRITE, Scene, type SceneOptions, Stage } from '../support/rdma-scene.js';
import { readRequest, tagged, terminateMessage, untagged } from '../support/ulpdus.js';
import { End, MEMORY_BYTES, until } from '../support/verbs-pair.js';

const { SUCCESS, FLUSH_ERROR } = CompletionStatus;
const DATA = pattern(60_000, 9);
const bytes = (n: number): Buffer => DATA.subarray(0, n);
const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

describe('attacks on connections', { timeout: 120_000 }, () => {
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

  describe('framing', () => {
    it('a CRC that is wrong', async () => {
      await open({ request: { crc: true } });
      const stream = encodeStream([untagged({ payload: bytes(20) })], { crc: true, markers: false });
      stream[stream.length - 1]! ^= 1;
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.MPA_CRC, null, { code: 'MPA_CRC' });
    });

    it('a payload that changed on its way', async () => {
      await open({ request: { crc: true } });
      const { remoteKey } = scene.grant(0, 60_000, REMOTE_WRITE);
      const ulpdu = tagged({ stag: remoteKey, offset: 0, payload: bytes(60_000) });
      const stream = encodeStream([ulpdu], { crc: true, markers: false });
      stream[30_000]! ^= 0x10;
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.MPA_CRC, null, { code: 'MPA_CRC' });
    });

    it('a length that is wrong, noticed by the CRC', async () => {
      await open({ request: { crc: true } });
      const stream = encodeStream([untagged({ payload: bytes(200) })], { crc: true, markers: false });
      stream.writeUInt16BE(100, 0);
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.MPA_CRC, null, { code: 'MPA_CRC' });
    });

    it('a length that is wrong, without CRCs: what follows is no segment', async () => {
      await open();
      const stream = encodeStream([untagged({ payload: Buffer.alloc(80) })], { crc: false, markers: false });
      stream.writeUInt16BE(28, 0);
      Buffer.from([0, 6, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55]).copy(stream, 36);
      Buffer.alloc(10).copy(scene.expected, 900_000);
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.DDP_CATASTROPHIC, null, { receives: { 101: SUCCESS } });
    });

    it('FPDUs of nothing, thousands of them', async () => {
      await open();
      scene.raw.sendBytes(Buffer.alloc(8 * 20_000));
      scene.raw.send(untagged({ queue: 9 }));
      await scene.assertTerminated(Terminate.INVALID_QUEUE, untagged({ queue: 9 }));
    });

    it('FPDUs byte by byte', async () => {
      await open();
      bytes(50).copy(scene.expected, 900_000);
      const ulpdus = [untagged({ payload: bytes(50) }), untagged({ queue: 9, payload: bytes(9) })];
      for (const byte of encodeStream(ulpdus, { crc: false, markers: false })) {
        scene.raw.sendBytes(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      await scene.assertTerminated(Terminate.INVALID_QUEUE, ulpdus[1]!, { receives: { 101: SUCCESS } });
    });

    it('an FPDU that never ends, and a FIN', async () => {
      await open();
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
      await open();
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
        await open();
        scene.raw.send(ulpdu, untagged({ payload: bytes(10) }));
        await scene.raw.ended();
        assert.deepEqual(scene.raw.ulpdus, [], 'a Terminate is not answered');
        scene.raw.socket.end();
        await scene.assertEnded('RDMA_TERMINATED');
      });
    }
  });

  describe('Terminates of Linux siw', () => {
    it('layer and type are the wrong way round, and understood where that is no other reason', async () => {
      await open();
      const { layer, type, code } = Terminate.NO_BUFFER;
      scene.raw.send(terminateMessage({ layer: type, type: layer, code }, null));
      await scene.raw.ended();
      scene.raw.socket.end();
      assert.match((await scene.victim.disconnected())!.message, /no buffer for this message/);
      await scene.assertEnded('RDMA_TERMINATED');
    });
  });

  describe('after its own Terminate', () => {
    const wrong = untagged({ queue: 9 });

    it('nothing that comes is looked at', async () => {
      await open();
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
      await open();
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
      await open();
      scene.raw.send(wrong);
      await scene.raw.ended();
      await scene.assertEnded('RDMA_VIOLATION');
    });

    it('a peer that never reads is left within a time', async () => {
      await open();
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
      await open();
      scene.raw.socket.end();
      await scene.assertEnded(null);
    });

    it('a peer that vanishes: what had not left is flushed, not completed', async () => {
      await open();
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
      await open();
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
      await open();
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

describe('markers that are wrong', { timeout: 60_000 }, () => {
  for (const [name, at] of [
    ['at the start', 2],
    ['within an FPDU', 512 + 3],
  ] as const) {
    it(name, async () => {
      const stage = await Stage.set({ markers: true });
      const scene = await Scene.open(stage, { isMute: true });
      const ulpdu = untagged({ payload: bytes(900) });
      const stream = encodeStream([ulpdu], { crc: false, markers: true });
      stream[at]! ^= 0x20;
      scene.raw.sendBytes(stream);
      await scene.assertTerminated(Terminate.MPA_MARKER, null, { code: 'MPA_MARKER' });
      await scene.close();
      await stage.close();
    });
  }
});

describe('attacks on startup', { timeout: 120_000 }, () => {
  let stage: Stage;
  let listener: RdmaListener;
  let requests = 0;
  let good: End | null = null;
  let accepted = Promise.resolve();

  before(async () => {
    stage = await Stage.set({ startupTimeout: 500 });
    listener = await stage.device.listen(
      { address: '127.0.0.1', port: 0 },
      {
        requested: (request) => {
          requests++;
          if (good === null) {
            request.reject(Buffer.from('nobody'));
            request.close();
            return;
          }
          good.attach(request);
          accepted = request.accept();
        },
      },
    );
  });
  afterEach(async () => {
    await stage.assertUndisturbed();
  });
  after(async () => {
    await listener.close();
    await stage.close();
  });

  const request = startupFrame('request');
  const longPrivateData = (length: number): Buffer => {
    const frame = Buffer.concat([request, Buffer.alloc(length)]);
    frame.writeUInt16BE(length, 18);
    return frame;
  };
  const broken: [string, Buffer][] = [
    ['garbage', pattern(2000, 7)],
    ['a request of HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['a reply where a request is due', startupFrame('reply')],
    ['513 bytes of private data', longPrivateData(513)],
    ['65,535 bytes of private data', longPrivateData(65_535)],
    ['revision 0', Buffer.concat([request.subarray(0, 17), Buffer.from([0]), request.subarray(18)])],
    ['revision 3', Buffer.concat([request.subarray(0, 17), Buffer.from([3]), request.subarray(18)])],
    [
      'an enhanced frame without room for its data',
      Buffer.concat([request.subarray(0, 18), Buffer.alloc(2)]),
    ],
    ['two requests', Buffer.concat([request, request])],
    ['an FPDU behind the request', Buffer.concat([request, Buffer.alloc(8)])],
  ];
  for (const [name, sent] of broken) {
    it(`${name}: closed without an answer`, async () => {
      const before = requests;
      const raw = await RawIwarp.dial(listener.port);
      raw.sendBytes(sent);
      await raw.ended();
      assert.equal(raw.received, 0);
      assert.equal(requests, before);
      raw.destroy();
    });
  }

  for (const [name, drip] of [
    ['nothing at all', null],
    ['half a frame', request.subarray(0, 30)],
    ['a byte at a time', request],
  ] as const) {
    it(`${name}: closed when its time is over`, async () => {
      const raw = await RawIwarp.dial(listener.port);
      let sent = 0;
      const timer = setInterval(() => {
        if (drip !== null && sent < drip.length) raw.sendBytes(drip.subarray(sent, ++sent));
      }, 100);
      await raw.ended();
      clearInterval(timer);
      assert.equal(raw.received, 0);
      raw.destroy();
    });
  }

  it('a peer that was rejected and does not close is left within a time', async () => {
    const raw = await RawIwarp.dial(listener.port);
    raw.sendBytes(request);
    assert.equal((await raw.frame()).isRejected, true);
    await raw.ended();
    raw.destroy();
  });

  it('a peer-to-peer client that was accepted, and then says nothing', async () => {
    good = new End(stage.device);
    const frame = startupFrame('request', { enhanced: { ird: 1, ord: 1, peerToPeer: ['write'] } });
    const raw = await RawIwarp.dial(listener.port);
    raw.sendBytes(frame);
    await raw.frame();
    await assert.rejects(accepted, { code: 'RDMA_TIMEOUT' });
    await raw.ended();
    raw.destroy();
    good.close();
    good = null;
    accepted = Promise.resolve();
  });

  it('2000 connections that say nothing, while a good peer comes and works', async () => {
    const silent: RawIwarp[] = [];
    // Not more at once than the kernel keeps for a listener to accept.
    while (silent.length < 2000)
      silent.push(...(await Promise.all(Array.from({ length: 100 }, () => RawIwarp.dial(listener.port)))));
    good = new End(stage.device);
    const raw = await RawIwarp.connect(listener.port);
    raw.send(Buffer.alloc(0));
    await accepted;
    good.receive(1, 0, 100);
    raw.send(untagged({ payload: bytes(100) }));
    await good.completed(1);
    assert.ok(good.memory.bytes.subarray(0, 100).equals(bytes(100)));
    await stage.assertUndisturbed();
    await until(() => silent.every(({ isEnded }) => isEnded), 'the end of the silent');
    for (const peer of silent) peer.destroy();
    raw.destroy();
    await good.disconnected();
    good.close();
    good = null;
  });

  const replies: [string, Buffer | null, string | RegExp][] = [
    ['garbage', pattern(100, 3), 'MPA_KEY'],
    ['a request', startupFrame('request'), 'MPA_BOTH_INITIATORS'],
    ['a reply of revision 1', startupFrame('reply', { revision: 1, enhanced: null }), 'MPA_NOT_ENHANCED'],
    ['nothing but a FIN', Buffer.alloc(0), 'RDMA_CLOSED'],
    ['a reset', null, 'RDMA_CLOSED'],
    [
      'more reads than can be served',
      startupFrame('reply', { enhanced: { ird: 1, ord: 999, peerToPeer: ['write'] } }),
      'MPA_INSUFFICIENT_IRD',
    ],
    [
      'no indication in common',
      startupFrame('reply', { enhanced: { ird: 1, ord: 1, peerToPeer: ['fpdu'] } }),
      'MPA_NO_MATCHING_RTR',
    ],
  ];
  for (const [name, reply, code] of replies) {
    it(`the active side gets ${name}`, async () => {
      const end = new End(stage.device);
      let connecting!: Promise<unknown>;
      const raw = await RawIwarp.accept((port) => {
        connecting = stage.device.resolve({ host: '127.0.0.1', port, timeout: 5000 }).then((connection) => {
          end.attach(connection);
          return connection.connect();
        });
        connecting.catch(() => undefined);
      });
      await raw.frame();
      if (reply === null) raw.socket.resetAndDestroy();
      else if (reply.length > 0) raw.sendBytes(reply);
      else raw.socket.end();
      await assert.rejects(connecting, { code });
      await raw.ended();
      const known: TerminateReason | undefined = {
        MPA_INSUFFICIENT_IRD: Terminate.MPA_INSUFFICIENT_IRD,
        MPA_NO_MATCHING_RTR: Terminate.MPA_NO_MATCHING_RTR,
      }[code as string];
      assert.deepEqual(raw.ulpdus, known === undefined ? [] : [terminateMessage(known, null)]);
      raw.destroy();
      end.close();
    });
  }

  it('the active side says twice that it is ready, unless the peer speaks meanwhile', async () => {
    for (const speaks of [false, true]) {
      const end = new End(stage.device);
      let connecting!: Promise<unknown>;
      const raw = await RawIwarp.accept((port) => {
        connecting = stage.device.resolve({ host: '127.0.0.1', port }).then((connection) => {
          end.attach(connection);
          return connection.connect();
        });
      });
      await raw.frame();
      raw.sendBytes(startupFrame('reply', { enhanced: { ird: 1, ord: 1, peerToPeer: ['write'] } }));
      await connecting;
      const ready = tagged({ stag: 0, offset: 0 });
      assert.ok((await raw.ulpdu(0)).equals(ready));
      if (speaks) {
        raw.send(ready);
        await pause(1000);
      } else {
        await raw.ulpdu(1);
      }
      assert.deepEqual(raw.ulpdus, speaks ? [ready] : [ready, ready]);
      raw.destroy();
      await end.disconnected();
      end.close();
    }
  });
});
