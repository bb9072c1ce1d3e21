/** The kernel's iSER initiator over siw, and Riser on the host, at an ordinary TCP port. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { TARGET } from '../harness/host-riser.js';
import {
  addPortal,
  connectionsOf,
  discoverOverIser,
  loginOverIser,
  logoutOverIser,
} from '../harness/iser-initiator.js';
import { addRdmaDevices, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';

/** How fio accesses the disk: direction, range of block sizes, queue depth, MiB. */
const ACCESSES = [
  { rw: 'write', bs: '4k-4k', iodepth: 128, size: 8 },
  { rw: 'write', bs: '4m-4m', iodepth: 8, size: 32 },
  { rw: 'randwrite', bs: '4k-4k', iodepth: 128, size: 8 },
  { rw: 'randrw', bs: '4k-4m', iodepth: 32, size: 32 },
  { rw: 'randrw', bs: '16k-16k', iodepth: 128, size: 16 },
] as const;

scenario('iser', { capture: true, protocol: 'iWARP' }, (lab) => {
  let disk: string;

  before(async () => {
    await addRdmaDevices(lab.guest);
    await lab.serveWith({ rdma: true }, { image: 'disk.img', create: '256M' });
  });

  test('discovery over iSER, and a session', async () => {
    const { guest, riser } = lab;
    const portal = riser.portal();
    // The host knows itself by another address than the guest does.
    assert.equal(await discoverOverIser(guest, portal), `127.0.0.1:${riser.port},1 ${TARGET}`);
    await addPortal(guest, portal, TARGET);
    disk = await loginOverIser(guest, { portal, target: TARGET, lun: 0 });
    assert.match(await guest.sh('iscsiadm -m session'), /^iser: /);
    assert.match(await connectionsOf(guest, SIW), new RegExp(`state CONNECT .* dst-addr ${portal}`));
    assert.match(lab.read('riser.log').toString(), /over iSER/);
  });

  test('partition, file system, files', async () => {
    await lab.guest.sh(`
      echo 'start=2048, size=200MiB' | sfdisk -q ${disk}
      udevadm settle
      mkfs.ext4 -q ${disk}1; mount ${disk}1 /mnt
      dd if=/dev/urandom of=/mnt/a bs=1M count=20 status=none; cp /mnt/a /mnt/b; sync
      echo 3 >/proc/sys/vm/drop_caches
      cmp /mnt/a /mnt/b; umount /mnt; e2fsck -fn ${disk}1`);
  });

  for (const { rw, bs, iodepth, size } of ACCESSES) {
    test(`${rw}, blocks of ${bs}, depth ${iodepth}`, async () => {
      await lab.guest.sh(
        `
        fio --name=io --filename=${disk} --rw=${rw} --bsrange=${bs} --iodepth=${iodepth} --size=${size}m \\
          --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0`,
        { limit: 180 },
      );
    });
  }

  test('logout', async () => {
    const { guest, riser } = lab;
    await logoutOverIser(guest, { portal: riser.portal(), target: TARGET, lun: 0 });
  });
});
