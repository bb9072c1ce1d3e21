/** What `riser doctor` says of a portal: a target, an iWARP server, nobody, somebody else. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';

import { CliProcess } from '../../../test/support/cli-process.js';
import { fakeMachine } from '../../../test/support/fake-machine.js';
import { freePort } from '../../../test/support/free-port.js';
import { PortalRelay } from '../../../test/support/portal-relay.js';
import { RawIwarp, startupFrame } from '../../../test/support/raw-iwarp.js';
import { TARGET_NAME, TestTarget } from '../../../test/support/target.js';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { skipTgtd, Tgtd } from '../../../test/support/tgtd.js';
import { MemoryDevice } from '../../block/index.js';
import { IwarpProvider, type RdmaConnection } from '../../rdma/index.js';
import { parsePortalOrUrl } from '../connection-options.js';
import { Interruption } from '../interruption.js';
import { inspectMachine, verdictOf } from './doctor.js';
import type { Finding } from './finding.js';
import { inspectPortal, type PortalReport } from './portal.js';

const folder = temporaryFolder();
const { machine } = fakeMachine({});

async function inspect(portal: string, timeout = 5000): Promise<PortalReport> {
  const interruption = new Interruption();
  try {
    const asked = portal.startsWith('iser:') ? 'iSER' : portal.startsWith('iscsi:') ? 'iSCSI over TCP' : null;
    return await inspectPortal(machine, parsePortalOrUrl(portal), asked, { timeout }, interruption);
  } finally {
    interruption.dispose();
  }
}

const said = ({ findings }: PortalReport): string[] => findings.map(({ state, says }) => `${state}: ${says}`);

/** Serve software iWARP, and treat every request with `treat`. */
async function iwarpServer(
  treat: (request: RdmaConnection, privateData: Buffer) => void,
): Promise<{ port: number; close: () => Promise<void> }> {
  const device = await new IwarpProvider().open('iwarp');
  const domain = device.allocateProtectionDomain();
  const queue = device.createCompletionQueue(8);
  const ends: Promise<void>[] = [];
  const listener = await device.listen(
    { address: '127.0.0.1', port: 0 },
    {
      requested: (request, { privateData }) => {
        ends.push(
          new Promise<void>((resolve) => {
            const options = {
              sendQueue: queue,
              receiveQueue: queue,
              maxSendRequests: 1,
              maxReceiveRequests: 1,
            };
            request.createQueuePair(domain, options, {
              disconnected: () => {
                resolve();
              },
            });
          }).then(() => {
            request.close();
          }),
        );
        treat(request, privateData);
      },
    },
  );
  const close = async (): Promise<void> => {
    await listener.close();
    await Promise.all(ends);
    queue.close();
    domain.close();
    await device.close();
  };
  return { port: listener.port, close };
}

/** A TCP server that does `behave` with everybody. */
async function tcpServer(behave: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  let isConnected: () => void = () => undefined;
  /** Resolves when somebody has come. */
  const connected = new Promise<void>((resolve) => (isConnected = resolve));
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    isConnected();
    behave(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { port: (server.address() as AddressInfo).port, connected, close };
}

describe('riser doctor at a portal', { timeout: 120_000 }, () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }]);
  });
  after(() => target.close());

  /** The target's portal as one that has iSCSI over TCP only. */
  async function tcpOnly<T>(iser: 'close' | 'wait', use: (portal: string) => Promise<T>): Promise<T> {
    const relay = await PortalRelay.start(() => target.port, { iser });
    try {
      return await use(`127.0.0.1:${relay.port}`);
    } finally {
      await relay.close();
    }
  }

  test('a target answers iSER, and TCP is left alone', async () => {
    const report = await inspect(`127.0.0.1:${target.port}`);
    const [path, tcp, startup, iser, ...rest] = said(report);
    assert.deepEqual(rest, []);
    assert.equal(path, `good: 127.0.0.1:${target.port} is reached within this machine`);
    assert.match(tcp!, /^notice: iSCSI over TCP: not asked, for the port speaks iWARP/);
    assert.match(startup!, /^good: iSER: the portal answers over iWARP; connecting took [\d.]+ ms$/);
    assert.match(iser!, /^good: iSER: answers; round trips took [\d.]+ ms \([\d.]+ to [\d.]+\)$/);
    assert.deepEqual(report.answered, ['iSER']);
    assert.match(verdictOf([], report), /answers iSER, through software iWARP/);
  });

  for (const iser of ['close', 'wait'] as const) {
    test(`a target answers iSCSI over TCP, and no iWARP (${iser})`, async () => {
      const report = await tcpOnly(iser, (portal) => inspect(portal, 500));
      isTcpOnly(report);
    });
  }

  test('tgtd answers iSCSI over TCP, and no iWARP', { skip: skipTgtd }, async () => {
    const tgtd = await Tgtd.start(folder);
    try {
      await tgtd.addTarget(1, TARGET_NAME, []);
      isTcpOnly(await inspect(`127.0.0.1:${tgtd.port}`));
    } finally {
      await tgtd.stop();
    }
  });

  function isTcpOnly(report: PortalReport): void {
    const [, tcp, iser, ...rest] = said(report);
    assert.deepEqual(rest, []);
    assert.match(tcp!, /^good: iSCSI over TCP: answers; round trips took [\d.]+ ms \([\d.]+ to [\d.]+\)$/);
    assert.equal(iser, 'notice: iSER: does not answer: the portal speaks iSCSI over TCP only on this port');
    assert.match(report.findings[2]!.remedy!, /enable_iser/);
    assert.deepEqual(report.answered, ['iSCSI over TCP']);
    assert.match(verdictOf([], report), /answers iSCSI over TCP, and does not offer iSER/);
  }

  test('with a LUN the bandwidth of both transports is measured, too', async () => {
    const report = await inspect(target.url(0));
    const expected = [
      /^good: .* is reached within this machine$/,
      /^good: iSCSI over TCP: answers; round trips took /,
      /^good: iSCSI over TCP: [\d.]+ [KMG]iB\/s, by 2 s of reads of 128 KiB, 16 at a time$/,
      /^good: iSER: the portal answers over iWARP; connecting took /,
      /^good: iSER: answers; round trips took /,
      /^good: iSER: [\d.]+ [KMG]iB\/s, by 2 s of reads of 128 KiB, 16 at a time$/,
    ];
    const findings = said(report);
    assert.equal(findings.length, expected.length);
    for (const [i, finding] of findings.entries()) assert.match(finding, expected[i]!);
    assert.match(verdictOf([], report), /answers iSCSI over TCP and iSER, through software iWARP/);
    assert.match(verdictOf([], { ...report, device: 'mlx5_0' }), /iSER, through mlx5_0/);
  });

  test('what was asked for and is not there is a problem', async () => {
    const iser = await tcpOnly('close', (portal) => inspect(`iser://${portal}/${TARGET_NAME}`));
    assert.match(said(iser)[2]!, /^problem: iSER: does not answer/);
    const elsewhere = await inspect(`iscsi://127.0.0.1:${target.port}/iqn.2001-04.com.example:none`);
    assert.match(said(elsewhere)[1]!, /^problem: iSCSI over TCP: answers, but .*not found/);
    assert.match(elsewhere.findings[1]!.remedy!, /riser discover/);
    const lun = await inspect(`${target.url(0)}7`);
    assert.match(said(lun)[2]!, /^problem: iSCSI over TCP: the LUN could not be read: /);
    assert.match(said(lun)[5]!, /^problem: iSER: the LUN could not be read: /);
  });

  test("who accepts iWARP is asked with iSER's private data, then to log in, and left", async () => {
    const got: Buffer[] = [];
    const server = await iwarpServer((request, privateData) => {
      got.push(Buffer.from(privateData));
      // One that leaves while it is accepted is none of this test's.
      request.accept().catch(() => undefined);
    });
    let connections = 0;
    const proxy = await tcpServer((socket) => {
      connections++;
      socket.pipe(connect(server.port, '127.0.0.1')).pipe(socket);
    });
    const report = await inspect(`127.0.0.1:${proxy.port}`);
    // Would not resolve if the connection were still there.
    await server.close();
    proxy.close();
    assert.equal(connections, 2);
    assert.deepEqual([...got[0]!.subarray(0, 4)], [0xc0, 0, 0, 0]);
    assert.match(said(report)[1]!, /^notice: iSCSI over TCP: not asked, for the port speaks iWARP/);
    assert.match(said(report)[2]!, /^good: iSER: the portal answers over iWARP; connecting took [\d.]+ ms$/);
    assert.match(said(report)[3]!, /^notice: iSER: no login/);
  });

  test('the first question is one of revision 1, with nothing behind it', async () => {
    let asked!: Promise<PortalReport>;
    const raw = await RawIwarp.accept((port) => {
      asked = inspect(`127.0.0.1:${port}`);
    });
    const { revision } = await raw.frame();
    assert.equal(revision, 1);
    raw.sendBytes(startupFrame('reply', { revision, enhanced: null }));
    await raw.ended();
    raw.destroy();
    assert.deepEqual(raw.ulpdus, []);
    assert.match(said(await asked)[2]!, /^good: iSER: the portal answers over iWARP/);
  });

  test('who rejects it', async () => {
    const server = await iwarpServer((request) => {
      request.reject();
      request.close();
    });
    const findings = said(await inspect(`127.0.0.1:${server.port}`));
    await server.close();
    assert.match(findings[2]!, /^notice: iSER: what listens speaks iWARP, but rejects the connection$/);
    assert.match(findings[3]!, /^problem: what listens on \S+ is no iSCSI target$/);
  });

  test('somebody else: silent, garbage, gone', async () => {
    const peers: ((socket: Socket) => void)[] = [
      () => undefined,
      (socket) => socket.write('220 mail.example ESMTP ready for whatever comes, and then some more\r\n'),
      (socket) => socket.end(),
    ];
    for (const behave of peers) {
      const server = await tcpServer(behave);
      const report = await inspect(`127.0.0.1:${server.port}`, 500);
      server.close();
      assert.deepEqual(report.answered, []);
      const [path, tcp, iser, verdict] = said(report);
      assert.match(path!, /^good/);
      assert.match(tcp!, /^notice: iSCSI over TCP: no login: ./);
      assert.match(iser!, /^notice: iSER: does not answer, for it speaks no iWARP: ./);
      assert.match(verdict!, /^problem: what listens on \S+ is no iSCSI target$/);
    }
  });

  test('nobody, and no such host', async () => {
    const closed = await inspect(`127.0.0.1:${await freePort()}`);
    assert.match(
      said(closed).join('\n'),
      /^problem: cannot connect to 127\.0\.0\.1 port \d+: .*ECONNREFUSED/,
    );
    assert.match(closed.findings[0]!.remedy!, /3260/);
    assert.match(verdictOf([], closed), /cannot be used/);
    const nowhere = await inspect('no-such-host.invalid');
    assert.match(said(nowhere).join('\n'), /^problem: there is no host "no-such-host\.invalid"$/);
  });

  test('the interface that leads there is looked at', async () => {
    const { machine: box } = fakeMachine({ files: { 'sys/class/net/eth7/mtu': '1500' } });
    const report = { where: 'x', findings: [], netdev: 'eth7', answered: [], device: null };
    const findings = await inspectMachine(box, [], report);
    const [mtu] = findings.filter(({ subject }) => subject === 'network');
    assert.match(mtu!.says, /^eth7: MTU 1500/);
  });
});

describe('riser doctor', { timeout: 120_000 }, () => {
  const run = (...args: string[]) => new CliProcess(['doctor', ...args]).ended();
  interface Printed {
    portal: string | null;
    findings: Finding[];
    verdict: string;
  }

  test('of this machine: sections and JSON, and an exit code that fits', async () => {
    const text = await run();
    assert.match(text.stdout, /^Riser\n {2}ok {6}RDMA by "iwarp"/);
    assert.match(text.stdout, /\n\n\d+ problems?, \d+ notices?\. .+\.\n$/);
    const json = await run('--json');
    const { portal, findings, verdict } = JSON.parse(json.stdout) as Printed;
    assert.equal(portal, null);
    assert.ok(text.stdout.trimEnd().endsWith(verdict));
    const isAmiss = findings.some(({ state }) => state === 'problem');
    assert.deepEqual([text.exitCode, json.exitCode], isAmiss ? [1, 1] : [0, 0]);
  });

  test('of a portal that is closed: exit code 1, and the machine all the same', async () => {
    const where = `127.0.0.1:${await freePort()}`;
    const { exitCode, stdout, stderr } = await run(where, '--json');
    assert.equal(exitCode, 1, stderr);
    const { portal, findings } = JSON.parse(stdout) as Printed;
    assert.equal(portal, where);
    assert.ok(findings.some(({ subject }) => subject === 'Riser'));
    assert.deepEqual(
      findings.filter(({ subject }) => subject === 'portal').map(({ state }) => state),
      ['problem'],
    );
  });

  test('a command line that is wrong: exit code 2', async () => {
    for (const args of [['http://127.0.0.1'], ['iscsi://me%hush@127.0.0.1'], ['--timeout', 'x']]) {
      const { exitCode, stderr, stdout } = await run(...args);
      assert.equal(exitCode, 2, stderr);
      assert.match(stderr, /^error: (?!.*hush)/s);
      assert.equal(stdout, '');
    }
  });

  test('a signal stops it while it waits', async () => {
    const server = await tcpServer(() => undefined);
    const doctor = new CliProcess(['doctor', `127.0.0.1:${server.port}`, '--timeout', '60']);
    await server.connected;
    const { exitCode } = await doctor.stop('SIGINT');
    server.close();
    assert.equal(exitCode, 130);
  });
});
