/** fio's accesses to a disk that are read back and compared, and such as go on while something happens to the server. */

import assert from 'node:assert/strict';

import type { Guest } from './guest.js';

/** How fio accesses a disk. */
export interface Access {
  readonly rw: 'write' | 'randwrite' | 'randrw';
  /** From the smallest to the largest, such as `4k-1m`. */
  readonly blockSizes: string;
  readonly depth: number;
  readonly mebibytes: number;
}

/** Seconds for one of them: the guest may be slow. */
const LIMIT = 180;

/** What to call a test of `access`. */
export function nameOf({ rw, blockSizes, depth }: Access): string {
  return `${rw}, blocks of ${blockSizes}, depth ${depth}`;
}

/** Let fio write to the beginning of `disk`, read it back and compare. */
export async function verifiedIo(
  guest: Guest,
  disk: string,
  { rw, blockSizes, depth, mebibytes }: Access,
): Promise<void> {
  await guest.sh(
    `
    fio --name=io --filename=${disk} --rw=${rw} --bsrange=${blockSizes} --iodepth=${depth} --size=${mebibytes}m \\
      --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0`,
    { limit: LIMIT },
  );
}

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
