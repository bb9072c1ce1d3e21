/** Two portals of one target, a cable to each, multipath-tools above: a cable is pulled during writes. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { discover, findDisks, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

/** So that a dead path is known in seconds: by default open-iscsi waits two minutes before it tells. */
const TIMEOUTS = {
  'node.session.timeo.replacement_timeout': '3',
  'node.conn[0].timeo.noop_out_interval': '2',
  'node.conn[0].timeo.noop_out_timeout': '2',
};

/** Spread over both paths, and wait rather than fail while there is none. */
const CONFIGURATION = `
defaults {
  find_multipaths no
  polling_interval 2
  path_grouping_policy multibus
  path_selector "round-robin 0"
  no_path_retry queue
}`;

// A path may fail; what is above it may not.
const expected = /dev sd[a-z]|\[sd[a-z]\]/;

scenario('multipath', { links: 2, expected }, (lab) => {
  /** The paths' disks, such as `sda`: through eth0 and through eth1. */
  const paths: string[] = [];

  /** Wait until multipathd finds the path of each card as told. */
  async function untilPaths(...states: ('active' | 'failed')[]): Promise<void> {
    const wanted = paths.map((path, link) => `${path} ${states[link]!}`).sort();
    await lab.guest.sh(
      `until [ "$(multipathd show paths raw format '%d %t' | awk '{ print $1, $2 }' | sort | xargs)" = "${wanted.join(' ')}" ]; do
        sleep 0.5
      done`,
      { limit: 90 },
    );
  }

  /** Sectors that were written through the path of a card so far. */
  async function written(link: 0 | 1): Promise<number> {
    return Number(await lab.guest.sh(`awk '{ print $7 }' /sys/block/${paths[link]!}/stat`));
  }

  /** Wait for half a MiB more. */
  async function untilWritten(link: 0 | 1): Promise<void> {
    const goal = (await written(link)) + 1024;
    await lab.guest.sh(
      `until [ $(awk '{ print $7 }' /sys/block/${paths[link]!}/stat) -gt ${goal} ]; do sleep 0.2; done`,
    );
  }

  before(async () => {
    const { guest } = lab;
    await discover(guest, await lab.serve({ image: 'disk.img', create: '512M' }), TIMEOUTS);
    await guest.sh(`
      modprobe -a dm_multipath dm_round_robin
      echo '${CONFIGURATION}' >/etc/multipath.conf
      multipathd`);
    await login(guest, lab.riser);
    for (const link of [0, 1] as const) {
      const [disk] = await findDisks(guest, lab.riser, 1, link);
      paths.push(disk!.replace('/dev/', ''));
    }
  });

  test('multipathd finds one disk with a path through each portal', async () => {
    const { guest } = lab;
    await guest.sh(`
      until [ -e /dev/dm-0 ] && [ $(multipathd show paths raw format %d | wc -l) = 2 ]; do sleep 0.5; done
      mkfs.ext4 -q /dev/dm-0
      mount /dev/dm-0 /mnt`);
    await untilPaths('active', 'active');
  });

  for (const link of [1, 0] as const) {
    test(`writes survive the loss of the portal behind eth${link}, and come back to it`, async () => {
      const { guest } = lab;
      const other = link === 1 ? 0 : 1;
      const writes = guest.start(
        `until [ -e /tmp/enough-${link} ]; do
          fio --name=writes --filename=/mnt/file --size=16M --rw=randwrite --bs=16k --iodepth=16 --rate=2m \\
            --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1
        done`,
        { limit: 300 },
      );

      await untilWritten(link);
      await guest.setLink(link, false);
      await untilPaths(...([0, 1] as const).map((path) => (path === link ? 'failed' : 'active')));
      const before = await written(link);
      await untilWritten(other);
      assert.equal(await written(link), before, 'the portal is cut, and there are writes through it');

      await guest.setLink(link, true);
      await untilPaths('active', 'active');
      await untilWritten(link);
      assert.equal(writes.isOver, false, 'the writes ended before the path was back');
      await guest.sh(`touch /tmp/enough-${link}`);
      await writes.done;
    });
  }

  test('the file system is clean', async () => {
    await lab.guest.sh('umount /mnt; e2fsck -fn /dev/dm-0');
  });
});
