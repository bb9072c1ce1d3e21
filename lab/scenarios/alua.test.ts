/**
 * Asymmetric access (ALUA): two portals, each a target port group, and multipath-tools above that go by what REPORT TARGET PORT
 * GROUPS tells. The administrator of the target, and then the initiator, bring groups into other states during writes.
 */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { discover, findDisks, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

/** Paths in groups by priority, which is that of the access state; wait rather than fail while there is none. */
const CONFIGURATION = `
defaults {
  find_multipaths no
  polling_interval 1
  prio alua
  path_grouping_policy group_by_prio
  failback immediate
  no_path_retry queue
}`;

// A path may refuse; what is above it may not fail.
const expected = /dev sd[a-z]|\[sd[a-z]\]/;

type Link = 0 | 1;
type State = 'active/optimized' | 'active/non-optimized' | 'standby' | 'unavailable' | 'transitioning';

scenario('alua', { links: 2, expected }, (lab) => {
  /** The paths' disks, such as `sda`: through eth0, group 1, and through eth1, group 2. */
  const paths: string[] = [];
  let portals: readonly string[] = [];

  const alua = (states: readonly [State, State], explicit: boolean) => ({
    alua: {
      explicit,
      transitionTime: 30,
      groups: states.map((state, link) => ({ group: link + 1, portals: [portals[link]], state })),
    },
  });

  /** State and status code of each group, as REPORT TARGET PORT GROUPS tells them by a path. */
  async function told(link: Link): Promise<number[][]> {
    const text = await lab.guest.sh(`sg_rtpg --decode --extended /dev/${paths[link]!}`);
    assert.match(text, /Implicit transition time: 30/);
    const fields = (name: string) =>
      [...text.matchAll(new RegExp(`${name} : 0x(\\d+)`, 'g'))].map(([, hex]) => Number(hex));
    const statuses = fields('status code');
    return fields('asymmetric access state').map((state, i) => [state, statuses[i]!]);
  }

  /** Sectors that were written through a path so far. */
  async function written(link: Link): Promise<number> {
    return Number(await lab.guest.sh(`awk '{ print $7 }' /sys/block/${paths[link]!}/stat`));
  }

  /** Wait for half a MiB more. */
  async function untilWritten(link: Link): Promise<void> {
    const goal = (await written(link)) + 1024;
    await lab.guest.sh(
      `until [ $(awk '{ print $7 }' /sys/block/${paths[link]!}/stat) -gt ${goal} ]; do sleep 0.2; done`,
    );
  }

  /** Half a MiB goes by one path, and nothing by the other, once those have ended that were under way. */
  async function onlyBy(link: Link): Promise<void> {
    await untilWritten(link);
    const other = link === 0 ? 1 : 0;
    const before = await written(other);
    await untilWritten(link);
    assert.equal(await written(other), before, 'writes by the path that is not to have any');
  }

  before(async () => {
    const { guest } = lab;
    const target = (served: readonly string[]) => {
      portals = served;
      return alua(['active/optimized', 'active/non-optimized'], false);
    };
    await discover(guest, await lab.serveWith({ target }, { image: 'disk.img', create: '256M' }));
    await guest.sh(`
      modprobe -a dm_multipath dm_round_robin dm_service_time scsi_dh_alua
      echo '${CONFIGURATION}' >/etc/multipath.conf
      multipathd`);
    await login(guest, lab.riser);
    for (const link of [0, 1] as const) {
      const [disk] = await findDisks(guest, lab.riser, 1, link);
      paths.push(disk!.replace('/dev/', ''));
    }
    await guest.sh(
      `until [ -e /dev/dm-0 ] && [ $(multipathd show paths raw format %d | wc -l) = 2 ]; do sleep 0.5; done`,
    );
  });

  test('sg_rtpg and sg_vpd tell the groups, and multipathd their priorities', async () => {
    const { guest } = lab;
    assert.deepEqual(await told(0), [
      [0, 0],
      [1, 0],
    ]);
    assert.deepEqual(await told(1), await told(0));
    for (const link of [0, 1] as const) {
      const page = await guest.sh(`sg_vpd --page=di /dev/${paths[link]!}`);
      assert.match(page, new RegExp(`Target port group: 0x${link + 1}`));
      assert.match(page, /Logical unit group: 0x1/);
    }
    const inquiry = await guest.sh(`sg_inq /dev/${paths[0]!}`);
    assert.match(inquiry, /TPGS=1/);
    await guest.sh(`
      until [ "$(multipathd show paths raw format '%d %p' | awk '{ print $1, $2 }' | sort | xargs)" = "${[`${paths[0]!} 50`, `${paths[1]!} 10`].sort().join(' ')}" ]; do
        sleep 0.5
      done`);
  });

  test('writes follow the active group, there and back, without an error', async () => {
    const { guest, riser } = lab;
    const writes = guest.start(
      `until [ -e /tmp/enough ]; do
        fio --name=writes --filename=/dev/dm-0 --size=16M --rw=randwrite --bs=16k --iodepth=16 --rate=2m \\
          --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1
      done`,
      { limit: 300 },
    );
    await onlyBy(0);
    for (const state of ['standby', 'unavailable'] as const) {
      await riser.reconfigure(alua([state, 'active/non-optimized'], false));
      await onlyBy(1);
      assert.deepEqual(await told(1), [
        [state === 'standby' ? 2 : 3, 2],
        [1, 0],
      ]);
      await riser.reconfigure(alua(['active/optimized', 'active/non-optimized'], false));
      await untilWritten(0);
      await onlyBy(0);
    }
    await riser.reconfigure(alua(['transitioning', 'transitioning'], false));
    await guest.sh('sleep 3');
    const before = (await written(0)) + (await written(1));
    await guest.sh('sleep 1');
    assert.equal((await written(0)) + (await written(1)), before, 'nobody gets through');
    await riser.reconfigure(alua(['standby', 'active/optimized'], false));
    await onlyBy(1);
    assert.equal(writes.isOver, false, 'the writes have ended too soon');
    await guest.sh('touch /tmp/enough');
    await writes.done;
  });

  test('sg_stpg changes states where initiators may', async () => {
    const { guest, riser } = lab;
    await guest.sh('multipathd shutdown; until multipath -F; do sleep 0.5; done');
    await riser.reconfigure(alua(['active/optimized', 'active/non-optimized'], true));
    // The target has been replaced: both sessions begin anew.
    await guest.sh(
      `for disk in ${paths.join(' ')}; do until sg_inq /dev/$disk 2>/dev/null | grep -q TPGS=3; do sleep 0.5; done; done`,
    );
    await guest.sh(`sg_turs /dev/${paths[0]!} || sg_turs /dev/${paths[0]!}`);
    await guest.sh(`sg_stpg --tp=1,2 --state=2,0 /dev/${paths[0]!}`);
    assert.deepEqual(await told(1), [
      [2, 1],
      [0, 1],
    ]);
    const refused = await guest.sh(`sg_turs -v /dev/${paths[0]!} 2>&1 || true`);
    assert.match(refused, /target port in standby state/i);
    await guest.sh(`dd if=/dev/${paths[1]!} of=/dev/null bs=4096 count=1 iflag=direct status=none`);
    const wrong = await guest.sh(`sg_stpg -v --tp=9 --state=0 /dev/${paths[1]!} 2>&1 || true`);
    assert.match(wrong, /Illegal request|Invalid field in parameter list/i);
    await guest.sh(`sg_stpg --tp=1 --state=0 /dev/${paths[1]!}`);
    assert.deepEqual(await told(0), [
      [0, 1],
      [0, 1],
    ]);
  });
});
