/** The kernel's iSER initiator and Riser in one guest, by rdma_rxe: verified I/O, CHAP, file systems, and many logins. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { type GuestRiser, NAME, startGuestRiser } from '../harness/guest-riser.js';
import {
  connectionsOf,
  discoverOverIser,
  loginOverIser,
  loginRounds,
  logoutOverIser,
  withoutMultipath,
} from '../harness/iser-initiator.js';
import { addRdmaDevices, RXE, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { nameOf, verifiedIo } from '../harness/verified-io.js';

const PORTAL = `${RXE.address}:3260`;
const SECRET = 'aliceHasASecret1';
const ROUNDS = 10;

const ACCESSES = [
  { rw: 'randwrite', blockSizes: '4k-4k', depth: 32, mebibytes: 2 },
  { rw: 'randwrite', blockSizes: '128k-1m', depth: 8, mebibytes: 8 },
  { rw: 'randrw', blockSizes: '4k-1m', depth: 32, mebibytes: 8 },
] as const;

scenario('native-target', { limit: 900 }, (lab) => {
  let riser: GuestRiser;
  let disk = '/dev/no-disk';

  before(async () => {
    await withoutMultipath(lab.guest);
    await addRdmaDevices(lab.guest);
  });
  const lun = () => ({ portal: PORTAL, target: riser.target, lun: riser.lun });

  test(`it listens by ${RXE.name}, and is found by it`, async () => {
    riser = await startGuestRiser(lab.guest, lab.folder, { portal: PORTAL });
    assert.match(riser.log(), new RegExp(`listening on .*${RXE.name}, ${RXE.address} port 3260, for iSER`));
    assert.equal(await discoverOverIser(lab.guest, PORTAL), `${PORTAL},1 ${riser.target}`);
  });

  test('a session is by the device, on both sides', async () => {
    disk = await loginOverIser(lab.guest, lun());
    assert.match(await lab.guest.sh('iscsiadm -m session'), /^iser: /);
    assert.match(await connectionsOf(lab.guest, RXE), new RegExp(`state CONNECT .* dst-addr ${PORTAL}`));
    assert.match(riser.log(), new RegExp(`session opened: .* over iSER by ${RXE.name}`));
  });

  for (const access of ACCESSES) test(nameOf(access), () => verifiedIo(lab.guest, disk, access));

  test('a file system holds what is written to it', async () => {
    await lab.guest.sh(
      `
      mkfs.ext4 -q -E nodiscard ${disk}
      mount ${disk} /mnt
      dd if=/dev/urandom of=/mnt/file bs=1M count=4 status=none
      sum=$(sha256sum </mnt/file)
      umount /mnt
      echo 3 >/proc/sys/vm/drop_caches
      mount ${disk} /mnt
      [ "$(sha256sum </mnt/file)" = "$sum" ]
      umount /mnt
      e2fsck -fn ${disk}`,
      { limit: 180 },
    );
  });

  test(`${ROUNDS} rounds of login and logout leave nothing behind`, async () => {
    await logoutOverIser(lab.guest, lun());
    await loginRounds(lab.guest, lun(), ROUNDS);
    assert.equal(await connectionsOf(lab.guest, RXE), '');
    // What listens is the server's only connection, its queue pairs and their memory are gone.
    const held = await lab.guest.sh(
      `rdma resource show qp link ${RXE.name} | grep -c 'comm node' || true
      rdma resource show cm_id link ${RXE.name} | grep node || true`,
    );
    assert.match(held, /^0\n.*LISTEN[^\n]*$/);
    await riser.stop();
    const left = await lab.guest.sh(`rdma resource show | grep '${RXE.name}:'`);
    assert.match(left, /pd \d+ cq \d+ qp \d+ cm_id 0 mr \d+ ctx 0/);
  });

  test('CHAP: the right secret opens a session, a wrong one does not', async () => {
    writeFileSync(lab.file('alice'), `${SECRET}\n`, { mode: 0o600 });
    writeFileSync(
      lab.file('riser.yaml'),
      JSON.stringify({
        portals: [PORTAL],
        targets: [
          {
            name: NAME,
            luns: [{ lun: 0, memory: '64M' }],
            auth: { chap: { users: [{ name: 'alice', secretFile: 'alice' }] } },
          },
        ],
      }),
    );
    riser = await startGuestRiser(lab.guest, lab.folder, { configuration: 'riser.yaml', portal: PORTAL });
    const node = `iscsiadm -m node -T ${riser.target} -p ${PORTAL} -I iser`;
    const secret = (value: string): string =>
      `${node} -o update -n node.session.auth.authmethod -v CHAP -n node.session.auth.username -v alice \\
        -n node.session.auth.password -v ${value}`;
    const refused = await lab.guest.sh(
      `${secret('aWrongSecret1234')}; ${node} --login 2>&1 || true; ! iscsiadm -m session 2>/dev/null`,
    );
    assert.match(refused, /authorization failure/);
    await lab.guest.sh(secret(SECRET));
    disk = await loginOverIser(lab.guest, lun());
    await lab.guest.sh(`dd if=${disk} of=/dev/null bs=1M count=4 iflag=direct status=none`);
    assert.match(riser.log(), new RegExp(`as alice on .* over iSER by ${RXE.name}`));
    await logoutOverIser(lab.guest, lun());
    await riser.stop();
  });

  // siw listens by the system's own TCP, so the port cannot be had twice.
  test(`${SIW.name}: a portal on its address is of TCP and of software iWARP, and says so`, async () => {
    const portal = `${SIW.address}:3260`;
    riser = await startGuestRiser(lab.guest, lab.folder, { portal });
    const why = `not listening on .*${SIW.name}, ${SIW.address} port 3260: its ports are those of TCP`;
    assert.match(riser.log(), new RegExp(why));
    await discoverOverIser(lab.guest, portal);
    const here = { portal, target: riser.target, lun: riser.lun };
    disk = await loginOverIser(lab.guest, here);
    await verifiedIo(lab.guest, disk, { rw: 'randrw', blockSizes: '4k-128k', depth: 16, mebibytes: 2 });
    assert.match(riser.log(), /session opened: .* over iSER"/);
    await logoutOverIser(lab.guest, here);
    assert.equal(await connectionsOf(lab.guest, SIW), '');
  });

  after(async () => {
    await lab.guest.run('iscsiadm -m node --logoutall=all');
  });
});
