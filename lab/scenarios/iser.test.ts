/**
 * The kernel's iSER initiator over siw, and Riser on the host, at an ordinary TCP port; beside it a session over TCP
 * with the same LUN. Little is transferred, so that tshark can follow all of it; `iser-io` transfers more.
 */

import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { TARGET } from '../harness/host-riser.js';
import {
  addPortal,
  connectionsOf,
  diskThrough,
  discoverOverIser,
  initiatorStarts,
  loginOverIser,
  logoutOverIser,
  withoutMultipath,
} from '../harness/iser-initiator.js';
import { configure, discoverWith, type Settings } from '../harness/open-iscsi.js';
import { addRdmaDevices, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { verifiedWrites } from '../harness/verified-io.js';

const MIB = 1024 * 1024;
const GROWN = 320 * MIB;
const SECRETS = { alice: 'aliceHasASecret1', finder: 'finderHasOneToo2', riser: 'theTargetHasOne3' };
const WRONG = 'aWrongSecret1234';

/** What each side proves itself with, in a record whose names begin with `prefix`. */
const right = (prefix: string, user: 'alice' | 'finder') => ({
  [`${prefix}.auth.authmethod`]: 'CHAP',
  [`${prefix}.auth.username`]: user,
  [`${prefix}.auth.password`]: SECRETS[user],
  [`${prefix}.auth.username_in`]: 'riser',
  [`${prefix}.auth.password_in`]: SECRETS.riser,
});
const SESSION = {
  ...right('node.session', 'alice'),
  'node.session.auth.chap_algs': 'SHA256',
  // Without pings, a command that takes too long is aborted, whatever the connection does.
  'node.conn[0].timeo.noop_out_interval': '0',
  'node.conn[0].timeo.noop_out_timeout': '0',
};
const DISCOVERY = right('discovery.sendtargets', 'finder');

const REFUSED = /initiator failed authorization/;

/** Exit status of the sg3_utils: status RESERVATION CONFLICT. */
const CONFLICT = 24;

/** Seconds after which the kernel aborts a command, and for which Riser is stopped: longer, but not for the next step, a reset. */
const COMMAND_TIMEOUT = 3;
const STOPPED = 7;

/** How the kernel reports the RESERVE(6) that conflicts; of other commands it says no more than that they did. */
const expected =
  /FAILED Result: hostbyte=DID_OK driverbyte=DRIVER_OK cmd_age=\d+s CDB: Reserve\(6\) 16 00 00 00 00 00$/;

// One processor, as two can lose a login of several requests (docs/PEERS.md).
scenario('iser', { capture: true, protocol: 'iSER', processors: 1, expected }, (lab) => {
  /** The same LUN over iSER and over TCP. */
  let iser: string;
  let tcp: string;

  before(async () => {
    await withoutMultipath(lab.guest);
    await addRdmaDevices(lab.guest);
    for (const [name, secret] of Object.entries(SECRETS)) {
      writeFileSync(lab.file(name), `${secret}\n`, { mode: 0o600 });
    }
    const mutual = { name: 'riser', secretFile: 'riser' };
    const auth = (user: string) => ({ chap: { users: [{ name: user, secretFile: user }], mutual } });
    await lab.serveWith(
      {
        rdma: true,
        target: { auth: auth('alice') },
        server: { discovery: { auth: auth('finder') }, failedLogins: { limit: 1000 } },
      },
      { image: 'disk.img', create: '256M' },
    );
  });

  /** Where the LUN is. */
  const lun = () => ({ portal: lab.riser.portal(), target: TARGET, lun: 0 });

  /** Do each of `commands` in turn; the status of each. */
  async function statuses(...commands: string[]): Promise<number[]> {
    const each = commands.map((command) => `${command} >&2 && echo 0 || echo $?`);
    return (await lab.guest.sh(each.join('\n'))).split('\n').map(Number);
  }
  const reserve = (disk: string): string => `sg_raw -R ${disk} 16 00 00 00 00 00`;
  const release = (disk: string): string => `sg_raw -R ${disk} 17 00 00 00 00 00`;
  /** Write a block of zeros. */
  const write = (disk: string): string =>
    `sg_raw -R --send=512 --infile=/dev/zero ${disk} 2a 00 00 00 00 00 00 00 01 00`;

  test('discovery over iSER proves both sides by CHAP; with a wrong secret it finds nothing', async () => {
    const { guest, riser } = lab;
    const discovery = (settings: Settings) => discoverWith(guest, riser, settings, 'iser');
    const [own, targets] = ['discovery.sendtargets.auth.password', 'discovery.sendtargets.auth.password_in'];
    await assert.rejects(discoverOverIser(guest, riser.portal()), REFUSED);
    await assert.rejects(discovery({ ...DISCOVERY, [own]: WRONG }), REFUSED);
    await assert.rejects(discovery({ [own]: SECRETS.finder, [targets]: WRONG }), /incorrect CHAP response/);
    // The host knows itself by another address than the guest does.
    assert.equal(await discovery({ [targets]: SECRETS.riser }), `127.0.0.1:${riser.port},1 ${TARGET}`);
  });

  test('a session: both secrets must be right', async () => {
    const { guest, riser } = lab;
    await addPortal(guest, riser.portal(), TARGET);
    await configure(guest, { ...SESSION, 'node.session.initial_login_retry_max': '1' });
    const [own, targets] = ['node.session.auth.password', 'node.session.auth.password_in'];
    for (const wrong of [{ [own]: WRONG }, { [own]: SECRETS.alice, [targets]: WRONG }]) {
      await configure(guest, wrong);
      await assert.rejects(loginOverIser(guest, lun()), /initiator reported error/);
      assert.equal((await guest.run('iscsiadm -m session')).stdout, '');
    }
    await configure(guest, { [targets]: SECRETS.riser });
    iser = await loginOverIser(guest, lun());
    assert.match(await guest.sh('iscsiadm -m session'), /^iser: /);
    assert.match(await connectionsOf(guest, SIW), new RegExp(`state CONNECT .* dst-addr ${riser.portal()}`));
    const log = lab.read('riser.log').toString();
    assert.match(log, /as alice on .*over iSER/);
    assert.match(log, /wrong response of user \\"alice\\"/);
  });

  test('partition, file system, files', async () => {
    await lab.guest.sh(`
      echo 'start=2048, size=32MiB' | sfdisk -q ${iser}
      udevadm settle
      mkfs.ext4 -q ${iser}1; mount ${iser}1 /mnt
      dd if=/dev/urandom of=/mnt/a bs=1M count=1 status=none; cp /mnt/a /mnt/b; sync
      echo 3 >/proc/sys/vm/drop_caches
      cmp /mnt/a /mnt/b; umount /mnt; e2fsck -fn ${iser}1`);
  });

  test('a second session, over TCP, to the same portal sees what the first one wrote', async () => {
    const { guest, riser } = lab;
    await guest.sh(initiatorStarts('default'));
    await addPortal(guest, riser.portal(), TARGET, 'default');
    await configure(guest, SESSION);
    await guest.sh(`iscsiadm -m node -T ${TARGET} -p ${riser.portal()} -I default --login >/dev/null`);
    tcp = await diskThrough(guest, 'default');
    assert.notEqual(tcp, iser);
    assert.match(await guest.sh('iscsiadm -m session'), /^iser: .*\n?tcp: |^tcp: .*\n?iser: /);
    // Their ISIDs differ: with the same, the login would have reinstated the session that there was.
    const log = lab.read('riser.log').toString();
    assert.match(log, /as alice on .*over TCP/);
    assert.doesNotMatch(log, /session closed/);
    await guest.sh(`mount -o ro ${tcp}1 /mnt; cmp /mnt/a /mnt/b; umount /mnt`);
    await guest.sh(`cmp -n ${MIB} ${iser} ${tcp}`);
    // From here on nobody needs its names, and its programs would read the disks at every turn.
    await guest.sh('udevadm settle; udevadm control --exit');
  });

  test('what one session reserves, the other may not write, until it is released', async () => {
    for (const [holder, other] of [
      [iser, tcp],
      [tcp, iser],
    ] as const) {
      assert.deepEqual(
        await statuses(
          ...[reserve(holder), reserve(other), write(other), write(holder)],
          // From a session that holds nothing it does nothing.
          ...[release(other), write(other), release(holder), write(other)],
        ),
        [0, CONFLICT, CONFLICT, 0, 0, CONFLICT, 0, 0],
      );
    }
  });

  /** Wait until the kernel says that a unit attention has come for `disk`; whatever command is first meets it. */
  async function attention(disk: string, said: string): Promise<void> {
    await lab.guest.sh(`
      lun=$(basename $(readlink -f /sys/block/$(basename ${disk})/device))
      until dmesg | grep "sd $lun: ${said}" >/dev/null; do sg_turs ${disk} 2>/dev/null || true; sleep 0.2; done`);
  }

  test('a reset by one session ends the reservation of the other, which is told', async () => {
    const { guest } = lab;
    for (const [holder, other] of [
      [iser, tcp],
      [tcp, iser],
    ] as const) {
      assert.deepEqual(await statuses(reserve(holder), write(other)), [0, CONFLICT]);
      await guest.sh(`dmesg --clear; sg_reset --no-esc --device ${other}`);
      await attention(holder, 'Power-on or device reset occurred');
      // The one that did it may be told as well.
      assert.deepEqual(await statuses(`(sg_turs ${other} || true)`, write(other)), [0, 0]);
    }
  });

  test('both sessions are told that the LUN has grown', async () => {
    truncateSync(lab.file('disk.img'), GROWN);
    for (const disk of [iser, tcp]) await attention(disk, 'Capacity data has changed');
    await lab.guest.sh('iscsiadm -m session --rescan >/dev/null');
    for (const disk of [iser, tcp]) {
      assert.equal(await lab.guest.sh(`blockdev --getsize64 ${disk}`), String(GROWN));
    }
  });

  /** Requests for task management that the kernel has sent for a disk, of which all have been answered. */
  async function taskManagement(disk: string): Promise<number> {
    const said = await lab.guest.sh(`
      session=$(readlink -f /sys/block/$(basename ${disk})/device | grep -o 'session[0-9]*' | head -1)
      iscsiadm -m session -r \${session#session} -s`);
    const [requests, responses] = ['tmfcmd_pdus', 'tmfrsp_pdus'].map((name) =>
      Number(new RegExp(`${name}: (\\d+)`).exec(said)?.[1]),
    );
    assert.equal(responses, requests);
    return requests!;
  }

  test('commands that take too long are aborted, and done again', async () => {
    const { guest, riser } = lab;
    const timeout = `/sys/block/${iser.replace('/dev/', '')}/device/timeout`;
    const before = await taskManagement(iser);
    await guest.sh(`echo ${COMMAND_TIMEOUT} >${timeout}`);
    await verifiedWrites(guest, iser, async () => {
      process.kill(riser.pid, 'SIGSTOP');
      await delay(STOPPED * 1000);
      process.kill(riser.pid, 'SIGCONT');
    });
    await guest.sh(`echo 30 >${timeout}`);
    assert.ok((await taskManagement(iser)) > before, 'nothing was aborted');
  });

  for (const what of ['device', 'target']) {
    test(`writes go on when the ${what} is reset`, async () => {
      const before = await taskManagement(iser);
      await verifiedWrites(lab.guest, iser, () => lab.guest.sh(`sg_reset --no-esc --${what} ${iser}`));
      assert.equal(await taskManagement(iser), before + 1);
    });
  }

  test('logout', async () => {
    const { guest, riser } = lab;
    await logoutOverIser(guest, lun());
    assert.equal(await connectionsOf(guest, SIW), '');
    // It is told of the resets first.
    assert.deepEqual(await statuses(`(sg_turs ${tcp} || true)`, write(tcp)), [0, 0]);
    await guest.sh(`iscsiadm -m node -T ${TARGET} -p ${riser.portal()} -I default --logout >/dev/null`);
    const log = lab.read('riser.log').toString();
    for (const secret of [...Object.values(SECRETS), WRONG]) assert.ok(!log.includes(secret));
    const ends = [...log.matchAll(/"transport":"(.*?)","reason":"(.*?)","msg":"session closed/g)];
    assert.deepEqual(
      ends.map(([, transport, reason]) => `${transport}: ${reason}`),
      ['iser: logout', 'tcp: logout'],
    );
  });
});
