/** Riser's software iWARP on the host, and the kernel's siw in the guest, as client and as server. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { IwarpProvider } from '../../src/rdma/index.js';
import { CliProcess } from '../../test/support/cli-process.js';
import { freePort } from '../../test/support/free-port.js';
import { End, until } from '../../test/support/verbs-pair.js';
import { PROGRAM, RDMA_HOST } from '../harness/host-riser.js';
import { addRdmaDevices, listening } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { exchange, postReceives, UCMATOSE_MESSAGES, UCMATOSE_PORT } from '../harness/ucmatose.js';

/** rping's own port; on the host it is another one, which leads to it. */
const PORT = 7174;
const forwarded = await freePort();
const RUNS = [
  { size: 64, count: 1000, crc: false },
  { size: 4096, count: 50, crc: true },
  { size: 65535, count: 50, crc: false },
  { size: 65535, count: 50, crc: true },
];
const ucmatosePort = await freePort();
const messages = UCMATOSE_MESSAGES.join(' ');

scenario(
  'siw',
  {
    capture: true,
    protocol: 'iWARP',
    forward: [
      [forwarded, PORT],
      [ucmatosePort, UCMATOSE_PORT],
    ],
  },
  (lab) => {
    before(() => addRdmaDevices(lab.guest));

    async function serving(options: string[], use: (port: number) => Promise<void>): Promise<void> {
      const port = await freePort();
      const args = ['rdma', 'serve', '--address', '127.0.0.1', '--port', String(port), '--verbose'];
      const riser = new CliProcess([...args, ...options], { program: [PROGRAM] });
      try {
        await riser.printed(/listening/);
        await use(port);
      } finally {
        const { exitCode, stdout, stderr } = await riser.stop();
        assert.equal(exitCode, 0, stdout + stderr);
        assert.doesNotMatch(stdout + stderr, /warn|error/i);
      }
    }

    for (const { size, count, crc } of RUNS) {
      const what = `${size} bytes${crc ? ', with CRC' : ''}`;
      // siw never asks for CRCs, and uses them when the other side does.
      const crcOption = crc ? ['--crc'] : [];

      test(`rping -c with Riser as its server, ${what}`, async () => {
        await serving(crcOption, async (port) => {
          const output = await lab.guest.sh(
            `rping -c -a ${RDMA_HOST} -p ${port} -C ${count} -S ${size} -v -V > /lab/rping-c.out; tail -n 2 /lab/rping-c.out`,
            { limit: 240 },
          );
          assert.match(output, new RegExp(`ping data: rdma-ping-${count - 1}: `));
        });
      });

      test(`riser rdma ping with rping -s as its server, ${what}`, async () => {
        const server = lab.guest.start(`rping -s -p ${PORT} -S ${size} -C ${count} -v > /lab/rping-s.out`, {
          limit: 240,
        });
        await lab.guest.sh(listening(PORT));
        const args = ['rdma', 'ping', '127.0.0.1', '--port', String(forwarded)];
        const how = [
          '--count',
          String(count),
          '--size',
          String(size),
          '--interval',
          '0.001',
          '--verify',
          '--json',
        ];
        const riser = new CliProcess([...args, ...how, ...crcOption], { program: [PROGRAM] });
        const { exitCode, stdout, stderr } = await riser.ended();
        assert.equal(exitCode, 0, stdout + stderr);
        const { sent, received } = JSON.parse(stdout) as Record<string, number>;
        assert.deepEqual([sent, received], [count, count]);
        await server.done;
        const said = readFileSync(lab.file('rping-s.out'), 'utf8');
        assert.equal(said.match(/server ping data: /g)?.length, count);
      });
    }

    for (const crc of [false, true]) {
      const how = crc ? 'with CRC' : 'without CRC';

      test(`ucmatose as client and as server of the library, ${how}`, async (t) => {
        const device = await new IwarpProvider({ crc, mayAnswerFirst: true }).open('iwarp');
        const [server, end] = [new End(device), new End(device)];
        let accepted = Promise.resolve();
        const listener = await device.listen(
          { address: '127.0.0.1', port: 0 },
          {
            requested: (request) => {
              server.attach(request);
              postReceives(server);
              accepted = request.accept();
            },
          },
        );
        t.after(async () => {
          server.close();
          end.close();
          await listener.close();
          await device.close();
        });
        const client = lab.guest.start(`ucmatose -s ${RDMA_HOST} -p ${listener.port} ${messages}`);
        await until(() => server.isAttached, 'the request of ucmatose');
        await accepted;
        // siw takes FPDUs that come along with the MPA Reply for a part of it, and fails.
        await delay(500);
        await exchange(server);
        // Who listened is to end it.
        server.connection.disconnect();
        assert.match(await client.done, /return status 0/);

        const served = lab.guest.start(`ucmatose -p ${UCMATOSE_PORT} ${messages}`);
        await lab.guest.sh(listening(UCMATOSE_PORT));
        end.attach(await device.resolve({ host: '127.0.0.1', port: ucmatosePort }));
        postReceives(end);
        await end.connection.connect();
        await exchange(end);
        end.connection.disconnect();
        assert.match(await served.done, /return status 0/);
      });
    }
  },
);
