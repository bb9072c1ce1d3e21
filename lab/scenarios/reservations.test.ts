/**
 * Persistent reservations as clusters use them, by sg_persist: two sessions of the kernel's initiator, each an I_T nexus
 * of its own, fence each other, before and after the server was killed.
 */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { TARGET } from '../harness/host-riser.js';
import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

/** Exit status of the sg3_utils for a RESERVATION CONFLICT. */
const CONFLICT = 24;
const WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5;
const EXCLUSIVE_ACCESS = 3;
/** The name of one of the two initiators. */
const SECOND = 'iqn.2026-11.lab:second';

/** What the kernel logs of commands that meet a conflict: udev looks at disks, too. */
const FENCED =
  /FAILED Result: hostbyte=DID_OK driverbyte=DRIVER_OK .* CDB: (Read|Write|Synchronize)|Buffer I\/O error on dev sd[ab]/;

scenario('reservations', { expected: FENCED }, (lab) => {
  /** The disk of each session. */
  let a: string;
  let b: string;

  const persist = (disk: string, options: string) => lab.guest.sh(`sg_persist ${options} ${disk}`);
  const out = (disk: string, options: string) => persist(disk, `--out ${options}`);
  const keys = async (disk: string): Promise<string[]> => {
    const text = await persist(disk, '--in --read-keys');
    return [...text.matchAll(/^\s+0x([0-9a-f]+)\s*$/gm)].map(([, key]) => key!);
  };
  const conflict = async (command: string): Promise<void> => {
    await lab.guest.sh(`set +e; ${command}; test $? -eq ${CONFLICT}`);
  };
  const write = (disk: string) =>
    `dd if=/dev/zero of=${disk} bs=4096 count=1 oflag=direct conv=fsync status=none`;
  const fails = (command: string) =>
    lab.guest.sh(`if ${command}; then echo 'it was let through'; exit 1; fi`);

  before(async () => {
    const { guest } = lab;
    const riser = await lab.serve({ image: 'disk.img', create: '64M' });
    await discover(guest, riser);
    // Another ISID is another initiator port: the interface of its own gets one.
    await guest.sh(`
      iscsiadm -m iface -I second --op=new >/dev/null
      iscsiadm -m iface -I second --op=update -n iface.transport_name -v tcp >/dev/null
      iscsiadm -m iface -I second --op=update -n iface.initiatorname -v ${SECOND} >/dev/null
      iscsiadm -m discovery -t st -p ${riser.portal()} -I default -I second >/dev/null`);
    await login(guest, riser);
    const disks = await guest.sh(`
      udevadm settle
      for try in $(seq 100); do
        disks=$(iscsiadm -m session -P 3 | sed -n 's/.*Attached scsi disk \\([a-z]*\\).*State: running.*/\\1/p')
        [ "$(echo $disks | wc -w)" = 2 ] && break
        sleep 0.1
      done
      echo $disks`);
    [a, b] = disks
      .trim()
      .split(' ')
      .map((disk) => `/dev/${disk}`) as [string, string];
    assert.notEqual(b, undefined, `two disks of ${TARGET}: ${disks}`);
  });

  test('what the unit is capable of', async () => {
    const text = await persist(a, '--in --report-capabilities');
    assert.match(text, /Specify Initiator Ports Capable\(SIP_C\): 1/);
    assert.match(text, /All Target Ports Capable\(ATP_C\): 1/);
    assert.match(text, /Persist Through Power Loss Capable\(PTPL_C\): 1/);
  });

  test('registering, reserving, and writes of who has no right to', async () => {
    await out(a, '--register --param-sark=a1 --param-aptpl');
    await out(a, `--reserve --param-rk=a1 --prout-type=${WRITE_EXCLUSIVE_REGISTRANTS_ONLY}`);
    assert.deepEqual(await keys(b), ['a1']);
    await lab.guest.sh(write(a));
    await fails(write(b));
    await lab.guest.sh(`dd if=${b} of=/dev/null bs=4096 count=1 iflag=direct status=none`);
    await conflict(`sg_persist --out --reserve --param-rk=b1 --prout-type=${EXCLUSIVE_ACCESS} ${b}`);
    await out(b, '--register --param-sark=b1 --param-aptpl');
    await lab.guest.sh(write(b));
  });

  test('READ FULL STATUS names both initiators', async () => {
    const text = await persist(a, '--in --read-full-status');
    assert.ok(text.includes(`${SECOND},i,0x`), text);
    assert.match(text, /Key=0xa1[\s\S]*<< Reservation holder >>/);
  });

  test('all of it is there after the server was killed', async () => {
    await lab.riser.restart('SIGKILL', 500);
    await lab.guest.sh(write(a));
    assert.deepEqual((await keys(a)).sort(), ['a1', 'b1']);
    assert.match(
      await persist(b, '--in --read-reservation'),
      /Key=0xa1[\s\S]*type: Write Exclusive, registrants only/,
    );
  });

  test('PREEMPT AND ABORT fences the other node, before and after another restart', async () => {
    const preempts = `--preempt-abort --param-rk=b1 --param-sark=a1 --prout-type=${EXCLUSIVE_ACCESS}`;
    await out(b, preempts);
    assert.deepEqual(await keys(b), ['b1']);
    await fails(write(a));
    await lab.riser.restart('SIGKILL', 500);
    await lab.guest.sh(write(b));
    await fails(write(a));
    await conflict(`sg_persist --out --clear --param-rk=a1 ${a}`);
  });

  test('REGISTER AND MOVE hands it on, and CLEAR ends it', async () => {
    await out(a, '--register-ignore --param-sark=a2 --param-aptpl');
    const status = await persist(b, '--in --read-full-status');
    const [, port] = /Key=0xa2[^]*?(iqn\S+,i,0x[0-9a-f]{12})/.exec(status)!;
    await out(
      b,
      `--register-move --param-rk=b1 --param-sark=a3 --relative-target-port=1 --transport-id=${port!}`,
    );
    assert.match(await persist(a, '--in --read-reservation'), /Key=0xa3/);
    await lab.guest.sh(write(a));
    await fails(write(b));
    await out(a, '--clear --param-rk=a3');
    assert.deepEqual(await keys(a), []);
    await lab.guest.sh(write(b));
  });
});
