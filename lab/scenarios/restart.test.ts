/** Riser goes away and comes back in the middle of I/O: the kernel's session recovers, and nobody sees an error. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

scenario('restart', {}, (lab) => {
  before(async () => {
    const { guest } = lab;
    await discover(guest, await lab.serve({ image: 'disk.img', create: '512M' }));
    const [disk] = await login(guest, lab.riser);
    await guest.sh(`mkfs.ext4 -q ${disk!}; mount ${disk!} /mnt`);
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    test(`writes go on after the server was ended by ${signal} and started anew`, async () => {
      const { guest, riser } = lab;
      const file = `/mnt/${signal}`;
      const writes = guest.start(`
        fio --name=writes --filename=${file} --size=48M --rw=randwrite --bs=16k --iodepth=16 --rate=6m --ioengine=libaio \\
          --direct=1 --fallocate=none --verify=crc32c`);
      await guest.sh(`until [ "$(stat -c %b ${file} 2>/dev/null || echo 0)" -gt 10000 ]; do sleep 0.2; done`);
      await riser.restart(signal, 1000);
      assert.equal(writes.isOver, false, 'the writes ended before the server was back');
      // fio reads everything anew and compares.
      await writes.done;
    });
  }

  test('the file system is clean', async () => {
    const { guest } = lab;
    await guest.sh('disk=$(findmnt -no SOURCE /mnt); umount /mnt; e2fsck -fn $disk');
  });
});
