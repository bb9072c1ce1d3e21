/** `riser serve` and `riser demo` as processes: what they print, refuse and let go of. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Initiator } from '../../test/support/initiator.js';
import { peer } from '../../test/support/peers.js';
import { runToSuccess } from '../../test/support/run-program.js';
import { CliProcess } from '../../test/support/cli-process.js';

const iscsiLs = peer('iscsi-ls', 'libiscsi-bin');
const iscsiInq = peer('iscsi-inq', 'libiscsi-bin');

const folder = mkdtempSync(join(tmpdir(), 'riser-cli-'));
const started = new Set<CliProcess>();
after(async () => {
  await Promise.all([...started].map((riser) => riser.stop('SIGKILL')));
  rmSync(folder, { recursive: true });
});

const file = (name: string) => join(folder, name);

function riser(args: string[], env?: NodeJS.ProcessEnv): CliProcess {
  const process = new CliProcess(args, env === undefined ? {} : { env });
  started.add(process);
  void process.ended().then(() => started.delete(process));
  return process;
}

/** A server on a port of its own, with its log in JSON. */
const serve = (...args: string[]) => riser(['serve', '--portal', '127.0.0.1:0', '--json-logs', ...args]);

/** What iscsi-ls prints of the server on `port`; sizes are those of the last block's address, rounded down. */
function list(port: number): Promise<string> {
  return runToSuccess(iscsiLs.path, ['-s', `iscsi://127.0.0.1:${port}`]);
}

describe('riser serve', () => {
  test('creates a sparse image, says what it serves, and stops on SIGTERM', async () => {
    const image = file('new.img');
    const server = riser(['serve', image, '--create', '1G', '--portal', '127.0.0.1:0']);
    await server.printed(/ready/);
    const { exitCode, stdout, stderr } = await server.stop();
    assert.equal(exitCode, 0, stderr);
    assert.match(
      stdout,
      /iqn\.2024-08\.internal\.riser:\S+:new\.img LUN 0: \/.*new\.img, 1 GiB, thin, 512-byte blocks\n/,
    );
    assert.match(stdout, /listening on 127\.0\.0\.1:[1-9]\d*\n/);
    assert.match(stdout, /stopped\n$/);
    assert.equal(stderr, '');
    const { size, blocks } = statSync(image);
    assert.deepEqual([size, blocks * 512 < 1 << 20], [1 << 30, true]);
  });

  test('stops on SIGINT too', async () => {
    const server = serve('--memory', '1M');
    await server.port();
    assert.equal((await server.stop('SIGINT')).exitCode, 0);
  });

  test('lists its logical units to an initiator and logs the session', { skip: iscsiLs.skip }, async () => {
    const server = serve('--memory', '64M', '--memory', '16M', '--name', 'iqn.2001-04.com.example:two');
    const listing = await list(await server.port());
    assert.match(listing, /Target:iqn\.2001-04\.com\.example:two Portal:127\.0\.0\.1:\d+,1/);
    assert.match(listing, /Lun:0 .*63M/);
    assert.match(listing, /Lun:1 .*15M/);
    assert.equal((await server.logged('session opened: ')).level, 'info');
    await server.logged('session closed: ');
    assert.equal((await server.stop()).exitCode, 0);
  });

  test('keeps the serial number over a restart', { skip: iscsiInq.skip }, async () => {
    const serials: string[] = [];
    for (let i = 0; i < 2; i++) {
      const server = serve(file('kept.img'), '--create', '1M', '--name', 'iqn.2001-04.com.example:kept');
      const url = `iscsi://127.0.0.1:${await server.port()}/iqn.2001-04.com.example:kept/0`;
      serials.push(await runToSuccess(iscsiInq.path, ['-e', '1', '-c', '128', url]));
      await server.stop();
    }
    assert.match(serials[0]!, /Unit Serial Number:\[.+\]/);
    assert.equal(serials[0], serials[1]);
  });

  test('waits for its initiators to let go, and a second signal cuts that short', async () => {
    const targetName = 'iqn.2001-04.com.example:busy';
    const server = serve('--memory', '1M', '--name', targetName);
    const initiator = await Initiator.login({ port: await server.port(), targetName, holdsOpen: true });
    server.child.kill('SIGTERM');
    await server.logged('SIGTERM: stopping');
    server.child.kill('SIGINT');
    assert.equal((await server.ended()).exitCode, 128 + 2);
    initiator.destroy();
  });

  test('refuses an image that another process serves', async () => {
    const first = serve(file('locked.img'), '--create', '1M');
    await first.port();
    const { exitCode, stderr } = await serve(file('locked.img')).ended();
    assert.equal(exitCode, 1);
    assert.match(stderr, /^error: .*locked\.img is in use by another program\n.+read-only/);
    await first.stop();
    const next = serve(file('locked.img'));
    await next.port();
    assert.equal((await next.stop()).exitCode, 0);
  });

  test('says what to do about a port in use', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const { exitCode, stderr } = await riser([
      'serve',
      '--memory',
      '1M',
      '--portal',
      `127.0.0.1:${port}`,
    ]).ended();
    other.close();
    assert.equal(exitCode, 1);
    assert.equal(
      stderr,
      `error: 127.0.0.1:${port} is in use by another program\n` +
        `Stop that program, or choose another port: --portal 127.0.0.1:${port + 1}\n`,
    );
  });

  test('listens on several portals of both families, and warns where others reach it', async () => {
    const server = serve('--memory', '1M', '--portal', '[::1]:0', '--portal', '0.0.0.0:0');
    await server.logged('listening on [::1]:');
    assert.equal((await server.logged('no authentication')).level, 'warn');
    assert.equal((await server.stop()).exitCode, 0);
  });

  const refused: [string, string[], RegExp][] = [
    ['nothing to serve', [], /^error: nothing to serve\nName a disk image/],
    ['a bad size', ['a.img', '--create', '10X'], /^error: "10X" is not a size\n/],
    ['a bad portal', ['--memory', '1M', '--portal', 'myhost'], /^error: "myhost" is not a portal\n/],
    ['a bad name', ['--memory', '1M', '--name', 'disk'], /^error: "disk" is not an iSCSI name/],
    ['a bad block size', ['--memory', '1M', '--block-size', '1024'], /^error: a block size of "1024"/],
    ['a bad level', ['--memory', '1M', '--log-level', 'loud'], /^error: .*--log-level/],
    ['thin and full', ['--memory', '1M', '--thin', '--full'], /^error: .*cannot be used with/],
    ['--config and --portal', ['--config', 'x', '--portal', '127.0.0.1'], /^error: .*cannot be used with/],
    ['--config and an image', ['--config', 'x', 'a.img'], /^error: images and --config exclude each other/],
    ['an unknown option', ['--memori', '1M'], /^error: unknown option '--memori'/],
  ];
  for (const [what, args, message] of refused) {
    test(`refuses ${what} with exit code 2`, async () => {
      const { exitCode, stdout, stderr } = await riser(['serve', ...args]).ended();
      assert.match(stderr, message);
      assert.deepEqual([exitCode, stdout], [2, '']);
    });
  }

  test('a missing image is no usage error, and the remedy is told', async () => {
    const { exitCode, stderr } = await serve(file('missing.img')).ended();
    assert.equal(exitCode, 1);
    assert.match(stderr, /^error: .*missing\.img.*\n.*--create/);
    assert.equal(existsSync(file('missing.img')), false);
  });

  test('notices that an image grew', async () => {
    const server = serve(file('growing.img'), '--create', '1M');
    await server.port();
    truncateSync(file('growing.img'), 2 << 20);
    await server.logged('2 MiB');
    await server.stop();
  });
});

describe('riser serve --config', () => {
  const config = file('riser.yaml');
  const write = (luns: string[]) =>
    writeFileSync(
      config,
      `portals: [ "127.0.0.1:0" ]
log: { format: json }
targets:
  - name: iqn.2001-04.com.example:reload
    luns:
${luns.map((lun) => `      - { ${lun} }\n`).join('')}`,
    );

  test('is read anew on SIGHUP; a bad file changes nothing', { skip: iscsiLs.skip }, async () => {
    write(['lun: 0, memory: 64M', 'lun: 1, image: one.img, create: 16M']);
    const server = riser(['serve', '--config', config]);
    const port = await server.port();
    assert.match(await list(port), /Lun:0 .*63M[^]*Lun:1 .*15M/);

    write(['lun: 0, memory: 64M', 'lun: 2, image: two.img, create: 32M']);
    server.child.kill('SIGHUP');
    await server.logged('configuration re-read');
    const listing = await list(port);
    assert.match(listing, /Lun:0 .*63M[^]*Lun:2 .*31M/);
    assert.doesNotMatch(listing, /Lun:1 /);

    write(['lun: 0, memory: 64M', 'lun: 2, imaje: two.img']);
    server.child.kill('SIGHUP');
    const complaint = await server.logged('everything stays as it was');
    assert.equal(complaint.level, 'error');
    assert.match(complaint.msg, /riser\.yaml:7:19: targets\[0\]\.luns\[1\]\.imaje: there is no such key/);
    assert.equal(await list(port), listing);

    write(['lun: 0, memory: 64M', 'lun: 2, image: two.img', 'lun: 3, image: missing.img']);
    server.child.kill('SIGHUP');
    await server.logged('missing.img');
    assert.equal(await list(port), listing);
    assert.equal((await server.stop()).exitCode, 0);
  });

  test('serves an image under other settings after they changed', async () => {
    write(['lun: 0, image: same.img, create: 1M']);
    const server = riser(['serve', '--config', config]);
    await server.port();
    write(['lun: 0, image: same.img, readOnly: true']);
    server.child.kill('SIGHUP');
    await server.logged('same.img, 1 MiB, thin, 512-byte blocks, read-only');
    await server.logged('configuration re-read');
    assert.equal((await server.stop()).exitCode, 0);
  });

  test('a bad file is a usage error that names line, column and key', async () => {
    write(['lun: zero, memory: 1M']);
    const { exitCode, stderr } = await riser(['serve', '--config', config]).ended();
    assert.equal(exitCode, 2);
    assert.match(stderr, /^error: .*riser\.yaml:6:11: targets\[0\]\.luns\[0\]\.lun: /);
  });
});

describe('riser', () => {
  test('demo serves a volume in the data folder and prints how to connect', async () => {
    const demo = riser(['demo', '--portal', '127.0.0.1:0'], { XDG_DATA_HOME: folder });
    const [, port] = await demo.printed(/iscsi-ls -s iscsi:\/\/127\.0\.0\.1:(\d+)/);
    assert.notEqual(port, '0');
    await demo.printed(/ready/);
    assert.ok(existsSync(file('riser/demo.img')));
    assert.equal((await demo.stop()).exitCode, 0);
  });

  test('tells its version and its commands', async () => {
    const version = await riser(['--version']).ended();
    assert.deepEqual([version.exitCode, /^\d+\.\d+\.\d+\n$/.test(version.stdout)], [0, true]);
    const help = await riser(['--help']).ended();
    assert.equal(help.exitCode, 0);
    assert.match(help.stdout, /serve[^]*demo/);
  });
});
