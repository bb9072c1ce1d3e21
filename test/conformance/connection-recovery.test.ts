/**
 * Connections are cut at the boundaries of PDUs and inside of them, at ErrorRecoveryLevel 2: Riser's initiator reassigns what Riser's target
 * has kept (RFC 7143 7.1.4.3). Data is right, what must not be carried out twice is carried out once, and the session stays the same.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MemoryDevice } from '../../src/block/index.js';
import { connect, type Lun } from '../../src/initiator/index.js';
import { Bhs, BHS_LENGTH } from '../../src/iscsi/wire/headers.js';
import { FlippingRelay } from '../support/flipping-relay.js';
import { pattern } from '../support/pattern.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';
import { until } from '../support/verbs-pair.js';

const BLOCK = 512;
const SIZE = 8 * 1024;
const COUNTER = 100 * BLOCK;

/** Small bursts, so that there are many PDUs; and how data goes out. */
const WAYS = {
  'what goes out is asked for': { initialR2T: true, immediateData: false },
  'what goes out goes at once': { initialR2T: false, immediateData: true },
};
type End = 'initiator' | 'target';

const counter = (value: number): Buffer => Buffer.alloc(BLOCK, value);

for (const connections of [1, 2]) {
  for (const [way, keys] of Object.entries(WAYS)) {
    describe(`a cut anywhere with ${connections} connection(s), ${way}`, () => {
      const recovery = {
        errorRecoveryLevel: 2,
        maxConnections: connections,
        targetMaxRecvDataSegmentLength: 1024,
        maxBurstLength: 2048,
        firstBurstLength: 1024,
        ...keys,
      } as const;

      /** Writes, reads and counts; tells the ends' streams, where the login ended, and how many connections there were. */
      const work = async (
        target: TestTarget,
        sever: FlippingRelay['sever'],
      ): Promise<{ connections: number; from: FlippingRelay['sent']; heard: FlippingRelay['heard'] }> => {
        const relay = await FlippingRelay.start(target.port);
        let lun: Lun | null = null;
        relay.sever = sever;
        try {
          lun = await connect(`iscsi://127.0.0.1:${relay.port}/${TARGET_NAME}/0`, {
            errorRecoveryLevel: 2,
            connections,
          });
          const sessions = target.server.sessions();
          const from = { ...relay.sent };
          await lun.write(COUNTER, counter(1));
          for (let i = 1; i < 4; i++) {
            const data = pattern(SIZE, i);
            const [isCounted, bytes] = await Promise.all([
              lun.compareAndWrite(COUNTER, counter(i), counter(i + 1)),
              lun.read(SIZE, SIZE),
              lun.write(0, data),
              lun.write(2 * SIZE, data, { fua: true }),
            ]);
            assert.ok(isCounted, `count ${i} was carried out once`);
            assert.ok(bytes.equals(pattern(SIZE, 9)));
            assert.ok((await lun.read(0, SIZE)).equals(data));
            assert.ok((await lun.read(2 * SIZE, SIZE)).equals(data));
          }
          assert.ok((await lun.read(COUNTER, BLOCK)).equals(counter(4)));
          assert.deepEqual(
            target.server.sessions().map(({ tsih }) => tsih),
            sessions.map(({ tsih }) => tsih),
            'the same session',
          );
          // Only up to the logout: whoever does not get that through leaves a session that waits.
          relay.sever = null;
          const heard = { initiator: [...relay.heard.initiator], target: [...relay.heard.target] };
          const count = relay.connections;
          await lun.close();
          await until(() => target.server.sessions().length === 0, 'the end of the session');
          return { connections: count, from, heard };
        } finally {
          await lun?.close();
          await relay.close();
        }
      };

      for (const end of ['initiator', 'target'] as End[]) {
        test(`by the ${end}`, async () => {
          const target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }], {
            recovery,
            // What leaked with each cut would be missed soon.
            limits: { bufferBytes: 3 << 20 },
          });
          try {
            const lun = await connect(`iscsi://127.0.0.1:${target.port}/${TARGET_NAME}/0`);
            await lun.write(SIZE, pattern(SIZE, 9));
            await lun.close();
            const { from, heard } = await work(target, null);
            let cuts = 0;
            for (const at of places(Buffer.concat(heard[end]), from[end])) {
              if ((await work(target, { from: end, at })).connections > connections) cuts++;
            }
            assert.ok(cuts > 50, `${cuts} cuts`);
          } finally {
            await target.close();
          }
        });
      }
    });
  }
}

/** The boundaries of PDUs behind `from`, and places inside of their headers and their data. */
function places(stream: Buffer, from: number): number[] {
  const found: number[] = [];
  for (let at = from; at + BHS_LENGTH <= stream.length;) {
    const length = Bhs.dataSegmentLength.get(stream.subarray(at, at + BHS_LENGTH));
    found.push(at, at + 20);
    if (length > 0) found.push(at + BHS_LENGTH, at + BHS_LENGTH + (length >> 1));
    at += BHS_LENGTH + ((length + 3) & ~3);
  }
  return found;
}
