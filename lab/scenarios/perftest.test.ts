/** `riser rdma bench` on the host, and perftest on the kernel's siw in the guest, as client and as server. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { type Operation, OPERATIONS } from '../../src/rdma/bench/plan.js';
import { CliProcess } from '../../test/support/cli-process.js';
import { freePort } from '../../test/support/free-port.js';
import { usesOfCrc } from '../harness/capture.js';
import { PROGRAM, RDMA_HOST } from '../harness/host-riser.js';
import { addRdmaDevices, listening, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';

/** perftest's own port; on the host it is another one, which leads to it. */
const PORT = 18_515;
const forwarded = await freePort();

interface Run {
  operation: Operation;
  isLatency: boolean;
  size: number;
  iterations: number;
  crc: boolean;
}

scenario('perftest', { capture: true, protocol: 'iWARP', forward: [[forwarded, PORT]] }, (lab) => {
  before(() => addRdmaDevices(lab.guest));

  for (const run of runs()) {
    const { operation, isLatency, size, iterations, crc } = run;
    const program = `ib_${operation}_${isLatency ? 'lat' : 'bw'}`;
    const what = `${program}, ${size} bytes, ${crc ? 'with' : 'without'} CRC`;
    // The server has nothing to do, and nothing to tell.
    const isOneSided = isLatency && operation === 'read';
    const perftest = `timeout 60 ${program} -R -F -d ${SIW.name} -s ${size} -n ${iterations}`;
    const riser = (...args: string[]) =>
      new CliProcess(['rdma', 'bench', ...args, ...optionsOf(run)], { program: [PROGRAM] });

    test(`${what}: perftest is the client`, async () => {
      const port = await freePort();
      const server = riser('--address', '127.0.0.1', '--port', String(port));
      await server.noted(/waiting for a client/);
      const output = await lab.guest.sh(`${perftest} -p ${port} ${RDMA_HOST}`);
      const { exitCode, stdout, stderr } = await server.ended();
      assert.equal(exitCode, 0, stdout + stderr);
      assertMeasured(output, run);
      if (!isOneSided) assertResult(stdout, run);
    });

    test(`${what}: perftest is the server`, async () => {
      const server = lab.guest.start(perftest);
      await lab.guest.sh(listening(PORT));
      const { exitCode, stdout, stderr } = await riser('127.0.0.1', '--port', String(forwarded)).ended();
      // It would wait for ever, where the next one is to listen.
      if (exitCode !== 0) await lab.guest.run(`pkill -x ${program}`);
      assert.equal(exitCode, 0, stdout + stderr);
      assertResult(stdout, run);
      const output = await server.done;
      if (!isOneSided) assertMeasured(output, run);
    });
  }

  test('CRCs are used where they were asked for', async () => {
    const uses = await usesOfCrc(lab.file('eth0.pcap'));
    // Two connections a run, as client and as server.
    const connections = runs().length * 2;
    for (const crc of [false, true]) assert.equal(uses.filter((one) => one === crc).length, connections);
  });
});

/** All six programs, each with small messages and with large ones. */
function runs(): Run[] {
  return [false, true].flatMap((crc) =>
    OPERATIONS.flatMap((operation) =>
      [false, true].map((isLatency) => ({
        operation,
        isLatency,
        size: crc === isLatency ? 65_536 : 101,
        iterations: isLatency ? 20 : 100,
        crc,
      })),
    ),
  );
}

function optionsOf({ operation, isLatency, size, iterations, crc }: Run): string[] {
  return [
    '--operation',
    operation,
    ...(isLatency ? ['--latency'] : []),
    '--size',
    String(size),
    '--iterations',
    String(iterations),
    ...(crc ? ['--crc'] : []),
    '--json',
  ];
}

/**
 * perftest printed its line of results. How fast it was it may not know: it measures the clock of the processor, which an
 * emulated one does not always have, and then says 0.
 */
function assertMeasured(output: string, { size, iterations }: Run): void {
  assert.match(output, new RegExp(`^ *${size} +${iterations} +\\S+ +\\S+`, 'm'));
}

function assertResult(stdout: string, { size, iterations }: Run): void {
  const { result } = JSON.parse(stdout) as { result: { size: number; iterations: number } };
  assert.deepEqual([result.size, result.iterations], [size, iterations]);
}
