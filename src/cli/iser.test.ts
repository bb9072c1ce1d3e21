/** The commands that take URLs, as processes, with `iser://` and `auto://` against a Riser target. */

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { CliProcess, type Outcome } from '../../test/support/cli-process.js';
import { pattern } from '../../test/support/pattern.js';
import { PortalRelay } from '../../test/support/portal-relay.js';
import { TARGET_NAME, TestTarget } from '../../test/support/target.js';
import { temporaryFolder } from '../../test/support/temporary.js';
import { MemoryDevice } from '../block/index.js';

const MIB = 1 << 20;

describe('commands over iSER', { timeout: 300_000 }, () => {
  const folder = temporaryFolder();
  const file = (name: string): string => join(folder, name);
  const bytes = pattern(4 * MIB, 7);
  let target: TestTarget;
  let relay: PortalRelay;
  let portal: string;
  let url: string;

  before(async () => {
    writeFileSync(file('disk.img'), bytes);
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 4 * MIB }) }]);
    // Nothing may come over TCP unless it is meant to.
    relay = await PortalRelay.start(() => target.port, { tcp: 'close' });
    portal = `127.0.0.1:${relay.port}`;
    url = `iser://${portal}/${TARGET_NAME}/0`;
  });
  after(async () => {
    await relay.close();
    await target.close();
  });

  const run = (...args: string[]): Promise<Outcome> => new CliProcess(args).ended();
  const succeed = async (...args: string[]): Promise<Outcome> => {
    const outcome = await run(...args);
    assert.equal(outcome.exitCode, 0, outcome.stderr);
    return outcome;
  };
  const json = async (...args: string[]): Promise<Record<string, unknown>> =>
    JSON.parse((await succeed(...args, '--json')).stdout) as Record<string, unknown>;

  test('discover, and which transport answered', async () => {
    const { stdout, stderr } = await succeed('discover', `iser://${portal}`);
    assert.match(stdout, new RegExp(`^${TARGET_NAME} +127\\.0\\.0\\.1:`));
    assert.equal(stderr, 'answered over iSER\n');
    const { transport, whyNotIser } = await json('discover', `auto://${portal}`);
    assert.deepEqual([transport, whyNotIser], ['iser', null]);
  });

  test('ls, with URLs of the same transport', async () => {
    const { targets } = await json('ls', url.slice(0, -2));
    assert.equal((targets as { luns: { url: string }[] }[])[0]!.luns[0]!.url, url);
  });

  test('info', async () => {
    const { stdout } = await succeed('info', url);
    assert.match(stdout, /\n {2}transport +iSER\n/);
    assert.match(stdout, /\n {2}RDMAExtensions +Yes\n/);
  });

  test('ping, of a target and of a portal', async () => {
    for (const where of [url, `iser://${portal}`])
      assert.equal((await json('ping', where, '-c', '2', '-i', '0.01'))['received'], 2);
  });

  test('write, read, copy, compare', async () => {
    const write = new CliProcess(['write', url, '--json']);
    write.child.stdin.end(bytes.subarray(0, MIB));
    assert.equal((await write.ended()).exitCode, 0);
    const read = new CliProcess(['read', url, '--length', '1M'], {
      wrapper: ['bash', '-c', `"$@" >${file('read.img')}`, 'bash'],
    });
    assert.equal((await read.ended()).exitCode, 0);
    assert.ok(readFileSync(file('read.img')).equals(bytes.subarray(0, MIB)));
    assert.equal((await json('copy', file('disk.img'), url, '--verify', '-q'))['verified'], true);
    await succeed('copy', url, file('copy.img'), '-q');
    assert.ok(readFileSync(file('copy.img')).equals(bytes));
    assert.equal((await json('compare', file('disk.img'), url, '-q', '--multipath'))['equal'], true);
  });

  test('nbd', async () => {
    const nbd = new CliProcess(['nbd', url, '--portal', '127.0.0.1:0']);
    const [uri] = await nbd.printed(/^nbd:\S+/);
    assert.equal((await json('compare', file('disk.img'), uri, '-q'))['equal'], true);
    assert.equal((await nbd.stop()).exitCode, 0);
  });

  test('bench, alone and beside TCP', async () => {
    const load = ['--seconds', '0.2', '--ramp-time', '0', '-q'];
    assert.ok(((await json('bench', url, ...load))['count'] as number) > 0);
    const { stdout } = await succeed('bench', target.url(0), url, '--rounds', '1', ...load);
    assert.match(stdout, /\nA +TCP +.*\nB +iSER +/);
  });

  test('doctor', async () => {
    const { stdout } = await run('doctor', `iser://${portal}`);
    assert.match(stdout, /iSER: answers; round trips took/);
  });

  test('a portal without iSER: an error with iser://, TCP with auto://, and why', async () => {
    const plain = await PortalRelay.start(() => target.port, { iser: 'close' });
    try {
      const where = `127.0.0.1:${plain.port}`;
      const refused = await run('discover', `iser://${where}`);
      assert.equal(refused.exitCode, 1);
      assert.match(
        refused.stderr,
        /^error: 127\.0\.0\.1 port \d+ does not speak iSER \(.*\)\nUse iscsi:\/\/ for TCP, or auto:\/\//,
      );
      const { stdout } = await succeed('info', `auto://${where}/${TARGET_NAME}/0`);
      assert.match(stdout, /\n {2}transport +TCP, as iSER was not to be had: 127\.0\.0\.1 port \d+ does not/);
      const { stderr } = await succeed('discover', `auto://${where}`);
      assert.match(stderr, /^answered over TCP, as iSER was not to be had: /);
    } finally {
      await plain.close();
    }
  });

  test('the log of riser serve names the transport', async () => {
    const server = new CliProcess(['serve', '--memory', '16M', '--portal', '127.0.0.1:0']);
    const [, port] = await server.printed(/listening on \S+:(\d+)\n/);
    await succeed('ls', `iser://127.0.0.1:${port}`);
    await server.printed(/session opened: .* on iqn.* over iSER\n/);
    await succeed('ls', `iscsi://127.0.0.1:${port}`);
    await server.printed(/session opened: .* on iqn.* over TCP\n/);
    assert.equal((await server.stop()).exitCode, 0);
  });

  test('the help tells the schemes, digests are said to have no effect', async () => {
    for (const command of ['discover', 'copy', 'bench'])
      assert.match((await succeed(command, '--help')).stdout, /iser:\/\/ for iSER, or auto:\/\//);
    const { stderr } = await succeed('info', url, '--data-digest');
    assert.match(stderr, /digests were asked for, and have no effect/);
  });
});
