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
  loginOverIser,
  logoutOverIser,
  startInitiator,
} from '../harness/iser-initiator.js';
import { configure, discoverWith } from '../harness/open-iscsi.js';
import { addRdmaDevices, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';

const MIB = 1024 * 1024;
const SECRETS = { alice: 'aliceHasASecret1', finder: 'finderHasOneToo2', riser: 'theTargetHasOne3' };
const WRONG = 'aWrongSecret1234';

/** What a session logs in with: its own secret, and the one that it wants of the target. */
const secrets = (own: string, target: string) => ({
  'node.session.auth.authmethod': 'CHAP',
  'node.session.auth.chap_algs': 'SHA256',
  'node.session.auth.username': 'alice',
  'node.session.auth.password': own,
  'node.session.auth.username_in': 'riser',
  'node.session.auth.password_in': target,
});
const finder = (own: string, target: string) => ({
  'discovery.sendtargets.auth.authmethod': 'CHAP',
  'discovery.sendtargets.auth.username': 'finder',
  'discovery.sendtargets.auth.password': own,
  'discovery.sendtargets.auth.username_in': 'riser',
  'discovery.sendtargets.auth.password_in': target,
});

/** Exit statuses of the sg3_utils: status RESERVATION CONFLICT, and sense key UNIT ATTENTION. */
const CONFLICT = 24;
const ATTENTION = 6;
const RESERVE = '16 00 00 00 00 00';
const RELEASE = '17 00 00 00 00 00';

/** Seconds after which the kernel aborts a command, and for which Riser is stopped: longer, but not for the next step, a reset. */
const COMMAND_TIMEOUT = 3;
const STOPPED = 7;

scenario('iser', { capture: true, protocol: 'iWARP' }, (lab) => {
  /** The same LUN over iSER and over TCP. */
  let iser: string;
  let tcp: string;

  before(async () => {
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

  /** A command without data, of the twelve digits `cdb`; its status. The disk is opened for reading only: udev takes no notice. */
  async function command(disk: string, cdb: string): Promise<number> {
    return (await lab.guest.run(`sg_raw -R ${disk} ${cdb}`)).status;
  }

  /** Write a block of zeros. */
  async function write(disk: string): Promise<number> {
    const { status } = await lab.guest.run(
      `sg_raw -R --send=512 --infile=/dev/zero ${disk} 2a 00 00 00 00 00 00 00 01 00`,
    );
    return status;
  }

  test('discovery over iSER proves both sides by CHAP; with a wrong secret it finds nothing', async () => {
    const { guest, riser } = lab;
    const discovery = (own: string, target: string) =>
      discoverWith(guest, riser, finder(own, target), 'iser');
    await startInitiator(guest);
    await assert.rejects(discoverOverIser(guest, riser.portal()));
    await assert.rejects(discovery(WRONG, SECRETS.riser));
    await assert.rejects(discovery(SECRETS.finder, WRONG));
    // The host knows itself by another address than the guest does.
    assert.equal(await discovery(SECRETS.finder, SECRETS.riser), `127.0.0.1:${riser.port},1 ${TARGET}`);
  });

  test('a session: both secrets must be right', async () => {
    const { guest, riser } = lab;
    await addPortal(guest, riser.portal(), TARGET);
    for (const [own, target] of [
      [WRONG, SECRETS.riser],
      [SECRETS.alice, WRONG],
    ] as const) {
      await configure(guest, secrets(own, target));
      const { status, stderr } = await guest.run(
        `iscsiadm -m node -T ${TARGET} -p ${riser.portal()} -I iser --login`,
      );
      assert.notEqual(status, 0);
      assert.match(stderr, /initiator reported error/);
      assert.equal((await guest.run('iscsiadm -m session')).stdout, '');
    }
    // Without pings, a command that takes too long is aborted, whatever the connection does.
    await configure(guest, {
      ...secrets(SECRETS.alice, SECRETS.riser),
      'node.conn[0].timeo.noop_out_interval': '0',
      'node.conn[0].timeo.noop_out_timeout': '0',
    });
    iser = await loginOverIser(guest, lun());
    assert.match(await guest.sh('iscsiadm -m session'), /^iser: /);
    assert.match(await connectionsOf(guest, SIW), new RegExp(`state CONNECT .* dst-addr ${riser.portal()}`));
    const log = lab.read('riser.log').toString();
    assert.match(log, /as alice on .*over iSER/);
    assert.match(log, /wrong response of user \\"alice\\"/);
  });

  test('partition, file system, files', async () => {
    await lab.guest.sh(`
      echo 'start=2048, size=200MiB' | sfdisk -q ${iser}
      udevadm settle
      mkfs.ext4 -q ${iser}1; mount ${iser}1 /mnt
      dd if=/dev/urandom of=/mnt/a bs=1M count=20 status=none; cp /mnt/a /mnt/b; sync
      echo 3 >/proc/sys/vm/drop_caches
      cmp /mnt/a /mnt/b; umount /mnt; e2fsck -fn ${iser}1`);
  });

  test('a second session, over TCP, to the same portal sees what the first one wrote', async () => {
    const { guest, riser } = lab;
    await startInitiator(guest, 'default');
    await addPortal(guest, riser.portal(), TARGET, 'default');
    await configure(guest, secrets(SECRETS.alice, SECRETS.riser));
    await guest.sh(`iscsiadm -m node -T ${TARGET} -p ${riser.portal()} -I default --login >/dev/null`);
    tcp = await diskThrough(guest, 'default');
    assert.notEqual(tcp, iser);
    assert.match(await guest.sh('iscsiadm -m session'), /^iser: .*\n?tcp: |^tcp: .*\n?iser: /);
    const isids = [
      ...lab
        .read('riser.log')
        .toString()
        .matchAll(/"session opened.*"isid":"(\w+)"/g),
    ];
    assert.equal(new Set(isids.slice(-2).map(([, isid]) => isid)).size, 2);
    await guest.sh(`mount -o ro ${tcp}1 /mnt; cmp /mnt/a /mnt/b; umount /mnt`);
    await guest.sh(`cmp -n ${32 * MIB} ${iser} ${tcp}`);
  });

  test('what one session reserves, the other may not write, until it is released', async () => {
    for (const [holder, other] of [
      [iser, tcp],
      [tcp, iser],
    ] as const) {
      assert.equal(await command(holder, RESERVE), 0);
      assert.equal(await command(other, RESERVE), CONFLICT);
      assert.equal(await write(other), CONFLICT);
      assert.equal(await write(holder), 0);
      // From a session that holds nothing it does nothing.
      assert.equal(await command(other, RELEASE), 0);
      assert.equal(await write(other), CONFLICT);
      assert.equal(await command(holder, RELEASE), 0);
      assert.equal(await write(other), 0);
    }
  });

  test('a reset by one session ends the reservation of the other, which is told', async () => {
    const { guest } = lab;
    for (const [holder, other] of [
      [iser, tcp],
      [tcp, iser],
    ] as const) {
      assert.equal(await command(holder, RESERVE), 0);
      await guest.sh(`sg_reset --no-esc --device ${other}`);
      const { status, stderr } = await guest.run(`sg_turs -v ${holder}`);
      assert.equal(status, ATTENTION);
      assert.match(stderr, /Unit Attention[^]*reset/i);
      assert.equal(await command(holder, '00 00 00 00 00 00'), 0);
      // Once for what it is told itself.
      await guest.run(`sg_turs ${other}`);
      assert.equal(await write(other), 0);
    }
  });

  test('both sessions are told that the LUN has grown', async () => {
    truncateSync(lab.file('disk.img'), 320 * MIB);
    for (const disk of [iser, tcp]) {
      await lab.guest.sh(`
        until grep -q 'Capacity data has changed' <<<$(sg_turs -v ${disk} 2>&1); do sleep 0.2; done`);
    }
    await lab.guest.sh('iscsiadm -m session --rescan >/dev/null');
    for (const disk of [iser, tcp]) {
      assert.equal(await lab.guest.sh(`blockdev --getsize64 ${disk}`), String(320 * MIB));
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

  /** Writes to the disk over iSER that are read back, while `disturb` does its work; these must not have ended before. */
  async function verifiedWrites(megabytes: number, disturb: () => Promise<void>): Promise<void> {
    const { guest } = lab;
    const sectors = `awk '{ print $7 }' /sys/block/$(basename ${iser})/stat`;
    const before = await guest.sh(sectors);
    const writes = guest.start(`
      fio --name=writes --filename=${iser} --offset=16M --size=${megabytes}M --rw=randwrite --bs=16k --iodepth=16 --rate=1m \\
        --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1`);
    await guest.sh(`until [ $(${sectors}) -gt $((${before} + 1000)) ]; do sleep 0.1; done`);
    await disturb();
    assert.equal(writes.isOver, false, 'the writes ended too early');
    await writes.done;
  }

  test('commands that take too long are aborted, and done again', async () => {
    const { guest, riser } = lab;
    const timeout = `/sys/block/${iser.replace('/dev/', '')}/device/timeout`;
    const before = await taskManagement(iser);
    await guest.sh(`echo ${COMMAND_TIMEOUT} >${timeout}`);
    await verifiedWrites(4, async () => {
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
      await verifiedWrites(4, async () => {
        await lab.guest.sh(`sg_reset --no-esc --${what} ${iser}`);
      });
      assert.equal(await taskManagement(iser), before + 1);
    });
  }

  test('logout', async () => {
    const { guest, riser } = lab;
    await logoutOverIser(guest, lun());
    assert.equal(await connectionsOf(guest, SIW), '');
    assert.equal(await write(tcp), 0);
    await guest.sh(`iscsiadm -m node -T ${TARGET} -p ${riser.portal()} -I default --logout >/dev/null`);
    const log = lab.read('riser.log').toString();
    for (const secret of [...Object.values(SECRETS), WRONG]) assert.ok(!log.includes(secret));
    const ends = [...log.matchAll(/"session closed.*"reason":"(.*?)"/g)].map(([, reason]) => reason);
    assert.deepEqual(ends, ['logout', 'logout']);
  });
});
