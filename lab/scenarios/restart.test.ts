/**
 * Riser goes away and comes back in the middle of I/O, and then the target moves to another server: the kernel's session
 * recovers, and nobody sees an error.
 */

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { freePort } from '../../test/support/free-port.js';
import { HostRiser } from '../harness/host-riser.js';
import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

scenario('restart', {}, (lab) => {
  /** The server that the target moves to. */
  let other: HostRiser | null = null;
  after(() => other?.stop());

  before(async () => {
    const { guest } = lab;
    await discover(guest, await lab.serve({ image: 'disk.img', create: '512M' }));
    const [disk] = await login(guest, lab.riser);
    await guest.sh(`mkfs.ext4 -q ${disk!}; mount ${disk!} /mnt`);
  });

  /** Do `what` in the middle of writes to a new file. */
  async function amidWrites(file: string, what: () => Promise<void>): Promise<void> {
    const { guest } = lab;
    const writes = guest.start(`
      fio --name=writes --filename=${file} --size=48M --rw=randwrite --bs=16k --iodepth=16 --rate=6m --ioengine=libaio \\
        --direct=1 --fallocate=none --verify=crc32c`);
    await guest.sh(`until [ "$(stat -c %b ${file} 2>/dev/null || echo 0)" -gt 10000 ]; do sleep 0.2; done`);
    await what();
    assert.equal(writes.isOver, false, 'the writes ended before the server was back');
    // fio reads everything anew and compares.
    await writes.done;
  }

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    test(`writes go on after the server was ended by ${signal} and started anew`, () =>
      amidWrites(`/mnt/${signal}`, () => lab.riser.restart(signal, 1000)));
  }

  test('writes follow the target when it moves to another server', async () => {
    const port = await freePort('127.0.0.2');
    await amidWrites('/mnt/moved', async () => {
      // Its image is let go of here before it can be served there.
      await lab.riser.reconfigure({ redirect: { to: `127.0.0.2:${port}` }, luns: [] });
      mkdirSync(lab.file('other'));
      other = await HostRiser.start(lab.file('other'), [{ image: lab.file('disk.img') }], 1, { port });
    });
    assert.match(
      await lab.guest.sh('iscsiadm -m session -P 0; iscsiadm -m session -P 1'),
      new RegExp(`Current Portal: 127\\.0\\.0\\.2:${port},`),
    );
  });

  test('the file system is clean', async () => {
    const { guest } = lab;
    await guest.sh('disk=$(findmnt -no SOURCE /mnt); umount /mnt; e2fsck -fn $disk');
  });
});
