/**
 * rdma_rxe is taken away under load, and its interface is down for a while: sessions end with a clear reason, and go on when it
 * is back. The kernel's initiator with Riser's target, and Riser's initiator with it, in one guest.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { GUEST_PROGRAM, type GuestRiser, riserInGuest, startGuestRiser } from '../harness/guest-riser.js';
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
const SIZE = 32 << 20;

/** What happens to the device, in 3 s; the end is that Riser listens by it again. */
const LOSSES = {
  'the device is deleted': `
    timeout 60 rdma link delete ${RXE.name}
    sleep 3
    rdma link add ${RXE.name} type rxe netdev roce0`,
  'its interface is down': `
    ip link set roce0 down
    sleep 3
    ip link set roce0 up`,
};

scenario('native-loss', { limit: 1200 }, (lab) => {
  let riser: GuestRiser;
  const lun = () => ({ portal: PORTAL, target: riser.target, lun: riser.lun });
  const url = () => `iser://${PORTAL}/${riser.target}/0`;
  const happens = (script: string): Promise<string> => lab.guest.sh(`${script}\n${listening(3260)}`);

  before(async () => {
    await withoutMultipath(lab.guest);
    await addRdmaDevices(lab.guest);
    riser = await startGuestRiser(lab.guest, lab.folder, { portal: PORTAL, memory: '128M' });
    await discoverOverIser(lab.guest, PORTAL);
  });

  for (const [name, script] of Object.entries(LOSSES)) {
    test(`the kernel's writes, while ${name}`, async () => {
      const disk = await loginOverIser(lab.guest, lun());
      await verifiedWrites(lab.guest, disk, () => happens(script));
      assert.match(await lab.guest.sh('iscsiadm -m session'), /^iser: /);
      await logoutOverIser(lab.guest, lun());
    });

    test(`a copy of Riser's, while ${name}`, async () => {
      writeFileSync(lab.file('in.img'), randomBytes(SIZE));
      const before = riser.log().length;
      // Slowly, so that it is still under way.
      const copying = lab.guest.start(
        `ulimit -l unlimited
        ${GUEST_PROGRAM} copy /lab/in.img ${url()} --verify --device ${RXE.name} --log-level debug >/lab/copy.log 2>&1`,
        { limit: 240 },
      );
      await lab.guest.sh(
        `until tail -c +${before + 1} /lab/riser.log | grep -q 'session opened'; do sleep 0.1; done; sleep 1`,
      );
      await happens(script);
      await copying.done;
      await riserInGuest(lab.guest, `compare /lab/in.img ${url()} --device ${RXE.name}`);
    });
  }

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
