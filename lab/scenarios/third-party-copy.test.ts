/**
 * Copies that the server makes by itself, as the kernel's initiator asks for them: EXTENDED COPY by sg_xcopy between two
 * disks, and ODX by sg_raw. What was copied is looked at in the images on the host.
 */

import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { before, test } from 'node:test';

import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

const MIB = 1024 * 1024;
/** Blocks in a MiB. */
const BLOCKS = 2048;
/** Exit status of the sg3_utils for sense key ILLEGAL REQUEST with a code that none of them knows. */
const ILLEGAL_REQUEST = 5;

scenario('third-party-copy', {}, (lab) => {
  let a: string;
  let b: string;

  function stored(image: string, offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    const file = openSync(lab.file(image), 'r');
    readSync(file, bytes, 0, length, offset);
    closeSync(file);
    return bytes;
  }

  const isZero = (bytes: Buffer): boolean => bytes.every((value) => value === 0);

  /** Bytes that the guest has received and sent. */
  async function travelled(): Promise<number> {
    const counts = await lab.guest.sh('cat /sys/class/net/eth0/statistics/[rt]x_bytes');
    return counts
      .trim()
      .split('\n')
      .reduce((sum, count) => sum + Number(count), 0);
  }

  before(async () => {
    const riser = await lab.serve({ image: 'a.img', create: '64M' }, { image: 'b.img', create: '64M' });
    await discover(lab.guest, riser);
    [a, b] = (await login(lab.guest, riser, 2)) as [string, string];
    await lab.guest.sh(`dd if=/dev/urandom of=${a} bs=1M count=12 oflag=direct status=none`);
  });

  test('the disks tell what they can copy', async () => {
    const parameters = await lab.guest.sh(`sg_copy_results --params ${a}`);
    assert.match(parameters, /Maximum target descriptor count: 16/i);
    assert.match(parameters, /Copy from block device to block device/);
    assert.match(await lab.guest.sh(`sg_inq ${a}`), /3PC=1/);
  });

  for (const [side, at] of [
    ['src', 16],
    ['dst', 40],
  ] as const) {
    test(`sg_xcopy --on_${side} copies, and the data does not travel`, async () => {
      const before = await travelled();
      await lab.guest.sh(
        `sg_xcopy --on_${side} if=${a} of=${b} bs=512 bpt=4096 skip=${BLOCKS} seek=${at * BLOCKS} count=${8 * BLOCKS}`,
      );
      // An ordinary copy moves 16 MiB. udev reads a little of disks that somebody had open for writing.
      assert.ok((await travelled()) - before < 4 * MIB);
      assert.ok(stored('b.img', at * MIB, 8 * MIB).equals(stored('a.img', MIB, 8 * MIB)));
      assert.ok(isZero(stored('b.img', (at - 1) * MIB, MIB)));
      assert.ok(isZero(stored('b.img', (at + 8) * MIB, MIB)));
      // The guest has nothing of it in its cache, so that this is read from the disks.
      await lab.guest.sh(`cmp -n ${8 * MIB} -i ${MIB}:${at * MIB} ${a} ${b}`);
    });
  }

  test('what is a hole becomes one', async () => {
    const before = statSync(lab.file('b.img')).blocks;
    await lab.guest.sh(
      `sg_xcopy if=${a} of=${b} bs=512 bpt=4096 skip=${32 * BLOCKS} seek=${40 * BLOCKS} count=${8 * BLOCKS}`,
    );
    assert.ok(isZero(stored('b.img', 40 * MIB, 8 * MIB)));
    assert.equal((before - statSync(lab.file('b.img')).blocks) * 512, 8 * MIB);
  });

  test('blocks behind the end are not copied', async () => {
    const { status } = await lab.guest.run(
      `sg_xcopy if=${a} of=${b} bs=512 bpt=4096 skip=0 seek=${64 * BLOCKS - 8} count=16`,
    );
    assert.notEqual(status, 0);
    assert.ok(isZero(stored('b.img', 63 * MIB, MIB)));
  });

  test('a ROD token copies, until its data changes', async () => {
    // 4096 blocks from 2048 on, to block 61440.
    await lab.guest.sh(`
      printf '\\0\\36\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\20' >/tmp/populate
      printf '\\0\\0\\0\\0\\0\\0\\10\\0\\0\\0\\20\\0\\0\\0\\0\\0' >>/tmp/populate
      sg_raw -s 32 -i /tmp/populate ${a} 83 10 0 0 0 0 0 0 0 7 0 0 0 20 0 0
      sg_raw -b -r 550 -o /tmp/information ${a} 84 07 0 0 0 7 0 0 0 0 0 0 2 26 0 0
      (printf '\\2\\46\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0'
       tail -c 512 /tmp/information
       printf '\\0\\0\\0\\0\\0\\0\\0\\20'
       printf '\\0\\0\\0\\0\\0\\0\\360\\0\\0\\0\\20\\0\\0\\0\\0\\0') >/tmp/write
      sg_raw -s 552 -i /tmp/write ${b} 83 11 0 0 0 0 0 0 0 8 0 0 2 28 0 0`);
    assert.ok(stored('b.img', 30 * MIB, 2 * MIB).equals(stored('a.img', MIB, 2 * MIB)));
    await lab.guest.sh(`dd if=/dev/zero of=${a} bs=4k seek=300 count=1 oflag=direct status=none`);
    const again = await lab.guest.run(
      `sg_raw -s 552 -i /tmp/write ${b} 83 11 0 0 0 0 0 0 0 8 0 0 2 28 0 0 2>&1`,
    );
    assert.equal(again.status, ILLEGAL_REQUEST, again.stdout);
    assert.match(again.stdout, /token revoked/i);
  });
});
