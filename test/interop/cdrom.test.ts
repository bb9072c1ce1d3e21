/**
 * A CD drive with an ISO image that xorriso made: QEMU's CD by its iscsi:// driver, and by passing SCSI commands on to the drive, boots
 * from it; qemu-img and Riser's own initiator read it.
 */

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { FileDevice } from '../../src/block/index.js';
import { connect } from '../../src/initiator/index.js';
import { CliProcess } from '../support/cli-process.js';
import { makeIso, xorriso } from '../support/iso.js';
import { peer } from '../support/peers.js';
import { iscsiDriverMissing } from '../support/qemu-iscsi.js';
import { runProgram, runToSuccess } from '../support/run-program.js';
import { type Transport, TestTarget } from '../support/target.js';
import { temporaryFolder } from '../support/temporary.js';

const qemuImg = peer('qemu-img', 'qemu-utils');
const qemu = peer('qemu-system-x86_64', 'qemu-system-x86');
const skip = xorriso.skip || qemu.skip || (await iscsiDriverMissing(qemuImg));

const MESSAGE = 'booted from the CD drive';
/** What QEMU ends with when 10h is written to the port of isa-debug-exit. */
const BOOTED = (0x10 << 1) | 1;

/** A boot image without emulation: writes {@link MESSAGE} to the first serial port, then to isa-debug-exit. */
function bootImage(): Buffer {
  const image = Buffer.alloc(2048);
  Buffer.from([
    ...[0x31, 0xc0, 0x8e, 0xd8, 0xfc], // xor ax, ax; mov ds, ax; cld
    ...[0xbe, 0x1a, 0x7c], // mov si, 7c1ah: the message, behind the program
    ...[0xba, 0xf8, 0x03], // mov dx, 3f8h
    ...[0xac, 0x84, 0xc0, 0x74, 0x03], // next: lodsb; test al, al; jz end
    ...[0xee, 0xeb, 0xf8], // out dx, al; jmp next
    ...[0xb0, 0x10, 0xe6, 0xf4], // end: mov al, 10h; out 0f4h, al
    ...[0xf4, 0xeb, 0xfd], // hlt; jmp $-1
  ]).copy(image);
  image.write(`${MESSAGE}\0`, 0x1a, 'ascii');
  return image;
}

/** An ISO image that boots, with a file of random bytes. */
async function burn(folder: string): Promise<string> {
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'boot.bin'), bootImage());
  writeFileSync(join(tree, 'random.bin'), randomBytes(5_000_000));
  const iso = join(folder, 'disc.iso');
  const boots = ['-b', 'boot.bin', '-c', 'boot.cat', '-no-emul-boot', '-boot-load-size', '4'];
  await makeIso(tree, iso, 'RISER', boots);
  return iso;
}

for (const transport of ['tcp', 'iser'] satisfies Transport[]) {
  describe(`a CD drive over ${transport}`, { skip }, () => {
    const folder = temporaryFolder();
    let iso: string;
    let target: TestTarget;

    before(async () => {
      iso = await burn(folder);
      const device = await FileDevice.open(iso, { blockSize: 2048, readOnly: true });
      target = await TestTarget.start([{ device, type: 'cdrom' }], { transport });
    });
    after(() => target.close());

    test('qemu-img reads what is in the image', async () => {
      const same = ['compare', '-f', 'raw', '-F', 'raw', iso, target.url(0)];
      assert.match(await runToSuccess(qemuImg.path, same), /identical/);
    });

    const drives = {
      'a CD that QEMU makes of it': (url: string) => [
        ...['-drive', `file=${url},format=raw,readonly=on,if=ide,media=cdrom`],
      ],
      'the drive itself, whose SCSI commands QEMU passes on': (url: string) => [
        ...['-device', 'virtio-scsi-pci'],
        ...['-drive', `file=${url},format=raw,readonly=on,if=none,id=disc`],
        ...['-device', 'scsi-block,drive=disc'],
      ],
    };
    for (const [what, drive] of Object.entries(drives)) {
      test(`a machine boots from ${what}`, async () => {
        const serial = join(folder, 'serial.log');
        const machine = ['-nodefaults', '-display', 'none', '-m', '64', '-no-reboot', '-boot', 'd'];
        const ports = ['-serial', `file:${serial}`, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'];
        const { status, stderr } = await runProgram(qemu.path, [
          ...machine,
          ...ports,
          ...drive(target.url(0)),
        ]);
        assert.equal(status, BOOTED, stderr);
        assert.ok(readFileSync(serial, 'latin1').includes(MESSAGE));
      });
    }
  });
}

describe('riser serve --cdrom', { skip: xorriso.skip }, () => {
  const folder = temporaryFolder();
  let iso: string;
  let riser: CliProcess | null = null;

  before(async () => {
    iso = await burn(folder);
  });
  after(() => riser?.stop('SIGKILL'));

  test('serves the image, which Riser’s initiator reads, and refuses to write to', async () => {
    const name = 'iqn.2026-11.com.example:cd';
    riser = new CliProcess([
      'serve',
      '--cdrom',
      iso,
      '--portal',
      '127.0.0.1:0',
      '--name',
      name,
      '--json-logs',
    ]);
    const url = `iscsi://127.0.0.1:${await riser.port()}/${name}/0`;
    const { exitCode, stdout } = await new CliProcess(['compare', iso, url]).ended();
    assert.equal(exitCode, 0);
    assert.match(stdout, /^equal/);
    const lun = await connect(url);
    assert.deepEqual([lun.blockSize, lun.size], [2048, readFileSync(iso).length]);
    await assert.rejects(lun.write(0, Buffer.alloc(2048)), /read only/);
    await lun.close();
  });

  test('refuses an image that does not end with a block', async () => {
    const cut = join(folder, 'cut.iso');
    writeFileSync(cut, '');
    truncateSync(cut, 2048 * 10 + 512);
    const { exitCode, stderr } = await new CliProcess([
      'serve',
      '--cdrom',
      cut,
      '--portal',
      '127.0.0.1:0',
    ]).ended();
    assert.equal(exitCode, 1);
    assert.match(stderr, /cut\.iso has 20992 bytes, which is no whole number of 2048-byte blocks/);
    assert.match(stderr, /truncate --size=%2048/);
  });
});
