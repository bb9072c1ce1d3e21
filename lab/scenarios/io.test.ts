/** fio writes in every way, reads back and compares. */

import { before, test } from 'node:test';

import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

/** How fio accesses the disk: direction, range of block sizes, queue depth, MiB. */
const ACCESSES = [
  { rw: 'write', bs: '4k-4k', iodepth: 128, size: 8 },
  { rw: 'write', bs: '4m-4m', iodepth: 8, size: 32 },
  { rw: 'randwrite', bs: '4k-4k', iodepth: 128, size: 8 },
  { rw: 'randwrite', bs: '4m-4m', iodepth: 16, size: 32 },
  { rw: 'randrw', bs: '4k-4m', iodepth: 32, size: 32 },
  { rw: 'randrw', bs: '16k-16k', iodepth: 128, size: 16 },
] as const;

/** Which accesses each LUN gets: emulation is slow, and only the medium differs. */
const LUNS = { file: ACCESSES, memory: [ACCESSES[1], ACCESSES[4]] };

scenario('io', {}, (lab) => {
  let disks: string[];

  before(async () => {
    const riser = await lab.serve({ image: 'disk.img', create: '256M' }, { memory: '256M' });
    await discover(lab.guest, riser);
    disks = await login(lab.guest, riser, Object.keys(LUNS).length);
  });

  for (const [index, [lun, accesses]] of Object.entries(LUNS).entries()) {
    for (const { rw, bs, iodepth, size } of accesses) {
      test(`${lun}: ${rw}, blocks of ${bs}, depth ${iodepth}`, async () => {
        await lab.guest.sh(
          `
          fio --name=io --filename=${disks[index]!} --rw=${rw} --bsrange=${bs} --iodepth=${iodepth} --size=${size}m \\
            --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0`,
          { limit: 180 },
        );
      });
    }
  }
});
