/**
 * A CD drive as the kernel's initiator uses it: sr finds a drive, isofs mounts the disc, eject and udev do what they do with any
 * other drive, and another disc can be put in while the session goes on.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';

import { makeIso } from '../../test/support/iso.js';
import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

scenario('cdrom', { capture: true }, (lab) => {
  let drive: string;
  const sh = (script: string) => lab.guest.sh(script);

  /** An ISO image with one file of random bytes, and the tree that it was made of. */
  const burn = async (label: string): Promise<string> => {
    const tree = lab.file(`tree-${label}`);
    mkdirSync(join(tree, 'folder'), { recursive: true });
    writeFileSync(join(tree, 'folder/random.bin'), randomBytes(3_000_000));
    writeFileSync(join(tree, 'label.txt'), label);
    await makeIso(tree, lab.file(`${label}.iso`), label);
    return `${label}.iso`;
  };

  before(async () => {
    const first = await burn('FIRST');
    await burn('SECOND');
    const riser = await lab.serve({ type: 'cdrom', image: first });
    await sh('modprobe -a sr_mod isofs');
    await discover(lab.guest, riser);
    [drive] = (await login(lab.guest, riser)) as [string];
  });

  test('it is a drive, by the name of one', async () => {
    assert.equal(drive, '/dev/sr0');
    assert.match(
      await sh(`lsblk --noheadings --output NAME,TYPE,RM,RO,VENDOR,MODEL ${drive}`),
      /sr0\s+rom\s+1\s+[01]\s+RISER\s+DVD-ROM/,
    );
    const kernel = await sh('dmesg | grep "sr 0\\|sr0\\|sr [0-9]"');
    assert.match(kernel, /48x\/0x .*tray|scsi3-mmc drive: 48x/);
    assert.match(
      await sh('cat /proc/sys/dev/cdrom/info'),
      /Can close tray:\s+1[^]*Can lock tray:\s+1[^]*Can read DVD:\s+1/,
    );
  });

  test('udev knows the disc', async () => {
    const properties = await sh(`udevadm info --query=property ${drive}`);
    for (const line of [
      'ID_CDROM=1',
      'ID_CDROM_DVD=1',
      'ID_CDROM_MEDIA=1',
      'ID_CDROM_MEDIA_CD=1',
      'ID_CDROM_MEDIA_TRACK_COUNT_DATA=1',
      'ID_FS_TYPE=iso9660',
      'ID_FS_LABEL=FIRST',
    ])
      assert.ok(properties.split('\n').includes(line), `${line}:\n${properties}`);
  });

  test('the disc is mounted, and every file is as it was', async () => {
    await sh(`
      mount -o ro ${drive} /mnt
      diff --recursive /lab/tree-FIRST /mnt
      umount /mnt
      cmp ${drive} /lab/FIRST.iso`);
  });

  test('cd-info and the sg3_utils agree with the image', async () => {
    const blocks = lab.read('FIRST.iso').length / 2048;
    const info = await sh(`cd-info --no-device-info --no-cddb ${drive}`);
    assert.match(info, /Disc mode is listed as: CD-DATA \(Mode 1\)/);
    assert.match(info, new RegExp(`170:.*\\s0*${blocks} leadout`), info);
    const configuration = await sh(`sg_get_config ${drive}`);
    assert.match(configuration, /Current profile: CD-ROM/);
    assert.match(configuration, /Random readable[^]*CD read[^]*Power management/i);
    assert.match(await sh(`sg_readcap ${drive}`), new RegExp(`Number of logical blocks=${blocks}`));
    await sh(`sg_modes --page=0x2a ${drive}`);
  });

  test('a mounted disc is locked', async () => {
    await sh(`
      mount -o ro ${drive} /mnt
      (sg_start --eject -v ${drive} 2>&1 || true) | grep --ignore-case 'removal prevented'
      umount /mnt`);
  });

  test('eject, and eject -t', async () => {
    await sh(`eject ${drive}`);
    assert.match(await sh(`set +e; sg_turs -v ${drive} 2>&1; true`), /tray open/i);
    assert.doesNotMatch(await sh(`sg_get_config ${drive}`), /Current profile: CD-ROM|currentP=1/);
    await sh(`
      eject -t ${drive}
      udevadm settle
      mount -o ro ${drive} /mnt
      cmp /mnt/label.txt /lab/tree-FIRST/label.txt
      umount /mnt`);
  });

  test('another disc is put in by SIGHUP, and the session goes on', async () => {
    await lab.riser.reload({ type: 'cdrom', image: 'SECOND.iso' });
    await sh(`
      for try in $(seq 100); do
        udevadm info --query=property ${drive} | grep -q ID_FS_LABEL=SECOND && break
        # What a desktop does all the time: ask for events.
        blockdev --getsz ${drive} >/dev/null || true
        sleep 0.2
      done
      mount -o ro ${drive} /mnt
      diff --recursive /lab/tree-SECOND /mnt
      umount /mnt
      cmp ${drive} /lab/SECOND.iso`);
    assert.match(await sh('iscsiadm -m session -P 1'), /iSCSI Session State: LOGGED_IN/);
  });
});
