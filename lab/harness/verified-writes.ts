/** Writes that go on while something happens to the server. */

import assert from 'node:assert/strict';

import type { Guest } from './guest.js';

/** Where writes begin, so that a partition table survives them, and how many there are: 4 s of them at least. */
const OFFSET = '64M';
const SIZE = '2M';
const RATE = '512k';
/** Sectors that are written before the disturbance. */
const BEFORE = 500;

/** Let fio write to `disk`, do what `disturb` does meanwhile, and let fio read everything back and compare. */
export async function verifiedWrites(
  guest: Guest,
  disk: string,
  disturb: () => Promise<unknown>,
): Promise<void> {
  // By the shell alone: on one emulated processor, programs that are started again and again leave fio no time.
  const sectors = `read -r _ _ _ _ _ _ sectors _ </sys/block/${disk.replace('/dev/', '')}/stat`;
  const before = Number(await guest.sh(`${sectors}; echo $sectors`));
  const writes = guest.start(`
    fio --name=writes --filename=${disk} --offset=${OFFSET} --size=${SIZE} --rw=randwrite --bs=16k --iodepth=16 \\
      --rate=${RATE} --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1`);
  await guest.sh(`until ${sectors}; [ $sectors -gt ${before + BEFORE} ]; do sleep 0.2; done`);
  await disturb();
  assert.equal(writes.isOver, false, 'the writes ended before the disturbance did');
  await writes.done;
}
