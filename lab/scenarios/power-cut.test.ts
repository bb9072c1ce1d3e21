/** The guest loses its power in the middle of journaled writes: what it had synced is there, and nothing is torn. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

const FILE_SYSTEMS = [
  { type: 'ext4', check: 'e2fsck -fn' },
  { type: 'xfs', check: 'xfs_repair -n' },
] as const;

/** Files that must be synced on each file system before the power is cut. */
const ENOUGH = 25;

scenario('power-cut', {}, (lab) => {
  /** Name and checksum of each file of which the guest was told that it is stable. */
  const synced = (type: string): string[] => {
    const list = `synced-${type}`;
    return existsSync(lab.file(list)) ? lab.read(list).toString().trimEnd().split('\n') : [];
  };

  test('the power is cut while files are written, synced and removed', async () => {
    const { guest } = lab;
    const riser = await lab.serve(
      ...FILE_SYSTEMS.map(({ type }) => ({ image: `${type}.img`, create: '512M' })),
    );
    await discover(guest, riser);
    const disks = await login(guest, riser, FILE_SYSTEMS.length);
    const running = [];
    for (const [index, { type }] of FILE_SYSTEMS.entries()) {
      await guest.sh(
        `mkfs.${type} -q ${disks[index]!}; mkdir /mnt/${type}; mount ${disks[index]!} /mnt/${type}; mkdir /mnt/${type}/kept`,
      );
      // One keeps the journal busy; the other notes what it has synced on the host, where no power is cut.
      running.push(
        guest.start(
          `while true; do cp -a /usr/lib/python3 /mnt/${type}/churn; rm -r /mnt/${type}/churn; done`,
          { limit: 500 },
        ),
        guest.start(
          `cd /mnt/${type}/kept
          for number in $(seq 100000); do
            head -c $((RANDOM * 8)) /dev/urandom >$number
            sync $number .
            sha256sum $number >>/lab/synced-${type}
          done`,
          { limit: 500 },
        ),
      );
    }
    const deadline = Date.now() + 400_000;
    while (FILE_SYSTEMS.some(({ type }) => synced(type).length < ENOUGH)) {
      assert.ok(Date.now() < deadline, 'the guest does not sync');
      await delay(100);
    }
    await guest.powerCut();
    for (const { done } of running) await assert.rejects(done, /the guest has ended/);
  });

  test('after a new boot the file systems are clean, and what was synced is there', async () => {
    const guest = await lab.boot();
    await discover(guest, lab.riser);
    const disks = await login(guest, lab.riser, FILE_SYSTEMS.length);
    for (const [index, { type, check }] of FILE_SYSTEMS.entries()) {
      const disk = disks[index]!;
      // The first mount replays the journal.
      await guest.sh(`mkdir /mnt/${type}; mount ${disk} /mnt/${type}; umount /mnt/${type}; ${check} ${disk}`);
      await guest.sh(
        `mount ${disk} /mnt/${type}; cd /mnt/${type}/kept; sha256sum --quiet --check /lab/synced-${type}`,
      );
    }
    const log = lab.read('kernel.log').toString();
    assert.match(log, /EXT4-fs \(sd[a-z]\): recovery complete/, 'the journal of ext4 had nothing to replay');
    assert.match(log, /XFS \(sd[a-z]\): Ending recovery/, 'the log of XFS had nothing to replay');
  });
});
