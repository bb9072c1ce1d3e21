/** A session of several connections, initiator's side (RFC 7143 4.2.4), with Riser's target. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FlippingRelay } from '../../test/support/flipping-relay.js';
import { pattern } from '../../test/support/pattern.js';
import { TARGET_NAME, TestTarget } from '../../test/support/target.js';
import { until } from '../../test/support/verbs-pair.js';
import { MemoryDevice } from '../block/index.js';
import { connect, type Lun } from './index.js';
import { type ConnectOptions } from './connect.js';

const BLOCK = 4096;

describe('several connections of a session', () => {
  let target: TestTarget;
  let relay: FlippingRelay;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 4 << 20 }) }], {
      recovery: { maxConnections: 3, errorRecoveryLevel: 1 },
      // The connections share it: each depends on what the others hear.
      limits: { commandWindow: 4 },
    });
  });
  after(() => target.close());

  const withLun = (name: string, options: ConnectOptions, body: (lun: Lun) => Promise<void>): void => {
    test(name, async () => {
      relay = await FlippingRelay.start(target.port);
      const lun = await connect(`iscsi://127.0.0.1:${relay.port}/${TARGET_NAME}/0`, options);
      try {
        await body(lun);
      } finally {
        await lun.close();
        await relay.close();
      }
    });
  };

  const work = async (lun: Lun, seed: number): Promise<void> => {
    const indices = Array.from({ length: 200 }, (_, i) => i);
    await Promise.all(indices.map((i) => lun.write(i * BLOCK, pattern(BLOCK, seed + i))));
    const read = await Promise.all(indices.map((i) => lun.read(i * BLOCK, BLOCK)));
    read.forEach((data, i) => assert.ok(data.equals(pattern(BLOCK, seed + i)), `block ${i}`));
  };

  for (const dataDigest of [false, true]) {
    const options = { connections: 3, dataDigest, errorRecoveryLevel: dataDigest ? 1 : 0 } as const;
    withLun(
      `commands go by all of them${dataDigest ? ', with digests and recovery' : ''}`,
      options,
      async (lun) => {
        assert.equal(relay.connections, 3);
        assert.equal(target.server.sessions().length, 1);
        await work(lun, 1);
        assert.equal(relay.connections, 3, 'none was made anew');
      },
    );
  }

  withLun('as many as the target agrees on', { connections: 9 }, async (lun) => {
    assert.equal(relay.connections, 3);
    await work(lun, 300);
  });

  withLun('one unless asked for more', {}, async (lun) => {
    assert.equal(relay.connections, 1);
    await work(lun, 600);
  });

  withLun('when one is lost the others go on, and it is made anew', { connections: 3 }, async (lun) => {
    const tsih = target.server.sessions()[0]!.tsih;
    const working = work(lun, 900);
    relay.cut();
    await working;
    await until(() => relay.connections === 4, 'one more connection');
    assert.deepEqual(
      target.server.sessions().map((session) => session.tsih),
      [tsih],
    );
    await work(lun, 1200);
    assert.equal(relay.connections, 4);
  });

  withLun('a command is aborted on the connection that it went by', { connections: 3 }, async (lun) => {
    for (let i = 0; i < 6; i++) {
      const controller = new AbortController();
      const reading = lun.read(0, BLOCK, { signal: controller.signal });
      controller.abort();
      await reading.catch(() => undefined);
    }
    await work(lun, 1500);
    assert.equal(relay.connections, 3);
  });
});
