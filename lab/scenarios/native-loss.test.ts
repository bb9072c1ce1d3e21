/**
 * rdma_rxe is taken away under load and comes back: sessions end with a clear reason, and go on. The kernel's initiator and
 * Riser's with Riser's target, in one guest.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { GUEST_PROGRAM, type GuestRiser, startGuestRiser } from '../harness/guest-riser.js';
import {
  discoverOverIser,
  loginOverIser,
  logoutOverIser,
  withoutMultipath,
} from '../harness/iser-initiator.js';
import { addRdmaDevices, listening, RXE } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { verifiedWrites } from '../harness/verified-io.js';

const PORTAL = `${RXE.address}:3260`;
/** A copy that is not over before the device is gone. */
const SIZE = 112 << 20;

scenario('native-loss', { limit: 1200 }, (lab) => {
  let riser: GuestRiser;
  const lun = () => ({ portal: PORTAL, target: riser.target, lun: riser.lun });

  before(async () => {
    await withoutMultipath(lab.guest);
    await addRdmaDevices(lab.guest);
    riser = await startGuestRiser(lab.guest, lab.folder, { portal: PORTAL, image: '128M' });
    await discoverOverIser(lab.guest, PORTAL);
  });

  /** Waits until nobody has the device open any more: its driver cannot take it from programs. */
  async function deviceIsMadeAnew(): Promise<void> {
    const since = riser.log().length;
    await lab.guest.sh(
      `timeout 60 rdma link delete ${RXE.name}
      sleep 2
      rdma link add ${RXE.name} type rxe netdev roce0
      ${listening(3260)}`,
    );
    assert.match(riser.log().slice(since), new RegExp(`${RXE.name} is lost: the device .*"`));
  }

  /** rdma_rxe then receives nothing that makes connections, whatever the programs (docs/PEERS.md), until it is made anew. */
  async function interfaceIsDown(): Promise<void> {
    const since = riser.log().length;
    await lab.guest.sh('ip link set roce0 down; sleep 3; ip link set roce0 up');
    await lab.guest.sh(listening(3260));
    assert.match(riser.log().slice(since), /its port is down.*its port is up again/s);
    await deviceIsMadeAnew();
  }

  /** At once where work was under way that the device refused, or with the device. */
  const ENDED =
    /"session closed: .*: (the device .*|work on the connection has failed: LOCAL_QP_OPERATION_ERROR)"/;

  for (const [name, happen] of Object.entries({ deviceIsMadeAnew, interfaceIsDown })) {
    test(`the kernel's writes go on after: ${name}`, async () => {
      const disk = await loginOverIser(lab.guest, lun());
      const since = riser.log().length;
      await verifiedWrites(lab.guest, disk, happen);
      assert.match(riser.log().slice(since), ENDED);
      assert.match(await lab.guest.sh('iscsiadm -m session'), /^iser: /);
      await logoutOverIser(lab.guest, lun());
    });
  }

  test("a copy of Riser's goes on after its device was made anew", async () => {
    writeFileSync(lab.file('in.img'), randomBytes(SIZE));
    const since = riser.log().length;
    const copying = lab.guest.start(
      `ulimit -l unlimited
      ${GUEST_PROGRAM} copy /lab/in.img iser://${PORTAL}/${riser.target}/0 --verify --device ${RXE.name} >/lab/copy.log 2>&1`,
      { limit: 240 },
    );
    await lab.guest.sh(
      `until tail -c +${since + 1} /lab/riser.log | grep -q 'session opened: .*io.riser'; do sleep 0.1; done`,
    );
    await deviceIsMadeAnew();
    assert.equal(copying.isOver, false, 'the copy ended before the device was there again');
    await copying.done;
    // Both ends look for the device every second: who misses it first ends the connection, which it still carries.
    const ofTarget = riser.log().slice(since);
    if (/session closed: .*closed by the initiator"/.test(ofTarget))
      assert.match(lab.read('copy.log').toString(), /the connection is lost: the device rxe0 is gone/);
    else assert.match(ofTarget, ENDED);
    await lab.guest.sh(`cmp -n ${SIZE} /lab/in.img /dev/shm/riser.img`);
  });

  test('nothing is left of them', async () => {
    const resources = await lab.guest.sh(
      `rdma resource show qp link ${RXE.name} | grep -F 'comm node' || true
      ls -l /proc/$(cat /run/riser.pid)/fd | grep -c 'uverbs.*(deleted)' || true`,
    );
    assert.equal(resources, '0');
    await riser.stop();
    const left = await lab.guest.sh(`rdma resource show | grep '${RXE.name}:'`);
    assert.match(left, /pd \d+ cq \d+ qp \d+ cm_id 0 mr \d+ ctx 0/);
  });

  after(async () => {
    await lab.guest.run('iscsiadm -m node --logoutall=all');
  });
});
