/** `riser rdma bench` as two processes. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CliProcess } from '../../../test/support/cli-process.js';
import { freePort } from '../../../test/support/free-port.js';

const ADDRESS = '127.0.0.1';

async function server(...args: string[]): Promise<{ process: CliProcess; port: string }> {
  const port = String(await freePort());
  const process = new CliProcess(['rdma', 'bench', '--address', ADDRESS, '--port', port, ...args]);
  await new Promise<void>((resolve, reject) => {
    process.child.stderr.on('data', (text: string) => {
      if (text.includes('waiting')) resolve();
    });
    process.child.once('exit', () => {
      reject(new Error('the server ended'));
    });
  });
  return { process, port };
}

const client = (port: string, ...args: string[]) =>
  new CliProcess(['rdma', 'bench', ADDRESS, '--port', port, ...args]).ended();

describe('riser rdma bench', { timeout: 180_000 }, () => {
  test('one server for all operations, of either kind, until a signal comes', async () => {
    const { process, port } = await server('--persistent');
    for (const operation of ['write', 'read', 'send']) {
      const options = ['--operation', operation, '--size', '8K', '--iterations', '200'];
      const bandwidth = await client(port, ...options);
      assert.equal(bandwidth.exitCode, 0, bandwidth.stderr);
      assert.match(
        bandwidth.stdout,
        new RegExp(`^${operation}, bandwidth, 8192 bytes, 200 iterations, with`),
      );
      assert.match(
        bandwidth.stdout,
        /^BYTES +ITERATIONS +PEAK MiB\/s +AVERAGE MiB\/s +MESSAGES\/s\n8192 +200 +[\d.]+ +[\d.]+ +\d+$/m,
      );
      const latency = await client(port, ...options, '--latency', '--json');
      assert.equal(latency.exitCode, 0, latency.stderr);
      const { result } = JSON.parse(latency.stdout) as { result: Record<string, number> };
      const { minimum, typical, p99, maximum } = result;
      assert.ok(minimum! > 0 && minimum! <= typical! && typical! <= p99! && p99! <= maximum!, latency.stdout);
    }
    const { exitCode, stdout } = await process.stop();
    assert.equal(exitCode, 0);
    assert.equal(stdout.match(/with 127\.0\.0\.1$/gm)!.length, 6);
  });

  test('a server serves one run unless told otherwise, and turns away who wants something else', async () => {
    const { process, port } = await server('--size', '4K', '--json');
    const other = await client(port, '--size', '8K', '--iterations', '10');
    assert.equal(other.exitCode, 1);
    assert.match(
      other.stderr,
      /^error: the server is told to measure .*4096 bytes.*8192 bytes.*\n.*same options/,
    );
    const right = await client(port, '--size', '4K', '--iterations', '10', '--json');
    assert.equal(right.exitCode, 0, right.stderr);
    const { exitCode, stdout } = await process.ended();
    assert.equal(exitCode, 0);
    const [theirs, mine] = [stdout, right.stdout].map(
      (text) => JSON.parse(text) as { size: number; result: { average: number } },
    );
    assert.equal(theirs!.size, 4096);
    assert.ok(Math.abs(theirs!.result.average / mine!.result.average - 1) < 1e-9);
  });

  test('nobody there, and no such host', async () => {
    const nobody = await client(String(await freePort()));
    assert.equal(nobody.exitCode, 1);
    assert.match(
      nobody.stderr,
      /^error: cannot connect to 127\.0\.0\.1 port \d+.*\n.*Check address and port/,
    );
    const nowhere = await new CliProcess(['rdma', 'bench', 'no-such-host.invalid']).ended();
    assert.equal(nowhere.exitCode, 1);
    assert.match(nowhere.stderr, /^error: there is no host "no-such-host\.invalid"/);
  });

  test('what makes no sense', async () => {
    for (const [args, message] of [
      [[ADDRESS, '--persistent'], /for the server/],
      [[ADDRESS, '--operation', 'atomic'], /Allowed choices are write, read, send/],
      [[ADDRESS, '--size', '65M'], /size of 68157440: from 1 to 67108864/],
      [['--iterations', '4'], /iterations of 4: from 5 to/],
    ] as const) {
      const { exitCode, stderr } = await new CliProcess(['rdma', 'bench', ...args]).ended();
      assert.equal(exitCode, 2, stderr);
      assert.match(stderr, message);
    }
  });
});
