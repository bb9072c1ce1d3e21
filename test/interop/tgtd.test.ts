/** Riser's initiator and its commands with Debian's tgtd as the target. */

import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { pattern } from '../contract/block-io.js';
import { CliProcess, type Outcome } from '../support/cli-process.js';
import { temporaryFolder } from '../support/temporary.js';
import { skipTgtd, Tgtd } from '../support/tgtd.js';

const MIB = 1 << 20;
const SIZE = 16 * MIB;
const NAME = 'iqn.2026-01.example.test:tgt';

const run = async (...args: string[]): Promise<Outcome> => {
  const outcome = await new CliProcess(args).ended();
  assert.equal(outcome.stderr.includes('error'), false, outcome.stderr);
  return outcome;
};
const json = async (...args: string[]): Promise<Record<string, unknown>> =>
  JSON.parse((await run(...args, '--json')).stdout) as Record<string, unknown>;

describe('tgtd', { skip: skipTgtd }, () => {
  const folder = temporaryFolder();
  const file = (name: string): string => join(folder, name);
  let tgtd: Tgtd;
  let portal: string;
  let url: string;

  before(async () => {
    writeFileSync(file('disk.img'), '');
    truncateSync(file('disk.img'), SIZE);
    tgtd = await Tgtd.start(folder);
    await tgtd.addTarget(1, NAME, [file('disk.img')]);
    portal = `127.0.0.1:${tgtd.port}`;
    url = `iscsi://${portal}/${NAME}/1`;
  });
  after(() => tgtd.stop());

  test('discover tells the target and where it is', async () => {
    assert.deepEqual(await json('discover', portal), {
      transport: 'tcp',
      device: null,
      whyNotIser: null,
      targets: [{ name: NAME, portals: [{ host: '127.0.0.1', port: tgtd.port, portalGroupTag: 1 }] }],
    });
  });

  test('ls tells the disk from the controller', async () => {
    const { targets } = await json('ls', `iscsi://${portal}`);
    const [target] = targets as { name: string; luns: Record<string, unknown>[] }[];
    assert.deepEqual(
      target!.luns.map(({ lun, type, size, vendor, product, error }) => [
        lun,
        type,
        size,
        vendor,
        product,
        error,
      ]),
      [
        [0, 'controller', null, 'IET', 'Controller', null],
        [1, 'disk', SIZE, 'IET', 'VIRTUAL-DISK', null],
      ],
    );
  });

  test('info tells capacity, pages and keys', async () => {
    const { capacity, vpdPages, modePages, negotiated } = await json('info', url, '--header-digest');
    const { size, blockSize } = capacity as Record<string, number>;
    assert.deepEqual([size, blockSize], [SIZE, 512]);
    assert.ok((vpdPages as { page: string }[]).some(({ page }) => page === '0x83'));
    assert.ok((modePages as { page: string }[]).some(({ page }) => page === '0x08'));
    // Digests it declines unless it is told otherwise.
    assert.equal((negotiated as Record<string, unknown>)['HeaderDigest'], 'None');
    assert.match((await run('info', url)).stdout, /vendor, product, revision +IET, VIRTUAL-DISK, /);
  });

  test('ping comes back', async () => {
    for (const where of [`iscsi://${portal}/${NAME}`, portal]) {
      const { sent, received } = await json('ping', where, '-c', '3', '-i', '0.01');
      assert.deepEqual([sent, received], [3, 3], where);
    }
  });

  test('copies in and out are equal, and compare sees when they are not', async () => {
    const bytes = Buffer.alloc(SIZE);
    pattern(5 * MIB + 512, 1).copy(bytes, MIB);
    const source = file('source.img');
    writeFileSync(source, bytes);
    assert.equal((await run('copy', source, url, '--verify', '-q')).exitCode, 0);
    assert.ok(readFileSync(file('disk.img')).equals(bytes), 'tgtd has it in its file');

    const back = file('back.img');
    assert.equal((await run('copy', url, back, '-q', '--data-digest')).exitCode, 0);
    assert.ok(readFileSync(back).equals(bytes));
    assert.ok(statSync(back).blocks * 512 < 8 * MIB, 'zeroes became holes');
    assert.equal((await run('compare', back, url, '-q')).exitCode, 0);

    bytes[SIZE - 1] = 1;
    writeFileSync(source, bytes);
    const different = await run('compare', source, url, '-q');
    assert.deepEqual(
      [different.exitCode, different.stdout.includes(`the first byte at ${SIZE - 1};`)],
      [1, true],
    );
  });

  test('bench reads and writes', async () => {
    const result = await json(
      'bench',
      url,
      '--seconds',
      '0.5',
      '--read-percent',
      '50',
      '--destroy-data',
      '-q',
    );
    const { reads, writes } = result as Record<'reads' | 'writes', { count: number } | null>;
    assert.ok(reads!.count > 0 && writes!.count > 0);
  });
});
