/** `riser rdma` as processes: devices, and ping against serve and against what is no such server. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';

import { CliProcess, type Outcome } from '../../test/support/cli-process.js';
import { freePort } from '../../test/support/free-port.js';
import { describeReports } from './rdma/devices.js';

const started = new Set<CliProcess>();

function riser(...args: string[]): CliProcess {
  const process = new CliProcess(['rdma', ...args]);
  started.add(process);
  void process.ended().then(() => started.delete(process));
  return process;
}

const run = (...args: string[]): Promise<Outcome> => riser(...args).ended();

async function json(...args: string[]): Promise<Record<string, unknown>> {
  const { exitCode, stdout, stderr } = await run(...args, '--json');
  assert.equal(exitCode, 0, stderr);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** A server on a port of its own, with its log in JSON. */
const serve = (...args: string[]): CliProcess => riser('serve', '-p', '0', '--json-logs', ...args);
const ping = (port: number, ...args: string[]): CliProcess =>
  riser('ping', '127.0.0.1', '-p', String(port), ...args);

after(() => Promise.all([...started].map((process) => process.stop('SIGKILL'))));

describe('riser rdma devices', () => {
  test('lists what there is, with addresses', async () => {
    const { exitCode, stdout } = await run('devices');
    assert.equal(exitCode, 0);
    assert.match(
      stdout,
      /^PROVIDER +DEVICE +TRANSPORT +STATE +ADDRESSES\niwarp +iwarp +iWARP +ACTIVE +.*127\.0\.0\.1/,
    );
    const { providers } = await json('devices');
    const [iwarp] = providers as { provider: string; isUsable: boolean; reason: string; devices: object[] }[];
    const { provider, isUsable, reason, devices } = iwarp!;
    assert.deepEqual([provider, isUsable], ['iwarp', true]);
    assert.match(reason, /^in software, over TCP/);
    const { addresses, ...device } = devices[0] as { addresses: string[] };
    assert.deepEqual(device, { name: 'iwarp', transport: 'iWARP', state: 'ACTIVE' });
    assert.ok(addresses.includes('127.0.0.1'));
  });

  test('shows ports, each with its GIDs', () => {
    const port = { number: 1, state: 'ACTIVE', activeMtu: 4096 };
    const gid = {
      index: 3,
      gid: '::ffff:192.0.2.1',
      type: 'RoCE v2',
      address: '192.0.2.1',
      interface: 'eth1',
    };
    const device = { state: 'ACTIVE', addresses: ['192.0.2.1'] };
    const text = describeReports([
      {
        provider: 'verbs',
        isUsable: true,
        reason: '',
        devices: [
          { ...device, name: 'mlx5_0', transport: 'RoCE', ports: [{ ...port, gids: [gid] }] },
          { ...device, name: 'siw0', transport: 'iWARP', ports: [{ ...port, activeMtu: null, gids: [] }] },
        ],
      },
    ]);
    assert.match(text, /\nmlx5_0 +1 +ACTIVE +4096 +3 +RoCE v2 +::ffff:192\.0\.2\.1 +192\.0\.2\.1 +eth1\n/);
    assert.match(text, /\nsiw0 +1 +ACTIVE +- +- /);
  });

  test('says why a provider is not usable, or has none', () => {
    const reason = 'libibverbs is not installed';
    const text = describeReports([
      { provider: 'verbs', isUsable: false, reason, devices: [] },
      { provider: 'other', isUsable: true, reason: 'version 1', devices: [] },
    ]);
    assert.match(text, /\nverbs +- +- +not usable +libibverbs is not installed\n/);
    assert.match(text, /\nother +- +- +no devices +version 1\n$/);
  });
});

describe('riser rdma ping', () => {
  let server: CliProcess;
  let port: number;
  before(async () => {
    server = serve();
    port = await server.port();
  });

  for (const size of [1, 64, 4096, 65536]) {
    test(`measures round trips of ${size} bytes`, async () => {
      const { minimumMs, averageMs, maximumMs, ...rest } = await json(
        ...['ping', 'localhost', '-p', String(port), '-C', '5', '-i', '0.001', '-V', '-S', String(size)],
      );
      const counts = { sent: 5, received: 5 };
      const where = { host: 'localhost', address: '127.0.0.1', port, device: 'iwarp', pathMtu: null };
      assert.deepEqual(rest, { ...where, size, verified: true, ...counts });
      const times = [0, minimumMs, averageMs, maximumMs] as number[];
      assert.deepEqual(
        times,
        times.toSorted((a, b) => a - b),
      );
    });
  }

  test('shows the data, as the server does', async () => {
    const showing = serve('--verbose');
    const { exitCode, stdout } = await ping(
      await showing.port(),
      ...[
        '--count',
        '2',
        '--interval',
        '0.001',
        '--size',
        '16',
        '--verbose',
        '--verify',
        '--device',
        'iwarp',
      ],
    ).ended();
    assert.equal(exitCode, 0);
    assert.match(
      stdout,
      /^16 bytes from 127\.0\.0\.1:\d+: seq=1 time=\S+ ms\nping data: rdma-ping-0: AB\n16 .* ms\nping data: rdma-ping-1: BC\n2 sent, 2 received; min\/avg\/max /,
    );
    const line = await showing.logged('ping data: rdma-ping-1: BC');
    assert.deepEqual([line['client'], line['address']], [1, '127.0.0.1']);
    const { pings } = await showing.logged('client 1 (127.0.0.1) ended after 2 pings');
    assert.equal(pings, 2);
    assert.equal((await showing.stop('SIGINT')).exitCode, 0);
  });

  test('runs several at once, until a signal stops it', async () => {
    const clients = [1, 2, 3].map(() => ping(port, '-i', '0.005', '-V', '-S', '5000'));
    await Promise.all(clients.map((client) => client.printed(/seq=5 /)));
    for (const client of clients) {
      const { exitCode, stdout, stderr } = await client.stop('SIGINT');
      assert.equal(exitCode, 0, stderr);
      const [, sent, received] = /(\d+) sent, (\d+) received; min/.exec(stdout)!;
      assert.equal(sent, received);
    }
  });

  test('ends with its server, killed or stopped', async () => {
    for (const [signal, exitCode] of [
      ['SIGKILL', null],
      ['SIGINT', 0],
    ] as const) {
      const own = serve();
      const client = ping(await own.port(), '-i', '0.01');
      await client.printed(/seq=3 /);
      assert.equal((await own.stop(signal)).exitCode, exitCode);
      const outcome = await client.ended();
      assert.equal(outcome.exitCode, 1);
      assert.match(outcome.stderr, /^no answer to seq=\d+: .*(closed|ECONNRESET|EPIPE).*\n$/);
      const [, sent, received] = /(\d+) sent, (\d+) received; min/.exec(outcome.stdout)!;
      assert.equal(Number(sent), Number(received) + 1);
    }
  });

  test('says what is wrong, and what to do', async () => {
    const cases: [string[], number, RegExp][] = [
      [['no-such-host.invalid'], 1, /^error: there is no host "no-such-host\.invalid"\n/],
      [
        ['127.0.0.1', '-p', String(await freePort())],
        1,
        /^error: cannot connect to 127\.0\.0\.1 port .*\nCheck/,
      ],
      [['127.0.0.1', '-p', '0'], 2, /^error: "0" is no whole number from 1 to 65535\n/],
      [['127.0.0.1', '-S', '0'], 2, /^error: "0" is no whole number from 1 to 65536\n/],
      [['127.0.0.1', '-S', '65537'], 2, /^error: "65537" is no whole number from 1 to 65536\n/],
      [['127.0.0.1', '-v', '--json'], 2, /^error: option .* cannot be used with option/],
      [['127.0.0.1', '--device', 'none'], 1, /^error: there is no RDMA device "none"\n.*riser rdma devices/],
    ];
    for (const [args, exitCode, message] of cases) {
      const outcome = await run('ping', ...args);
      assert.equal(outcome.exitCode, exitCode, outcome.stderr);
      assert.match(outcome.stderr, message);
      assert.equal(outcome.stdout, '');
    }
  });

  test('gives up on servers that are none: silent, garbage, gone', async () => {
    const peers: [(socket: Socket) => void, RegExp][] = [
      [() => undefined, /^error: .* within \S+ s\n$/],
      [(socket) => socket.write('220 mail.example ESMTP ready for whatever comes\r\n'), /^error: .+\n/],
      [(socket) => socket.end(), /^error: the peer closed the connection in MPA's startup\nCheck/],
    ];
    for (const [behave, message] of peers) {
      const sockets = new Set<Socket>();
      const other = createServer((socket) => {
        sockets.add(socket.on('error', () => undefined));
        behave(socket);
      }).listen(0, '127.0.0.1');
      await once(other, 'listening');
      const outcome = await ping((other.address() as AddressInfo).port, '--timeout', '1').ended();
      assert.equal(outcome.exitCode, 1);
      assert.match(outcome.stderr, message);
      for (const socket of sockets) socket.destroy();
      other.close();
    }
  });
});

describe('riser rdma serve', () => {
  test('drops a client that is silent, and tells why', async () => {
    const server = serve('--timeout', '0.2');
    const client = ping(await server.port(), '-i', '60');
    await client.printed(/seq=1 /);
    const line = await server.logged(
      'client 1 (127.0.0.1) ended after 1 pings: the peer was silent for 0.2 s',
    );
    assert.equal(line.level, 'warn');
    await client.stop('SIGINT');
    assert.equal((await server.stop('SIGTERM')).exitCode, 0);
  });

  test('says what is wrong, and what to do', async () => {
    const server = serve();
    const cases: [string[], number, RegExp][] = [
      [
        ['-p', String(await server.port())],
        1,
        /^error: cannot listen on .*EADDRINUSE.*\nChoose another port/,
      ],
      [['-a', 'everywhere'], 2, /^error: "everywhere" is not an IP address\nWrite/],
      [['-p', '65536'], 2, /^error: "65536" is no whole number from 0 to 65535\n/],
      [['--device', 'none'], 1, /^error: there is no RDMA device "none"\n/],
    ];
    for (const [args, exitCode, message] of cases) {
      const outcome = await run('serve', ...args);
      assert.equal(outcome.exitCode, exitCode, outcome.stderr);
      assert.match(outcome.stderr, message);
    }
    await server.stop();
  });
});
