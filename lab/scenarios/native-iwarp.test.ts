/** Riser by libibverbs on the kernel's siw in the guest, and Riser with iWARP in software on the host, each as the other's client. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { before, test } from 'node:test';

import { OPERATIONS } from '../../src/rdma/bench/plan.js';
import { CliProcess } from '../../test/support/cli-process.js';
import { freePort } from '../../test/support/free-port.js';
import { GUEST_PROGRAM } from '../harness/guest-riser.js';
import { PROGRAM, RDMA_HOST } from '../harness/host-riser.js';
import { END_WITH_THIS_PROCESS } from '../harness/qemu.js';
import { addRdmaDevices, listening, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';

/** Ports of the guest; on the host they are others, which lead to them. */
const PING_PORT = 7174;
const BENCH_PORT = 18_515;
const pingPort = await freePort();
const benchPort = await freePort();
const PINGS = 20;
const PID_FILE = '/run/riser.pid';
const SIZES = [64, 65_536];
/** Seconds for a script in which Riser runs. */
const LIMIT = 180;

/** Finds the way to the host again and again, whose link address the guest has forgotten. */
const FINDER = `
  import { execFileSync } from 'node:child_process';
  import { NativeProvider } from '/riser/dist/rdma/index.js';
  const device = await new NativeProvider().open('${SIW.name}');
  for (let left = 20; left > 0; left--) {
    execFileSync('ip', ['neighbour', 'flush', 'to', '${RDMA_HOST}']);
    const connection = await device.resolve({ host: '${RDMA_HOST}', port: 1 });
    connection.close();
  }
  await device.close();
  console.log('found');`;

scenario(
  'native-iwarp',
  {
    limit: 1200,
    capture: true,
    protocol: 'iWARP',
    forward: [
      [pingPort, PING_PORT],
      [benchPort, BENCH_PORT],
    ],
  },
  (lab) => {
    before(() => addRdmaDevices(lab.guest));

    const inGuest = (args: string): string =>
      `ulimit -l unlimited; echo $$ >${PID_FILE}; exec ${GUEST_PROGRAM} rdma ${args} --device ${SIW.name}`;
    const onHost = (args: string): CliProcess =>
      new CliProcess(['rdma', ...args.split(' '), '--device', 'iwarp'], {
        program: [PROGRAM],
        wrapper: END_WITH_THIS_PROCESS,
      });

    test('a host whose link address has to be asked for is found', async () => {
      writeFileSync(lab.file('finder.mjs'), FINDER);
      assert.equal(await lab.guest.sh('node /lab/finder.mjs', { limit: LIMIT }), 'found');
    });

    for (const crc of ['--crc', '--no-crc']) {
      for (const size of SIZES) {
        const how = `--count ${PINGS} --size ${size} --interval 0.001 --verify --json`;
        const assertAnswered = (output: string): void => {
          const { sent, received } = JSON.parse(output) as Record<string, number>;
          assert.deepEqual([sent, received], [PINGS, PINGS]);
        };

        test(`ping of ${size} bytes from the guest, ${crc}`, async () => {
          const port = await freePort();
          const server = onHost(`serve --address 127.0.0.1 --port ${port} ${crc}`);
          await server.printed(/listening/);
          assertAnswered(
            await lab.guest.sh(inGuest(`ping ${RDMA_HOST} --port ${port} ${how}`), { limit: LIMIT }),
          );
          const { exitCode, stdout, stderr } = await server.stop();
          assert.equal(exitCode, 0, stdout + stderr);
          assert.doesNotMatch(stdout + stderr, /warn|error/i);
        });

        test(`ping of ${size} bytes from the host, ${crc}`, async () => {
          const server = lab.guest.start(
            `${inGuest(`serve --address ${SIW.address} --port ${PING_PORT}`)} 2>&1`,
            { limit: LIMIT },
          );
          await lab.guest.sh(listening(PING_PORT));
          const { exitCode, stdout, stderr } = await onHost(
            `ping 127.0.0.1 --port ${pingPort} ${how} ${crc}`,
          ).ended();
          await lab.guest.sh(`kill -TERM $(cat ${PID_FILE})`);
          assert.equal(exitCode, 0, stdout + stderr);
          assertAnswered(stdout);
          assert.doesNotMatch(await server.done, /warn|error/i);
        });
      }
    }

    for (const operation of OPERATIONS) {
      for (const isLatency of [false, true]) {
        const what = `${operation}, ${isLatency ? 'latency' : 'bandwidth'}`;
        const [size, iterations] = isLatency ? [101, 100] : [65_536, 600];
        const plan = `--operation ${operation}${isLatency ? ' --latency' : ''} --size ${size} --iterations ${iterations} --json`;
        const assertResults = (client: string, server: string): void => {
          for (const output of [client, server]) {
            const { result } = JSON.parse(output) as { result: { size: number; iterations: number } | null };
            // The server of a latency test of reads has nothing to tell.
            if (output === server && isLatency && operation === 'read') assert.equal(result, null);
            else assert.deepEqual([result!.size, result!.iterations], [size, iterations]);
          }
        };

        test(`bench from the guest: ${what}`, async () => {
          const port = await freePort();
          const server = onHost(`bench --address 127.0.0.1 --port ${port} ${plan}`);
          await server.noted(/waiting for a client/);
          const client = await lab.guest.sh(inGuest(`bench ${RDMA_HOST} --port ${port} ${plan}`), {
            limit: LIMIT,
          });
          const { exitCode, stdout, stderr } = await server.ended();
          assert.equal(exitCode, 0, stdout + stderr);
          assertResults(client, stdout);
        });

        test(`bench from the host: ${what}`, async () => {
          const server = lab.guest.start(
            inGuest(`bench --port ${BENCH_PORT} --address ${SIW.address} ${plan}`),
            {
              limit: LIMIT,
            },
          );
          await lab.guest.sh(listening(BENCH_PORT));
          const { exitCode, stdout, stderr } = await onHost(
            `bench 127.0.0.1 --port ${benchPort} ${plan}`,
          ).ended();
          assert.equal(exitCode, 0, stdout + stderr);
          assertResults(stdout, await server.done);
        });
      }
    }
  },
);
