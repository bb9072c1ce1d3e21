/** Other projects' NBD clients on our server, and their servers behind `riser serve`. */

import assert from 'node:assert/strict';
import { statSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createImage, FileDevice } from '../../src/block/index.js';
import { serveNbd, type ServedNbd } from '../../src/nbd/index.js';
import { CliProcess } from '../support/cli-process.js';
import { qemuNbd } from '../support/nbd-servers.js';
import { pattern } from '../support/pattern.js';
import { peer } from '../support/peers.js';
import { runProgram, runToSuccess } from '../support/run-program.js';
import { temporaryFolder } from '../support/temporary.js';

const MIB = 1 << 20;
const SIZE = 256 * MIB;

const qemuImg = peer('qemu-img', 'qemu-utils');
const qemuIo = peer('qemu-io', 'qemu-utils');
const qemuServer = peer('qemu-nbd', 'qemu-utils');
const nbdcopy = peer('nbdcopy', 'libnbd-bin');
const nbdinfo = peer('nbdinfo', 'libnbd-bin');
const fio = peer('fio', 'fio');

describe('NBD clients on our server', { timeout: 180_000 }, () => {
  const folder = temporaryFolder();
  const original = join(folder, 'original');
  const image = join(folder, 'image');
  let device: FileDevice;
  let served: ServedNbd;

  before(async () => {
    writeFileSync(original, pattern(8 * MIB, 1));
    truncateSync(original, SIZE - 4 * MIB);
    writeFileSync(original, pattern(4 * MIB, 2), { flag: 'a' });
    await createImage(image, SIZE);
    device = await FileDevice.open(image);
    served = await serveNbd(device, { socket: join(folder, 'socket') });
  });
  after(async () => {
    await served.close();
    await device.close();
  });

  test('nbdinfo tells what there is', { skip: nbdinfo.skip }, async () => {
    const text = await runToSuccess(nbdinfo.path, ['--json', served.uri]);
    const { exports: found } = JSON.parse(text) as { exports: Record<string, unknown>[] };
    const {
      'export-size': size,
      can_multi_conn: several,
      can_trim: trim,
      can_zero: zero,
      can_df: df,
    } = found[0]!;
    assert.deepEqual([size, several, trim, zero, df], [SIZE, true, true, true, true]);
    assert.match(await runToSuccess(nbdinfo.path, ['--list', served.uri]), /export=""/);
  });

  test(
    'nbdcopy takes a disk in and out, and holes stay holes',
    { skip: nbdcopy.skip || nbdinfo.skip },
    async () => {
      const copy = join(folder, 'copy');
      await runToSuccess(nbdcopy.path, ['--destination-is-zero', original, served.uri]);
      assert.ok(statSync(image).blocks * 512 <= 16 * MIB, 'holes were written');
      assert.match(await runToSuccess(nbdinfo.path, ['--map', '--totals', served.uri]), /hole,zero/);
      await runToSuccess(nbdcopy.path, [served.uri, copy]);
      assert.ok((await readFile(copy)).equals(await readFile(original)));
      assert.ok(statSync(copy).blocks * 512 <= 16 * MIB, 'holes were filled');
    },
  );

  test('qemu-img finds the same data and the same holes', { skip: qemuImg.skip }, async () => {
    await runToSuccess(qemuImg.path, ['convert', '-n', '-f', 'raw', '-O', 'raw', original, served.uri]);
    await runToSuccess(qemuImg.path, ['compare', '-f', 'raw', '-F', 'raw', original, served.uri]);
    const map = await runToSuccess(qemuImg.path, ['map', '--output=json', '-f', 'raw', served.uri]);
    const runs = JSON.parse(map) as { start: number; length: number; data: boolean }[];
    assert.deepEqual(
      runs.map(({ start, data }) => [start, data]),
      [
        [0, true],
        [8 * MIB, false],
        [SIZE - 4 * MIB, true],
      ],
    );
  });

  test('qemu-io writes, zeroes, discards, flushes', { skip: qemuIo.skip }, async () => {
    const commands = [
      'write -P 5 100M 1M',
      'write -f -P 6 101M 64k',
      'write -z -u 100M 64k',
      'write -z 101M 4k',
      'discard 110M 1M',
      'flush',
      'read -P 0 100M 64k',
      `read -P 5 ${100 * MIB + 65536} 960k`,
      'read -P 0 101M 4k',
      `read -P 6 ${101 * MIB + 4096} 60k`,
      'discard 100M 2M',
    ];
    const args = ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), served.uri];
    const { status, stdout, stderr } = await runProgram(qemuIo.path, args);
    assert.equal(status, 0, stdout + stderr);
    assert.doesNotMatch(stdout + stderr, /fail|error|differ/i);
  });

  test('fio verifies what it wrote', { skip: fio.skip }, async () => {
    const load = ['--rw=randwrite', '--bsrange=4k-64k', '--offset=16M', '--size=32M', '--iodepth=32'];
    // What two writes under way leave where they overlap is not defined: fio is to write one after the other.
    const verify = ['--serialize_overlap=1', '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0'];
    await runToSuccess(fio.path, ['--name=v', '--ioengine=nbd', `--uri=${served.uri}`, ...load, ...verify]);
  });
});

describe('riser serve nbd://', { skip: qemuServer.skip || qemuImg.skip, timeout: 120_000 }, () => {
  const folder = temporaryFolder();

  test('serves a qcow2 image over iSCSI, and keeps what is written to it', async () => {
    const raw = join(folder, 'raw');
    const qcow2 = join(folder, 'disk.qcow2');
    writeFileSync(raw, pattern(4 * MIB, 3));
    truncateSync(raw, 32 * MIB);
    await runToSuccess(qemuImg.path, ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2]);
    const server = qemuNbd(qemuServer.path, { file: qcow2, socket: join(folder, 'qemu'), format: 'qcow2' });
    await server.start();
    const name = 'iqn.2026-01.example.test:nbd';
    const riser = new CliProcess([
      'serve',
      server.uri,
      '--portal',
      '127.0.0.1:0',
      '--name',
      name,
      '--json-logs',
    ]);
    try {
      const lun = `iscsi://127.0.0.1:${await riser.port()}/${name}/0`;
      await runToSuccess(qemuImg.path, ['compare', '-f', 'raw', '-F', 'raw', raw, lun]);
      await runToSuccess(qemuIo.path, [
        '-f',
        'raw',
        '-c',
        'write -P 7 8M 1M',
        '-c',
        'discard 0 1M',
        '-c',
        'flush',
        lun,
      ]);
      assert.equal((await riser.stop()).exitCode, 0);
    } finally {
      await riser.stop('SIGKILL');
      await server.stop();
    }
    const check = ['-c', 'read -P 7 8M 1M', '-c', 'read -P 0 0 1M'];
    const { status, stdout } = await runProgram(qemuIo.path, ['-r', '-f', 'qcow2', ...check, qcow2]);
    assert.equal(status, 0);
    assert.doesNotMatch(stdout, /fail/);
    assert.match(await runToSuccess(qemuImg.path, ['check', qcow2]), /No errors/);
  });

  test('a server that is not there, and a URI that is wrong, are told', async () => {
    const away = await new CliProcess([
      'serve',
      `nbd+unix:///?socket=${folder}/none`,
      '--portal',
      '127.0.0.1:0',
    ]).ended();
    assert.equal(away.exitCode, 1);
    assert.match(away.stderr, /cannot be reached.*\n.*Check that the server runs/);
    const wrong = await new CliProcess(['serve', 'nbds://h/']).ended();
    assert.equal(wrong.exitCode, 2);
    assert.match(wrong.stderr, /TLS/);
  });
});
