/**
 * rdma_rxe is taken away under load, and its interface is down for a while: sessions end with a clear reason, and go on when it
 * is back. The kernel's initiator with Riser's target, and Riser's initiator with it, in one guest.
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
import { verifiedWrites } from '../harness/verified-writes.js';

const PORTAL = `${RXE.address}:3260`;
const SIZE = 16 << 20;
const SERVED = { portal: PORTAL, image: '128M' };

scenario('native-loss', { limit: 1200 }, (lab) => {
  let riser: GuestRiser;
  const lun = () => ({ portal: PORTAL, target: riser.target, lun: riser.lun });
  const url = () => `iser://${PORTAL}/${riser.target}/0`;

  before(async () => {
    await withoutMultipath(lab.guest);
    await addRdmaDevices(lab.guest);
    riser = await startGuestRiser(lab.guest, lab.folder, SERVED);
    await discoverOverIser(lab.guest, PORTAL);
  });

  /** For 3 s: packets are lost, and connections that lose too many end. */
  const interfaceIsDown = (): Promise<string> =>
    lab.guest.sh(`ip link set roce0 down; sleep 3; ip link set roce0 up\n${listening(3260)}`);

  /**
   * rdma_rxe cannot take itself from programs, so it is gone when the last one that used it has ended: Riser lets go
   * of it, and librdmacm does with the process.
   */
  async function deviceIsDeleted(): Promise<void> {
    const deleted = lab.guest.start(`rdma link delete ${RXE.name}`);
    await lab.guest.sh(`until grep -q '${RXE.name} is lost' /lab/riser.log; do sleep 0.2; done`);
    assert.match(riser.log(), /"session closed: /);
    await riser.stop();
    await deleted.done;
    await lab.guest.sh(`rdma link add ${RXE.name} type rxe netdev roce0`);
    riser = await startGuestRiser(lab.guest, lab.folder, SERVED);
    await lab.guest.sh(listening(3260));
  }

  for (const [name, happen] of Object.entries({ interfaceIsDown, deviceIsDeleted })) {
    test(`the kernel's writes go on after: ${name}`, async () => {
      const disk = await loginOverIser(lab.guest, lun());
      await verifiedWrites(lab.guest, disk, happen);
      assert.match(await lab.guest.sh('iscsiadm -m session'), /^iser: /);
      await logoutOverIser(lab.guest, lun());
    });
  }

  test("a copy of Riser's goes on after its interface was down", async () => {
    writeFileSync(lab.file('in.img'), randomBytes(SIZE));
    const before = riser.log().length;
    const copying = lab.guest.start(
      `ulimit -l unlimited
      ${GUEST_PROGRAM} copy /lab/in.img ${url()} --verify --device ${RXE.name} >/lab/copy.log 2>&1`,
      { limit: 240 },
    );
    await lab.guest.sh(
      `until tail -c +${before + 1} /lab/riser.log | grep -q 'session opened'; do sleep 0.1; done`,
    );
    await interfaceIsDown();
    await copying.done;
    await lab.guest.sh(`cmp -n ${SIZE} /lab/in.img /dev/shm/riser.img`);
  });

  test('nothing is left of them', async () => {
    const qps = await lab.guest.sh(`rdma resource show qp link ${RXE.name} | grep -F '[node]' || true`);
    assert.equal(qps, '');
    await riser.stop();
    const left = await lab.guest.sh(`rdma resource show | grep '${RXE.name}:'`);
    assert.match(left, /pd \d+ cq \d+ qp \d+ cm_id 0 mr \d+ ctx 0/);
  });

  after(async () => {
    await lab.guest.run('iscsiadm -m node --logoutall=all');
  });
});
