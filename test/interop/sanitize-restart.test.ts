/** A sanitize operation that `kill -9` interrupts: the next start carries it on, and only then serves the medium again. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { createImage } from '../../src/block/index.js';
import { readWriteCdb, TEST_UNIT_READY } from '../support/cdb.js';
import { CliProcess } from '../support/cli-process.js';
import { Initiator } from '../support/initiator.js';
import { temporaryFolder } from '../support/temporary.js';

const TARGET = 'iqn.2026-01.example.test:served';
/** More than is overwritten, with as many passes as there may be, before the server is killed. */
const SIZE = 64 << 20;
const PASSES = 31;
const PATTERN = 0x5a;
const IMMED = 0x80;
const OVERWRITE = 1;

function serve(image: string): CliProcess {
  return new CliProcess(['serve', image, '--portal', '127.0.0.1:0', '--name', TARGET, '--json-logs']);
}

async function login(riser: CliProcess): Promise<Initiator> {
  return Initiator.login({ port: await riser.port(), targetName: TARGET });
}

describe('a sanitize operation and the loss of power', { skip: process.platform === 'win32' }, () => {
  const folder = temporaryFolder();

  test('it is carried on after kill -9', { timeout: 180_000 }, async () => {
    const image = join(folder, 'disk.img');
    await createImage(image, SIZE);
    const first = serve(image);
    const initiator = await login(first);
    const list = Buffer.from([PASSES, 0, 0, 1, PATTERN]);
    const cdb = Buffer.from([0x48, IMMED | OVERWRITE, 0, 0, 0, 0, 0, 0, list.length, 0]);
    assert.equal((await initiator.command(0, cdb, { dataOut: list })).status, 0);
    await first.stop('SIGKILL');
    assert.ok(existsSync(`${image}.sanitize`), 'it was interrupted');
    // What came to be there is overwritten, too.
    truncateSync(image, 0);
    truncateSync(image, SIZE);

    const second = serve(image);
    const other = await login(second);
    const refused = await other.command(0, readWriteCdb(0x8a, 0, 1, false), { dataOut: Buffer.alloc(512) });
    assert.deepEqual(
      [refused.status, refused.sense[2], refused.sense[12], refused.sense[13]],
      [2, 2, 4, 0x1b],
    );
    while ((await other.command(0, TEST_UNIT_READY)).status !== 0) await delay(50);
    assert.ok(!existsSync(`${image}.sanitize`));
    const medium = readFileSync(image);
    assert.ok(medium.equals(Buffer.alloc(SIZE, PATTERN)));
    other.destroy();
    await second.stop();
  });

  test('a torn file is told, and the image not served', async () => {
    const image = join(folder, 'torn.img');
    await createImage(image, 1 << 20);
    writeFileSync(`${image}.sanitize`, '{"format":"riser-sanitize-1"');
    const riser = serve(image);
    await assert.rejects(riser.port());
    const { stdout, stderr } = await riser.stop();
    assert.match(stdout + stderr, /torn\.img\.sanitize is damaged/);
  });
});
