/** open-iscsi finds Riser's LUNs, logs in with and without digests, and keeps file systems on them. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { TARGET } from '../harness/host-riser.js';
import { discover, login, logout } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

const FILE_SYSTEMS = ['ext4', 'xfs'] as const;
const DIGESTS = ['None', 'CRC32C'] as const;

/** One checksum for the names and the contents of all files below a folder. */
const checksum = (folder: string): string =>
  `(cd ${folder} && find . -type f | sort | xargs sha256sum | sha256sum)`;

scenario('login', { capture: true }, (lab) => {
  test('discovery tells the target and its portal', async () => {
    const luns = FILE_SYSTEMS.map((name) => ({ image: `${name}.img`, create: '512M' }));
    const riser = await lab.serve(...luns);
    assert.equal(await discover(lab.guest, riser), `${riser.portal()},1 ${TARGET}`);
  });

  for (const digest of DIGESTS) {
    test(`file systems made and filled with digests ${digest} are the same after a new login`, async () => {
      const { guest, riser } = lab;
      const settings = { 'node.conn[0].iscsi.HeaderDigest': digest, 'node.conn[0].iscsi.DataDigest': digest };
      await discover(guest, riser, settings);
      const disks = await login(guest, riser, FILE_SYSTEMS.length);
      const session = await guest.sh('iscsiadm -m session -P 2');
      assert.match(session, new RegExp(`HeaderDigest: ${digest}`));
      assert.match(session, new RegExp(`DataDigest: ${digest}`));

      const before: string[] = [];
      for (const [index, type] of FILE_SYSTEMS.entries()) {
        const force = type === 'ext4' ? '-F' : '-f';
        await guest.sh(
          `mkfs.${type} -q ${force} ${disks[index]!}; mkdir -p /mnt/${type}; mount ${disks[index]!} /mnt/${type}`,
        );
        await guest.sh(`cp -a /usr/lib/python3 /mnt/${type}/`);
        before.push(await guest.sh(checksum(`/mnt/${type}`)));
        await guest.sh(`umount /mnt/${type}`);
      }
      await logout(guest);

      const again = await login(guest, riser, FILE_SYSTEMS.length);
      for (const [index, type] of FILE_SYSTEMS.entries()) {
        await guest.sh(`mount ${again[index]!} /mnt/${type}`);
        assert.equal(await guest.sh(checksum(`/mnt/${type}`)), before[index], type);
        await guest.sh(`umount /mnt/${type}`);
      }
      await logout(guest);
    });
  }
});
