/** Riser and Debian's isnsd (open-isns): what is registered, for how long, and what is found there. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { discoverByIsns, Registrar } from '../../src/isns/index.js';
import { silentLogger } from '../../src/util/logger.js';
import { CliProcess } from '../support/cli-process.js';
import { Isnsd, REGISTRATION_PERIOD, skipIsnsd } from '../support/isnsd.js';
import { peer } from '../support/peers.js';
import { runToSuccess } from '../support/run-program.js';
import { temporaryFolder } from '../support/temporary.js';

const DISK = 'iqn.2026-01.example.test:disk';
const TAPE = 'iqn.2026-01.example.test:tape';
const INITIATOR = 'iqn.2026-01.example.test:initiator';
/** Longer than anything that has to happen takes. */
const PATIENCE_MS = 60_000;

const started = new Set<CliProcess>();
after(async () => {
  await Promise.all([...started].map((riser) => riser.stop('SIGKILL')));
});

function serve(...args: string[]): CliProcess {
  const riser = new CliProcess(['serve', '--json-logs', ...args]);
  started.add(riser);
  return riser;
}

/** A target on a port of its own that is registered with `isnsd`. */
async function registered(isnsd: { port: number }, ...args: string[]): Promise<CliProcess> {
  const riser = serve(
    '--portal',
    '127.0.0.1:0',
    '--memory',
    '1M',
    '--name',
    DISK,
    '--isns',
    `127.0.0.1:${isnsd.port}`,
    ...args,
  );
  await riser.logged(': registered as ');
  return riser;
}

async function discover(isnsd: { port: number }): Promise<unknown> {
  const url = `isns://127.0.0.1:${isnsd.port}`;
  const { exitCode, stdout, stderr } = await new CliProcess([
    'discover',
    url,
    '--json',
    '--initiator-name',
    INITIATOR,
  ]).ended();
  assert.equal(exitCode, 0, stderr);
  return (JSON.parse(stdout) as { targets: unknown }).targets;
}

async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (performance.now() > deadline) assert.fail(what);
    await delay(200);
  }
}

const names = async (isnsd: Isnsd): Promise<string[]> =>
  (await isnsd.list('nodes')).map((node) => node['iSCSI name']!);

describe('isnsd', { skip: skipIsnsd }, () => {
  const folder = temporaryFolder();

  test('has entity, portal and target, keeps them as long as Riser answers, and no longer', async () => {
    const isnsd = await Isnsd.start(folder);
    const riser = await registered(isnsd);
    const port = await riser.port();
    const [entity, ...entities] = await isnsd.list('entities');
    assert.match(entity!['Entity identifier']!, new RegExp(`^\\S+:127\\.0\\.0\\.1:${port}$`));
    assert.deepEqual([entity!['Entity protocol'], entities], ['iSCSI (2)', []]);
    const [portal, ...portals] = await isnsd.list('portals');
    assert.deepEqual(
      [portal!['Portal IP address'], portal!['Portal TCP/UDP port'], portals],
      ['127.0.0.1', `${port}/tcp`, []],
    );
    const nodes = await isnsd.list('nodes');
    assert.deepEqual(
      nodes.map((node) => [node['iSCSI name'], node['iSCSI node type']]),
      [[DISK, 'Target']],
    );
    assert.deepEqual(await discover(isnsd), [
      { name: DISK, alias: null, portals: [{ host: '127.0.0.1', port, portalGroupTag: 1 }] },
    ]);
    assert.deepEqual(await names(isnsd), [DISK], 'the initiator has left nothing');

    await until(() => isnsd.log.includes(`Good ESI response from [::ffff:127.0.0.1]:${port}/tcp`), isnsd.log);
    await delay(REGISTRATION_PERIOD * 1500);
    assert.deepEqual(await names(isnsd), [DISK], 'after more than the registration period');
    await riser.stop('SIGKILL');
    await until(async () => (await isnsd.list('entities')).length === 0, 'the registration does not expire');
    assert.deepEqual(await discover(isnsd), []);
    await isnsd.stop();
  });

  test('without Entity Status Inquiries the registration is refreshed in its period', async () => {
    const isnsd = await Isnsd.start(folder, { ESIRetries: '0' });
    const riser = await registered(isnsd);
    await riser.logged('without Entity Status Inquiries');
    await delay(REGISTRATION_PERIOD * 2500);
    assert.deepEqual(await names(isnsd), [DISK]);
    assert.equal(riser.stdout.includes('lost'), false, riser.stdout);
    await riser.stop('SIGKILL');
    await until(async () => (await isnsd.list('entities')).length === 0, 'the registration does not expire');
    await isnsd.stop();
  });

  test('follows the configuration file, and an orderly end deregisters', async () => {
    const isnsd = await Isnsd.start(folder);
    const file = join(folder, 'riser.yaml');
    const write = (...targets: string[]): void => {
      const list = targets.map(
        (name) => `  - name: ${name}\n    alias: ${name.slice(-4)}\n    luns: [{ lun: 0, memory: 1M }]\n`,
      );
      writeFileSync(
        file,
        `isns: 127.0.0.1:${isnsd.port}\nportals: ['127.0.0.1:0', '127.0.0.2:0']\ntargets:\n${list.join('')}`,
      );
    };
    write(DISK);
    const riser = serve('--config', file);
    await riser.logged('registered as ');
    write(DISK, TAPE);
    riser.child.kill('SIGHUP');
    await riser.logged(': registered 1 target');
    assert.deepEqual((await names(isnsd)).sort(), [DISK, TAPE]);
    const found = (await discover(isnsd)) as {
      alias: string;
      portals: { host: string; portalGroupTag: number }[];
    }[];
    assert.deepEqual(
      found.map(({ alias, portals }) => [
        alias,
        portals.map(({ host, portalGroupTag }) => [host, portalGroupTag]),
      ]),
      ['disk', 'tape'].map((alias) => [
        alias,
        [
          ['127.0.0.1', 1],
          ['127.0.0.2', 2],
        ],
      ]),
    );
    write(TAPE);
    riser.child.kill('SIGHUP');
    await riser.logged(': deregistered 1 target');
    assert.deepEqual(await names(isnsd), [TAPE]);
    const { exitCode } = await riser.stop();
    assert.equal(exitCode, 0);
    assert.deepEqual(
      [await isnsd.list('entities'), await isnsd.list('portals'), await names(isnsd)],
      [[], [], []],
    );
    await isnsd.stop();
  });

  test('a portal that does not lead to a target is none of its portals', async () => {
    const isnsd = await Isnsd.start(folder);
    const file = join(folder, 'alua.yaml');
    const alua = `    alua: { groups: [{ group: 1, portals: ['127.0.0.2:0'] }] }\n`;
    const target = (name: string, more: string): string =>
      `  - name: ${name}\n${more}    luns: [{ lun: 0, memory: 1M }]\n`;
    writeFileSync(
      file,
      `isns: 127.0.0.1:${isnsd.port}\nportals: ['127.0.0.1:0', '127.0.0.2:0']\ntargets:\n${target(DISK, alua)}${target(TAPE, '')}`,
    );
    const riser = serve('--config', file);
    await riser.logged('registered as ');
    const found = (await discover(isnsd)) as { name: string; portals: { host: string }[] }[];
    assert.deepEqual(
      found.map(({ name, portals }) => [name, portals.map(({ host }) => host)]),
      [
        [DISK, ['127.0.0.2']],
        [TAPE, ['127.0.0.1', '127.0.0.2']],
      ],
    );
    assert.equal((await riser.stop()).exitCode, 0);
    await isnsd.stop();
  });

  test('takes hundreds of targets, and lets go of them', async () => {
    const isnsd = await Isnsd.start(folder);
    const server = { host: '127.0.0.1', port: isnsd.port };
    const nodes = Array.from({ length: 300 }, (_, i) => ({
      name: `${DISK}-${String(i).padStart(100, '0')}`,
      alias: null,
      portalGroupTags: null,
    }));
    const portals = [1, 2].map((tag) => ({ address: `127.0.0.${tag}`, port: 3260, portalGroupTag: tag }));
    const registrar = new Registrar({ server, entity: 'many', log: silentLogger }, { nodes, portals });
    await until(async () => (await names(isnsd)).length === 300, 'not all are registered');
    const found = await discoverByIsns(server, { initiatorName: INITIATOR, timeoutMs: 5000 });
    assert.deepEqual([found.length, found.every((target) => target.portals.length === 2)], [300, true]);
    registrar.update({ nodes: nodes.slice(0, 1), portals });
    await until(async () => (await names(isnsd)).length === 1, 'not all are gone');
    await registrar.close(5000);
    assert.deepEqual(await names(isnsd), []);
    await isnsd.stop();
  });

  test('what a crash has left is replaced at the next start', async () => {
    const isnsd = await Isnsd.start(folder, {
      RegistrationPeriod: '1h',
      ESIMaxInterval: '30m',
      ESIMinInterval: '30m',
    });
    const first = await registered(isnsd, '--portal', '127.0.0.2:0');
    const port = await first.port();
    await first.stop('SIGKILL');
    assert.equal((await isnsd.list('portals')).length, 2);
    const second = serve(
      '--portal',
      `127.0.0.1:${port}`,
      '--memory',
      '1M',
      '--name',
      DISK,
      '--isns',
      `127.0.0.1:${isnsd.port}`,
    );
    await second.logged('registered as ');
    assert.deepEqual(
      (await isnsd.list('portals')).map((portal) => portal['Portal IP address']),
      ['127.0.0.1'],
    );
    assert.equal((await second.stop()).exitCode, 0);
    await isnsd.stop();
  });

  test('is told again after it was away and has forgotten', async () => {
    const isnsd = await Isnsd.start(folder);
    const riser = await registered(isnsd);
    await isnsd.stop();
    await riser.logged('; trying again');
    const listed = await new CliProcess(['ls', `iscsi://127.0.0.1:${await riser.port()}/${DISK}`]).ended();
    assert.equal(listed.exitCode, 0, 'the target serves all the same');
    await isnsd.run();
    await until(async () => (await names(isnsd)).includes(DISK), 'not registered again');
    assert.equal((await riser.stop()).exitCode, 0);
    await isnsd.stop();
  });

  test('shows an initiator what shares a Discovery Domain with it', async () => {
    const isnsd = await Isnsd.start(folder, { DefaultDiscoveryDomain: '0' });
    const riser = await registered(isnsd);
    assert.deepEqual(await discover(isnsd), []);
    await isnsd.admin('--dd-register', 'dd-name=both', `member-name=${DISK}`, `member-name=${INITIATOR}`);
    const [target] = (await discover(isnsd)) as { name: string }[];
    assert.equal(target?.name, DISK);
    await riser.stop();
    await isnsd.stop();
  });
});

const tshark = peer('tshark', 'tshark');
const text2pcap = peer('text2pcap', 'wireshark-common');

describe('tshark', { skip: skipIsnsd || tshark.skip || text2pcap.skip }, () => {
  const folder = temporaryFolder();

  test('finds nothing wrong in what Riser sends to isnsd', async () => {
    const isnsd = await Isnsd.start(folder);
    const recorder = await Recorder.start(isnsd.port);
    const riser = await registered(recorder);
    await discover(recorder);
    assert.equal((await riser.stop()).exitCode, 0);
    await isnsd.stop();
    await recorder.close();

    const dump = join(folder, 'isns.txt');
    const capture = join(folder, 'isns.pcap');
    writeFileSync(dump, recorder.hexDump());
    await runToSuccess(text2pcap.path, ['-q', '-D', '-T', '40000,3205', dump, capture]);
    const read = (...args: string[]): Promise<string> =>
      runToSuccess(tshark.path, ['-n', '-r', capture, ...args]);
    const ids = (await read('-Y', 'isns', '-T', 'fields', '-e', 'isns.functionid'))
      .trim()
      .split(/\s+/)
      .map(Number);
    assert.equal(ids.length, recorder.messages, ids.join(' '));
    // Registration, portals of one, list of nodes, deregistration, and their answers.
    assert.deepEqual(
      [...new Set(ids)].sort((a, b) => a - b),
      [1, 2, 3, 4, 0x8001, 0x8002, 0x8003, 0x8004],
    );
    assert.equal(await read('-Y', '_ws.malformed || _ws.expert.severity >= "Error"'), '');
  });
});

/** Passes connections on to a server, and keeps what went each way; a message is one chunk. */
class Recorder {
  port = 0;
  readonly #chunks: { isRequest: boolean; bytes: Buffer }[] = [];
  readonly #server = createServer();

  static async start(to: number): Promise<Recorder> {
    const recorder = new Recorder();
    const server = recorder.#server;
    server.on('connection', (client) => {
      const upstream = connect(to, '127.0.0.1');
      const pass = (isRequest: boolean, from: typeof client, on: typeof client): void => {
        from.on('data', (bytes) => {
          recorder.#chunks.push({ isRequest, bytes });
          on.write(bytes);
        });
        from.on('error', () => undefined).on('close', () => on.destroy());
      };
      pass(true, client, upstream);
      pass(false, upstream, client);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    recorder.port = (server.address() as AddressInfo).port;
    return recorder;
  }

  get messages(): number {
    return this.#chunks.length;
  }

  async close(): Promise<void> {
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** As text2pcap reads it. */
  hexDump(): string {
    return this.#chunks
      .map(
        ({ isRequest, bytes }) =>
          `${isRequest ? 'O' : 'I'}\n000000 ${bytes.toString('hex').replace(/../g, '$& ')}\n`,
      )
      .join('\n');
  }
}
