/** QEMU's block layer over libiscsi as the initiator: a real file system goes to a LUN and comes back. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { createImage, FileDevice } from '../../src/block/index.js';
import { ROOT } from '../support/files.js';
import { peer } from '../support/peers.js';
import { iscsiDriverMissing } from '../support/qemu-iscsi.js';
import { runProgram, runToSuccess } from '../support/run-program.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';
import { temporaryFolder } from '../support/temporary.js';

const GIB = 1024 ** 3;

const qemuImg = peer('qemu-img', 'qemu-utils');
const qemuIo = peer('qemu-io', 'qemu-utils');
const mkfs = peer('mkfs.ext4', 'e2fsprogs');
const fsck = peer('e2fsck', 'e2fsprogs');

const skip = qemuIo.skip || mkfs.skip || fsck.skip || (await iscsiDriverMissing(qemuImg));

for (const transport of ['tcp', 'iser'] as const) {
  describe(`qemu-img and qemu-io over ${transport}`, { skip }, () => {
    const folder = temporaryFolder();
    const original = join(folder, 'ext4.img');
    const returned = join(folder, 'returned.img');
    let target: TestTarget;

    before(async () => {
      const path = join(folder, 'served.img');
      await createImage(path, GIB);
      target = await TestTarget.start([{ device: await FileDevice.open(path) }], { transport });
    });
    after(async () => {
      await target.close();
      assert.deepEqual([...target.transports], [transport]);
    });

    test('an ext4 image of 1 GiB with a tree of files comes back identical', async () => {
      writeFileSync(original, '');
      truncateSync(original, GIB);
      await runToSuccess(mkfs.path, ['-q', '-F', '-d', join(ROOT, 'node_modules'), original]);
      await runToSuccess(qemuImg.path, ['convert', '-n', '-f', 'raw', '-O', 'raw', original, target.url(0)]);
      await runToSuccess(qemuImg.path, ['convert', '-f', 'raw', '-O', 'raw', target.url(0), returned]);
      assert.equal(await sha256(returned), await sha256(original));
      await runToSuccess(fsck.path, ['-f', '-n', returned]);
    });

    test('qemu-img compare finds the LUN identical to the image', async () => {
      const said = await runToSuccess(qemuImg.path, [
        'compare',
        '-f',
        'raw',
        '-F',
        'raw',
        original,
        target.url(0),
      ]);
      assert.match(said, /Images are identical/);
    });

    test('qemu-img info tells the size', async () => {
      const said = await runToSuccess(qemuImg.path, ['info', '-f', 'raw', '--output', 'json', target.url(0)]);
      assert.equal((JSON.parse(said) as { 'virtual-size': number })['virtual-size'], GIB);
    });

    test('qemu-io writes patterns, zeroes and discards, and reads each back', async () => {
      await io('write -P 0xa5 1M 3M', 'read -P 0xa5 1M 3M');
      await io('write -P 0x3c 513k 7k', 'read -P 0x3c 513k 7k', 'read -P 0xa5 1M 3M');
      await io('write -f -P 0x11 8M 64k', 'flush', 'read -P 0x11 8M 64k');
      await io('write -z 2M 64k', 'read -P 0 2M 64k', 'read -P 0xa5 1M 1M');
      await io('write -z -u 3M 64k', 'read -P 0 3M 64k');
      await io('discard 1536k 64k', 'read -P 0 1536k 64k', 'read -P 0xa5 1600k 64k');
    });

    test('qemu-io keeps 16 writes in flight', async () => {
      const writes = Array.from({ length: 16 }, (_, i) => `aio_write -P ${i + 1} ${16 + i}M 512k`);
      const reads = Array.from({ length: 16 }, (_, i) => `read -P ${i + 1} ${16 + i}M 512k`);
      await io(...writes, 'aio_flush', ...reads);
    });

    test('the same under header digests', async () => {
      const address = `transport=tcp,portal=127.0.0.1:${target.port},target=${TARGET_NAME},lun=0`;
      const image = `driver=raw,file.driver=iscsi,${address.replace(/(^|,)/g, '$1file.')},file.header-digest=crc32c`;
      const commands = [
        'write -P 0x77 40M 1M',
        'read -P 0x77 40M 1M',
        'discard 40M 64k',
        'read -P 0 40M 64k',
      ];
      await checkedIo(['--image-opts', ...commands.flatMap((command) => ['-c', command]), image]);
    });

    function io(...commands: string[]): Promise<void> {
      return checkedIo([
        '-f',
        'raw',
        '-d',
        'unmap',
        ...commands.flatMap((command) => ['-c', command]),
        target.url(0),
      ]);
    }

    /** qemu-io reports a failed command or a wrong pattern on its output only. */
    async function checkedIo(args: readonly string[]): Promise<void> {
      const { status, stdout, stderr } = await runProgram(qemuIo.path, args);
      const said = stdout + stderr;
      assert.equal(status, 0, said);
      assert.doesNotMatch(said, /failed|error|Pattern verification/i);
    }
  });
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
