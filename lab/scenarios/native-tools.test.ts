/** rping, ucmatose and perftest with Riser by libibverbs, as clients and as servers, over rdma_rxe and over siw, all in one guest. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { OPERATIONS } from '../../src/rdma/bench/plan.js';
import { GUEST_PROGRAM } from '../harness/guest-riser.js';
import { addRdmaDevices, listening, type RdmaDevice, RXE, SIW } from '../harness/rdma.js';
import { type Lab, scenario } from '../harness/scenario.js';

/** rping's own port, and perftest's. */
const PING_PORT = 7174;
const BENCH_PORT = 18_515;
const SIZES = [64, 4096, 65_535];
const PINGS = 20;
/** Seconds for a script in which Riser starts. */
const LIMIT = 180;

scenario('native-tools', { limit: 1500 }, (lab) => {
  before(() => addRdmaDevices(lab.guest));

  for (const device of [RXE, SIW]) {
    pings(lab, device);
    benches(lab, device);
    messages(lab, device);

    test(`${device.name}: nothing of all that is left`, async () => {
      const left = await lab.guest.sh(`rdma resource show | grep '${device.name}:'`);
      assert.match(left, /pd \d+ cq \d+ qp \d+ cm_id 0 mr \d+ ctx 0/);
    });
  }
});

/** `server` runs in the background while `client` does; then it has to end by itself, or when `end` ends it. */
async function runPair(lab: Lab, server: string, port: number, client: string, end = ''): Promise<string> {
  return lab.guest.sh(
    `ulimit -l unlimited
    ${server} &
    trap 'kill $! 2>/dev/null || true' EXIT
    ${listening(port)}
    ${client}
    ${end}
    wait $!`,
    { limit: LIMIT },
  );
}

function pings(lab: Lab, { name, address }: RdmaDevice): void {
  test(`${name}: rping -c with Riser as its server`, async () => {
    const serve = `${GUEST_PROGRAM} rdma serve --device ${name} --address ${address} --port ${PING_PORT}`;
    const rping = (size: number): string =>
      `rping -c -a ${address} -p ${PING_PORT} -C ${PINGS} -S ${size} -v -V | grep -c '^ping data: rdma-ping-'`;
    const output = await runPair(
      lab,
      `${serve} >/lab/serve.out 2>&1`,
      PING_PORT,
      SIZES.map(rping).join('\n'),
      'kill -TERM $!',
    );
    assert.equal(output, SIZES.map(() => PINGS).join('\n'));
    const log = lab.read('serve.out').toString();
    assert.doesNotMatch(log, /warn|error/i);
    assert.equal(log.match(new RegExp(`ended after ${PINGS} pings`, 'g'))?.length, SIZES.length, log);
  });

  for (const size of SIZES) {
    test(`${name}: riser rdma ping with rping -s as its server, ${size} bytes`, async () => {
      const ping = `rdma ping ${address} --device ${name} --port ${PING_PORT} --count ${PINGS} --size ${size}`;
      const output = await runPair(
        lab,
        `rping -s -p ${PING_PORT} -S ${size} -C ${PINGS} -v >/lab/rping.out`,
        PING_PORT,
        `${GUEST_PROGRAM} ${ping} --interval 0.001 --verify --json`,
      );
      const { sent, received } = JSON.parse(output) as Record<string, number>;
      assert.deepEqual([sent, received], [PINGS, PINGS]);
      assert.equal(
        lab
          .read('rping.out')
          .toString()
          .match(/server ping data: /g)?.length,
        PINGS,
      );
    });
  }

  test(`${name}: riser rdma ping with riser rdma serve`, async () => {
    const by = `--device ${name} --port ${PING_PORT}`;
    const output = await runPair(
      lab,
      `${GUEST_PROGRAM} rdma serve --address ${address} ${by} >/lab/serve.out 2>&1`,
      PING_PORT,
      `${GUEST_PROGRAM} rdma ping ${address} ${by} --count ${PINGS} --interval 0.001 --verify --json`,
      'kill -TERM $!',
    );
    const { sent, received } = JSON.parse(output) as Record<string, number>;
    assert.deepEqual([sent, received], [PINGS, PINGS]);
  });
}

function benches(lab: Lab, { name, address }: RdmaDevice): void {
  for (const operation of OPERATIONS) {
    for (const isLatency of [false, true]) {
      const program = `ib_${operation}_${isLatency ? 'lat' : 'bw'}`;
      // More than receives that are posted at a time.
      const [size, iterations] = isLatency ? [101, 100] : [65_536, 1000];
      const perftest = `timeout 100 ${program} -R -F -d ${name} -s ${size} -n ${iterations}`;
      const riser = `${GUEST_PROGRAM} rdma bench --device ${name} --operation ${operation}${isLatency ? ' --latency' : ''} \\
        --size ${size} --iterations ${iterations} --json`;
      // The server of a latency test of reads has nothing to do, and nothing to tell.
      const isOneSided = isLatency && operation === 'read';
      const assertResult = (file: string): void => {
        const { result } = JSON.parse(lab.read(file).toString()) as {
          result: { size: number; iterations: number };
        };
        assert.deepEqual([result.size, result.iterations], [size, iterations]);
      };
      // How fast it was perftest may not know: it measures the clock of the processor, which emulation may not have.
      const assertMeasured = (file: string): void =>
        assert.match(lab.read(file).toString(), new RegExp(`^ *${size} +${iterations} +\\S+ +\\S+`, 'm'));

      test(`${name}: ${program} as the client of riser rdma bench`, async () => {
        await runPair(
          lab,
          `${riser} --address ${address} >/lab/riser.json`,
          BENCH_PORT,
          `${perftest} ${address} >/lab/perftest.out`,
        );
        assertMeasured('perftest.out');
        if (!isOneSided) assertResult('riser.json');
      });

      test(`${name}: ${program} as the server of riser rdma bench`, async () => {
        await runPair(
          lab,
          `${perftest} >/lab/perftest.out`,
          BENCH_PORT,
          `${riser} ${address} >/lab/riser.json`,
        );
        assertResult('riser.json');
        if (!isOneSided) assertMeasured('perftest.out');
      });
    }
  }
}

function messages(lab: Lab, { name, address }: RdmaDevice): void {
  test(`${name}: ucmatose as client and as server of the library`, async () => {
    const output = await lab.guest.sh(
      `cd /riser
      ulimit -l unlimited
      RISER_DEVICE=${name} RISER_ADDRESS=${address} \\
        node --import tsx --test --test-reporter=tap lab/guest-tests/ucmatose.ts`,
      { limit: LIMIT },
    );
    assert.match(output, /^# pass 2$/m);
    assert.match(output, /^# fail 0$/m);
  });
}
