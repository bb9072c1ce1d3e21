/**
 * Attacks on the startup of RDMA connections, on either side (RFC 5044 7; RFC 5042 6.4): what a peer does wrong ends its
 * connection within a time, and all else goes on.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Terminate, type TerminateReason } from '../../src/rdma/iwarp/terminate.js';
import type { RdmaListener } from '../../src/rdma/verbs.js';
import { pattern } from '../support/pattern.js';
import { RawIwarp, startupFrame } from '../support/raw-iwarp.js';
import { Stage } from '../support/rdma-scene.js';
import { bytes, tagged, terminateMessage, untagged } from '../support/ulpdus.js';
import { End, until } from '../support/verbs-pair.js';

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

  it('the active side says again and again that it is ready, until the peer speaks', async () => {
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
      if (!speaks) await raw.ulpdu(2);
      raw.send(ready);
      await delay(speaks ? 1000 : 2500);
      assert.deepEqual(raw.ulpdus, speaks ? [ready] : [ready, ready, ready]);
      raw.destroy();
      await end.disconnected();
      end.close();
    }
  });
});
