/**
 * A damaged header ends its connection at every ErrorRecoveryLevel (RFC 7143 7.8); the initiator makes it anew and sends again what may be
 * (7.1.4.4). Data is right in the end wherever the damage is. A sample of bytes, over sockets: each costs a login.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { MemoryDevice } from '../../src/block/index.js';
import { connect } from '../../src/initiator/index.js';
import { FlippingRelay } from '../support/flipping-relay.js';
import { pattern } from '../support/pattern.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';

const DATA = pattern(16 * 512, 5);
/** How many places of each end's stream are tried. */
const SAMPLES = 60;

describe('a damaged byte anywhere, with digests, over sockets', () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }], {
      recovery: { errorRecoveryLevel: 1 },
    });
  });
  after(() => target.close());

  /** Writes, reads, and tells what an end had sent when the login, and when all was over. */
  const work = async (
    flip: FlippingRelay['flip'],
  ): Promise<{ connections: number; from: FlippingRelay['sent']; to: FlippingRelay['sent'] }> => {
    const relay = await FlippingRelay.start(target.port);
    relay.flip = flip;
    try {
      const lun = await connect(`iscsi://127.0.0.1:${relay.port}/${TARGET_NAME}/0`, {
        headerDigest: true,
        dataDigest: true,
        errorRecoveryLevel: 1,
        limits: { keepaliveIntervalMs: 300, keepaliveTimeoutMs: 300 },
      });
      const from = { ...relay.sent };
      await lun.write(0, DATA, { fua: true });
      assert.ok((await lun.read(0, DATA.length)).equals(DATA));
      const to = { ...relay.sent };
      const { connections } = relay;
      await lun.close();
      return { connections, from, to };
    } finally {
      await relay.close();
    }
  };

  for (const end of ['initiator', 'target'] as const) {
    test(`of the ${end}`, async () => {
      const { from, to } = await work(null);
      const step = Math.max(1, Math.floor((to[end] - from[end]) / SAMPLES));
      let again = 0;
      let within = 0;
      for (let at = from[end]; at < to[end]; at += step) {
        const { connections } = await work({ from: end, at });
        if (connections > 1) again++;
        else within++;
      }
      assert.ok(
        again > 0 && within > 0,
        `${again} sessions made anew, ${within} recoveries within a connection`,
      );
    });
  }
});
