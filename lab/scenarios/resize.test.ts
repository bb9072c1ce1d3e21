/** An image grows while its file system is mounted: the guest sees the new size, and uses it. */

import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { test } from 'node:test';

import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

const MIB = 1024 * 1024;
const BEFORE = 384 * MIB;
const AFTER = 640 * MIB;

/** Per file system, how it is made and how it grows. */
const FILE_SYSTEMS = [
  { type: 'ext4', grow: 'resize2fs' },
  { type: 'xfs', grow: 'xfs_growfs' },
] as const;

scenario('resize', {}, (lab) => {
  let disks: string[];

  test('file systems fill LUNs of 384 MiB', async () => {
    const { guest } = lab;
    const riser = await lab.serve(
      ...FILE_SYSTEMS.map(({ type }) => ({ image: `${type}.img`, create: '384M' })),
    );
    await discover(guest, riser);
    disks = await login(guest, riser, FILE_SYSTEMS.length);
    for (const [index, { type }] of FILE_SYSTEMS.entries()) {
      const disk = disks[index]!;
      assert.equal(await guest.sh(`blockdev --getsize64 ${disk}`), String(BEFORE));
      await guest.sh(`
        mkfs.${type} -q ${disk}
        mkdir /mnt/${type}
        mount ${disk} /mnt/${type}
        head -c 8M /dev/urandom | tee /mnt/${type}/file | sha256sum >/tmp/${type}.sum`);
    }
  });

  for (const [index, { type, grow }] of FILE_SYSTEMS.entries()) {
    test(`${type}: the guest sees 640 MiB after a rescan, and the mounted file system grows into it`, async () => {
      const { guest } = lab;
      const disk = disks[index]!;
      truncateSync(lab.file(`${type}.img`), AFTER);
      await guest.sh(`
        for _ in $(seq 20); do
          iscsiadm -m session --rescan >/dev/null
          [ $(blockdev --getsize64 ${disk}) = ${BEFORE} ] || break
          sleep 0.5
        done`);
      assert.equal(await guest.sh(`blockdev --getsize64 ${disk}`), String(AFTER));
      await guest.sh(`${grow} ${grow === 'resize2fs' ? disk : `/mnt/${type}`}`);
      // More than fitted before.
      const room = Number(await guest.sh(`df --block-size=1M --output=avail /mnt/${type} | tail -1`));
      assert.ok(room > 450, `${room} MiB are free`);
      await guest.sh(`
        head -c 1M /dev/urandom >/tmp/piece
        dd if=/tmp/piece of=${disk} bs=1M count=0 status=none
        fallocate -l 400M /mnt/${type}/large
        dd if=/tmp/piece of=/mnt/${type}/large bs=1M seek=399 conv=notrunc,fsync status=none
        sync; echo 3 >/proc/sys/vm/drop_caches
        sha256sum </mnt/${type}/file | cmp - /tmp/${type}.sum
        cmp -i 399MiB:0 -n 1MiB /mnt/${type}/large /tmp/piece
        umount /mnt/${type}`);
      await guest.sh(type === 'ext4' ? `e2fsck -fn ${disk}` : `xfs_repair -n ${disk}`);
    });
  }
});
