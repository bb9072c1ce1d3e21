/**
 * Riser's initiator in the guest by siw, with Riser on the host by software iWARP: where little memory may be locked, and where siw is taken
 * away under load and comes back.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { before, test } from 'node:test';

import { GUEST_PROGRAM, riserInGuest } from '../harness/guest-riser.js';
import { type HostRiser, TARGET } from '../harness/host-riser.js';
import { addRdmaDevices, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';

/** A copy that is not over before the device is gone. */
const SIZE = 96 << 20;

scenario('native-siw', { limit: 600 }, (lab) => {
  let riser: HostRiser;
  const url = (): string => `iser://${riser.portal()}/${TARGET}/0`;

  before(async () => {
    await addRdmaDevices(lab.guest);
    writeFileSync(lab.file('in.img'), randomBytes(SIZE));
    riser = await lab.serveWith({ rdma: true }, { memory: String(SIZE) });
  });

  // siw holds root to the limit, too.
  test('memory that may not be locked is told with its remedy', async () => {
    const { status, stderr } = await lab.guest.run(
      `ulimit -l 64
      ${GUEST_PROGRAM} info ${url()} --device ${SIW.name}`,
      { limit: 120 },
    );
    assert.notEqual(status, 0);
    assert.match(stderr, /Raise the limit of locked memory: "ulimit -l", or LimitMEMLOCK=/);
  });

  test('a copy goes on after the device was made anew', async () => {
    const copying = lab.guest.start(
      `ulimit -l unlimited
      ${GUEST_PROGRAM} copy /lab/in.img ${url()} --verify --device ${SIW.name} >/lab/copy.log 2>&1`,
      { limit: 240 },
    );
    await lab.guest.sh(
      `until grep -q 'session opened: .*io.riser' /lab/riser.log; do sleep 0.1; done
      sleep 1
      timeout 60 rdma link delete ${SIW.name}
      sleep 2
      rdma link add ${SIW.name} type siw netdev eth0`,
    );
    assert.equal(copying.isOver, false, 'the copy ended before the device was there again');
    await copying.done;
    assert.match(readFileSync(lab.file('copy.log'), 'utf8'), new RegExp(`the device ${SIW.name} is gone`));
    await riserInGuest(lab.guest, `compare /lab/in.img ${url()} --device ${SIW.name}`);
  });

  test('nothing is left of it', async () => {
    const left = await lab.guest.sh(`rdma resource show | grep '${SIW.name}:'`);
    assert.match(left, /pd \d+ cq \d+ qp \d+ cm_id 0 mr 0 ctx 0/);
  });
});
