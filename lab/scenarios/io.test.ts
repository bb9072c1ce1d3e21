/** fio writes in every way, reads back and compares. */

import { before, test } from 'node:test';

import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';
import { nameOf, verifiedIo } from '../harness/verified-io.js';

const ACCESSES = [
  { rw: 'write', blockSizes: '4k-4k', depth: 128, mebibytes: 8 },
  { rw: 'write', blockSizes: '4m-4m', depth: 8, mebibytes: 32 },
  { rw: 'randwrite', blockSizes: '4k-4k', depth: 128, mebibytes: 8 },
  { rw: 'randwrite', blockSizes: '4m-4m', depth: 16, mebibytes: 32 },
  { rw: 'randrw', blockSizes: '4k-4m', depth: 32, mebibytes: 32 },
  { rw: 'randrw', blockSizes: '16k-16k', depth: 128, mebibytes: 16 },
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
    for (const access of accesses)
      test(`${lun}: ${nameOf(access)}`, () => verifiedIo(lab.guest, disks[index]!, access));
  }
});
