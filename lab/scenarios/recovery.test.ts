/**
 * Riser's initiator on the host recovers at ErrorRecoveryLevel 1 with the kernel's target, LIO, in the guest: a relay between them damages a
 * byte (RFC 7143 7.1.4.1, 7.8). The data is right in the end. Data-Out is left alone: LIO survives its damage by luck only (docs/PEERS.md).
 */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { connect } from '../../src/initiator/index.js';
import { Bhs, BHS_LENGTH } from '../../src/iscsi/wire/headers.js';
import { FlippingRelay } from '../../test/support/flipping-relay.js';
import { freePort } from '../../test/support/free-port.js';
import { pattern } from '../../test/support/pattern.js';
import { type Lio, startLio } from '../harness/lio.js';
import { scenario } from '../harness/scenario.js';

/** More than goes with a command: some of it is asked for. */
const DATA = pattern(256 * 512, 5);
/** How many bytes are damaged, one after the other, in each test. */
const SAMPLES = 10;
const DIGEST_LENGTH = 4;
const port = await freePort();

scenario('recovery', { capture: true, forward: [[port, 3260]] }, (lab) => {
  let lio: Lio;
  before(async () => {
    lio = await startLio(lab.guest, { portal: '0.0.0.0:3260', errorRecoveryLevel: 1 });
  });

  /** Writes and reads; tells how many connections that took, and what went over the first one behind the login. */
  async function work(
    flip: FlippingRelay['flip'],
  ): Promise<{ connections: number; from: FlippingRelay['sent']; heard: FlippingRelay['heard'] }> {
    const relay = await FlippingRelay.start(port);
    relay.flip = flip;
    try {
      const lun = await connect(`iscsi://127.0.0.1:${relay.port}/${lio.target}/${lio.lun}`, {
        errorRecoveryLevel: 1,
        headerDigest: true,
        dataDigest: true,
      });
      const from = { ...relay.sent };
      await lun.write(0, DATA, { fua: true });
      assert.ok((await lun.read(0, DATA.length)).equals(DATA));
      const heard = { initiator: [...relay.heard.initiator], target: [...relay.heard.target] };
      const { connections } = relay;
      await lun.close();
      return { connections, from, heard };
    } finally {
      await relay.close();
    }
  }

  test('damaged Data-In is sent again within the connection', async () => {
    const { from, heard } = await work(null);
    for (const at of spread(places(Buffer.concat(heard.target), from.target).data)) {
      const { connections } = await work({ from: 'target', at });
      assert.equal(connections, 1, `byte ${at} from the target`);
    }
  });

  for (const end of ['initiator', 'target'] as const) {
    test(`behind a damaged header from the ${end} the session is made anew`, async () => {
      const { from, heard } = await work(null);
      for (const at of spread(places(Buffer.concat(heard[end]), from[end]).headers)) {
        const { connections } = await work({ from: end, at });
        assert.equal(connections, 2, `byte ${at}`);
      }
    });
  }
});

/** The bytes of headers and of data segments in a stream of PDUs with digests, from place `from` on, where one begins. */
function places(stream: Buffer, from: number): { headers: number[]; data: number[] } {
  const headers: number[] = [];
  const data: number[] = [];
  for (let at = from; at + BHS_LENGTH <= stream.length;) {
    const length = Bhs.dataSegmentLength.get(stream.subarray(at, at + BHS_LENGTH));
    for (let i = 0; i < BHS_LENGTH + DIGEST_LENGTH; i++) headers.push(at++);
    if (length > 0) for (let i = 0; i < ((length + 3) & ~3) + DIGEST_LENGTH; i++) data.push(at++);
  }
  return { headers, data };
}

function spread(all: readonly number[]): number[] {
  assert.ok(all.length > SAMPLES);
  return Array.from({ length: SAMPLES }, (_, i) => all[Math.floor(((i + 0.5) * all.length) / SAMPLES)]!);
}
