/**
 * rping on the kernel's siw in the guest, and `riser rdma` on the host: Riser's own iWARP with another
 * implementation of it, in both roles.
 */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { CliProcess, type Outcome } from '../../test/support/cli-process.js';
import { freePort } from '../../test/support/free-port.js';
import { PROGRAM } from '../harness/host-riser.js';
import { addRdmaDevices, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';

/** The host's loopback, as the guest reaches it. */
const HOST = '10.0.2.2';
const RPING_PORT = 7174;
/** From rping's least to its most. */
const SIZES = [32, 1000, 65535];
const COUNT = 10;

const port = await freePort();
const riser = (...args: string[]): CliProcess => new CliProcess(['rdma', ...args], { program: [PROGRAM] });

scenario('rping', { forward: [[port, RPING_PORT]] }, (lab) => {
  let server: CliProcess;
  before(async () => {
    await addRdmaDevices(lab.guest);
    server = riser('serve', '--port', '0', '--json-logs');
  });
  after(() => server.stop('SIGKILL'));

  for (const size of SIZES) {
    test(`rping finds its ${size} bytes as it sent them to riser rdma serve`, async () => {
      const shown = await lab.guest.sh(
        `rping -c -a ${HOST} -p ${await server.port()} -C ${COUNT} -S ${size} -v -V`,
      );
      const lines = shown.split('\n').filter((line) => line.startsWith('ping data: '));
      assert.deepEqual(
        lines.map((line) => /^ping data: (rdma-ping-\d+): /.exec(line)?.[1]),
        Array.from({ length: COUNT }, (_, i) => `rdma-ping-${i}`),
      );
      assert.equal(lines[0]!.length, 'ping data: '.length + size - 1);
    });
  }

  test('riser rdma serve took each rping for a client that ended in order', async () => {
    for (let i = 1; i <= SIZES.length; i++) {
      const [, level, end] = await server.printed(
        new RegExp(`"level":"(\\w+)".*"msg":"client ${i} .* (ended.*)"`),
      );
      assert.deepEqual([level, end], ['info', `ended after ${COUNT} pings`]);
    }
  });

  test('riser rdma ping finds its bytes as it sent them to rping', async () => {
    await lab.guest.sh(`
      setsid rping -s -P -a ${SIW.address} -p ${RPING_PORT} -S ${SIZES.at(-1)!} >/lab/rping.log 2>&1 &
      until rdma resource show cm_id | grep -q 'state LISTEN.*:${RPING_PORT}'; do sleep 0.2; done`);
    for (const size of [1, ...SIZES]) {
      const { exitCode, stdout, stderr }: Outcome = await riser(
        ...['ping', '127.0.0.1', '--port', String(port), '--count', String(COUNT), '--size', String(size)],
        ...['--interval', '0.01', '--verify', '--json'],
      ).ended();
      assert.equal(exitCode, 0, stderr);
      assert.equal((JSON.parse(stdout) as { received: number }).received, COUNT);
    }
  });
});
