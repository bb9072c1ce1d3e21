/** `riser nbd`: programs that speak NBD use a LUN of tgtd. */

import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { CliProcess } from '../support/cli-process.js';
import { pattern } from '../support/pattern.js';
import { peer } from '../support/peers.js';
import { runToSuccess } from '../support/run-program.js';
import { temporaryFolder } from '../support/temporary.js';
import { skipTgtd, Tgtd } from '../support/tgtd.js';

const MIB = 1 << 20;
const SIZE = 32 * MIB;
const NAME = 'iqn.2026-01.example.test:tgt';

const qemuIo = peer('qemu-io', 'qemu-utils');
const nbdcopy = peer('nbdcopy', 'libnbd-bin');
const nbdinfo = peer('nbdinfo', 'libnbd-bin');
const fio = peer('fio', 'fio');

/** How long fio writes and verifies; a longer proof than the usual one is asked for by the environment. */
const FIO_SECONDS = Number(process.env['RISER_FIO_SECONDS'] ?? '2');

interface FioReport {
  jobs: { error: number; read: { total_ios: number }; write: { total_ios: number } }[];
}

describe('riser nbd', { skip: skipTgtd, timeout: 180_000 + FIO_SECONDS * 1000 }, () => {
  const folder = temporaryFolder();
  const file = (name: string): string => join(folder, name);
  let tgtd: Tgtd;
  let riser: CliProcess;
  let uri: string;

  before(async () => {
    writeFileSync(file('disk.img'), '');
    truncateSync(file('disk.img'), SIZE);
    tgtd = await Tgtd.start(folder);
    await tgtd.addTarget(1, NAME, [file('disk.img')]);
    riser = new CliProcess(['nbd', `iscsi://127.0.0.1:${tgtd.port}/${NAME}/1`, '--socket', file('socket')]);
    uri = (await riser.printed(/^nbd\+unix:.*$/m))[0];
  });
  after(async () => {
    const { exitCode, stderr } = await riser.stop();
    await tgtd.stop();
    assert.equal(exitCode, 0, stderr);
  });

  test('nbdinfo tells the size of the LUN', { skip: nbdinfo.skip }, async () => {
    assert.equal((await runToSuccess(nbdinfo.path, ['--size', uri])).trim(), String(SIZE));
  });

  test('nbdcopy puts an image in, and gets it out again', { skip: nbdcopy.skip }, async () => {
    const image = Buffer.alloc(SIZE);
    pattern(5 * MIB, 1).copy(image, 3 * MIB);
    pattern(7 * MIB, 2).copy(image, SIZE - 7 * MIB);
    writeFileSync(file('in.img'), image);
    await runToSuccess(nbdcopy.path, ['--flush', file('in.img'), uri]);
    assert.ok((await readFile(file('disk.img'))).equals(image), 'the disk of tgtd');
    await runToSuccess(nbdcopy.path, [uri, file('out.img')]);
    assert.ok((await readFile(file('out.img'))).equals(image));
  });

  test('qemu-io writes, zeroes, discards and reads', { skip: qemuIo.skip }, async () => {
    const commands = [
      'write -P 0x5a 1M 300k',
      'write -z 1100k 8k',
      'discard 1200k 64k',
      'flush',
      'read -P 0x5a 1M 76k',
      'read -P 0 1100k 8k',
    ];
    const args = ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri];
    const output = await runToSuccess(qemuIo.path, args);
    assert.doesNotMatch(output, /verification failed|error/i);
    const disk = await readFile(file('disk.img'));
    assert.ok(disk.subarray(MIB, MIB + 76 * 1024).equals(Buffer.alloc(76 * 1024, 0x5a)));
  });

  test('fio verifies what it writes at depth 32, as it goes', { skip: fio.skip }, async () => {
    const load = ['--rw=randwrite', '--bsrange=4k-64k', '--iodepth=32', `--size=${SIZE}`];
    const verify = ['--verify=crc32c', '--verify_fatal=1', '--verify_backlog=256', '--verify_state_save=0'];
    // What two writes under way leave where they overlap is not defined, and a second lap may meet the first.
    const order = ['--serialize_overlap=1'];
    const time = ['--time_based', `--runtime=${FIO_SECONDS}`];
    const report = file('fio.json');
    await runToSuccess(
      fio.path,
      [
        ...['--name=lun', '--ioengine=nbd', `--uri=${uri}`, ...load, ...order, ...verify, ...time],
        ...['--output-format=json', `--output=${report}`],
      ],
      (FIO_SECONDS + 60) * 1000,
    );
    const { jobs } = JSON.parse(await readFile(report, 'utf8')) as FioReport;
    const [job] = jobs;
    assert.equal(job!.error, 0);
    assert.ok(job!.write.total_ios > 0 && job!.read.total_ios > 0, 'it wrote, and read what it wrote');
  });
});
