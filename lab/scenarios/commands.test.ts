/** What administrators' tools do with a disk beyond reading and writing: unmapping, comparing, asking. */

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { before, test } from 'node:test';

import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

const BLOCK = 512;
const MIB = 1024 * 1024;
/** Exit status of the sg3_utils when the target finds that data differs: sense key MISCOMPARE. */
const MISCOMPARE = 14;

/** What sg_vpd makes of each vital product data page. */
const PAGES: ReadonlyMap<number, RegExp> = new Map([
  [0x00, /Block limits/],
  [0x80, /Unit serial number: LAB-0001/],
  [0x83, /SCSI name string:\s+iqn\.2026-11\.lab:riser\b/],
  [0x86, /HEADSUP=1 ORDSUP=1 SIMPSUP=1/],
  [0x87, /Mode Page Policy/i],
  [0x8f, /Third Party Copy/i],
  [0xb0, /Maximum compare and write length: 255 blocks[\s\S]*Maximum unmap LBA count: \d{3}/],
  [0xb1, /Non-rotating medium/],
  [0xb2, /Unmap command supported \(LBPU\): 1[\s\S]*Provisioning type: 2/],
]);

/** Commands that sg_opcodes must find, as it calls them. */
const COMMANDS = [
  ...['Read(6)', 'Read(10)', 'Read(12)', 'Read(16)', 'Write(6)', 'Write(10)', 'Write(12)', 'Write(16)'],
  ...['Write and verify(10)', 'Write same(10)', 'Write same(16)', 'Verify(10)', 'Verify(16)', 'Orwrite(16)'],
  ...['Unmap', 'Get LBA status(16)', 'Compare and write', 'Synchronize cache(10)', 'Synchronize cache(16)'],
  ...['Inquiry', 'Mode sense(6)', 'Mode select(10)', 'Request Sense', 'Report luns', 'Read capacity(16)'],
  ...['Report supported operation codes', 'Report supported task management functions'],
];

scenario('commands', {}, (lab) => {
  let disk: string;

  const stored = (offset: number, length: number): Buffer => lab.readPart('disk.img', offset, length);

  /** Write `count` MiB from MiB `first` on, all bytes `byte`. */
  async function fill(first: number, count: number, byte: number): Promise<void> {
    await lab.guest.sh(`
      head -c ${count * MIB} /dev/zero | tr '\\0' '\\${byte.toString(8)}' >/tmp/fill
      dd if=/tmp/fill of=${disk} bs=1M seek=${first} oflag=direct status=none`);
    assert.ok(
      stored(first * MIB, count * MIB).every((value) => value === byte),
      'what was written is not in the image',
    );
  }

  before(async () => {
    const riser = await lab.serve({ image: 'disk.img', create: '256M', serial: 'LAB-0001' });
    await discover(lab.guest, riser);
    disk = (await login(lab.guest, riser))[0]!;
  });

  test('blkdiscard gives the room back to the host, and the blocks read as zeros', async () => {
    await fill(32, 8, 0x5a);
    const before = statSync(lab.file('disk.img')).blocks;
    await lab.guest.sh(`blkdiscard --offset ${32 * MIB} --length ${8 * MIB} ${disk}`);
    const given = (before - statSync(lab.file('disk.img')).blocks) * 512;
    assert.equal(given, 8 * MIB);
    await lab.guest.sh(`cmp -n ${8 * MIB} -i ${32 * MIB}:0 ${disk} /dev/zero`);
  });

  test('blkdiscard --zeroout writes zeros', async () => {
    await fill(64, 4, 0x33);
    await lab.guest.sh(`blkdiscard --zeroout --offset ${64 * MIB} --length ${4 * MIB} ${disk}`);
    assert.ok(stored(64 * MIB, 4 * MIB).every((value) => value === 0));
  });

  test('sg_unmap unmaps its blocks and no others, and sg_get_lba_status tells', async () => {
    await fill(0, 4, 0xa7);
    const lba = MIB / BLOCK;
    const status = (at: number): Promise<string> => lab.guest.sh(`sg_get_lba_status --lba=${at} ${disk}`);
    assert.match(await status(lba), /mapped \(or unknown\)/);
    await lab.guest.sh(`sg_unmap --force --lba=${lba} --num=${2 * lba} ${disk}`);
    assert.match(await status(lba), new RegExp(`0x0*${lba.toString(16)} +blocks: +${2 * lba} +deallocated`));
    assert.ok(stored(0, MIB).every((value) => value === 0xa7));
    assert.ok(stored(MIB, 2 * MIB).every((value) => value === 0));
    assert.ok(stored(3 * MIB, MIB).every((value) => value === 0xa7));
  });

  test('sg_compare_and_write writes if the blocks are as told, and else leaves them', async () => {
    await fill(8, 1, 0x11);
    const lba = (8 * MIB) / BLOCK;
    // The blocks as they should be, and what shall be there.
    await lab.guest.sh(
      `(head -c 4096 /dev/zero | tr '\\0' '\\21'; head -c 4096 /dev/zero | tr '\\0' '\\42') >/tmp/pair`,
    );
    const command = `sg_compare_and_write --in=/tmp/pair --lba=${lba} --num=8 --xferlen=8192 ${disk}`;
    await lab.guest.sh(command);
    assert.ok(stored(8 * MIB, 4096).every((value) => value === 0x22));
    assert.equal((await lab.guest.run(command)).status, MISCOMPARE);
    assert.ok(stored(8 * MIB, 4096).every((value) => value === 0x22));
    assert.ok(stored(8 * MIB + 4096, MIB - 4096).every((value) => value === 0x11));
  });

  for (const size of [10, 16]) {
    test(`sg_write_same, WRITE SAME (${size}), repeats a block; with --unmap it unmaps`, async () => {
      await fill(12, 2, 0x44);
      const lba = (12 * MIB) / BLOCK;
      await lab.guest.sh(`
        head -c ${BLOCK} /dev/urandom >/lab/block
        sg_write_same --${size} --in=/lab/block --lba=${lba} --num=2048 --xferlen=${BLOCK} ${disk}`);
      const block = lab.read('block');
      assert.deepEqual(stored(12 * MIB, MIB), Buffer.alloc(MIB, block));
      assert.ok(stored(13 * MIB, MIB).every((value) => value === 0x44));
      await lab.guest.sh(
        `sg_write_same --${size} --unmap --in=/dev/zero --lba=${lba} --num=4096 --xferlen=${BLOCK} ${disk}`,
      );
      assert.ok(stored(12 * MIB, 2 * MIB).every((value) => value === 0));
      assert.match(await lab.guest.sh(`sg_get_lba_status --lba=${lba} ${disk}`), /deallocated/);
    });
  }

  test('sg_verify compares with what it is given', async () => {
    await fill(20, 1, 0x66);
    const lba = (20 * MIB) / BLOCK;
    await lab.guest.sh(`
      sg_verify --lba=${lba} --count=2048 ${disk}
      head -c ${64 * BLOCK} /tmp/fill >/tmp/same
      (cat /tmp/same | head -c ${63 * BLOCK}; head -c ${BLOCK} /dev/zero) >/tmp/other
      sg_verify --lba=${lba} --ebytchk=1 --count=64 --ndo=${64 * BLOCK} --in=/tmp/same ${disk}`);
    const other = `sg_verify --lba=${lba} --ebytchk=1 --count=64 --ndo=${64 * BLOCK} --in=/tmp/other ${disk}`;
    assert.equal((await lab.guest.run(other)).status, MISCOMPARE);
  });

  test('sg_inq tells who the disk is, and each page that it lists', async () => {
    assert.match(
      await lab.guest.sh(`sg_inq ${disk}`),
      /Vendor identification: RISER[\s\S]*Unit serial number: LAB-0001/,
    );
    const list = await lab.guest.sh(`sg_inq --page=0x00 ${disk}`);
    const pages = [...list.matchAll(/^ +0x([0-9a-f]+)\t/gm)].map(([, page]) => Number.parseInt(page!, 16));
    assert.deepEqual(pages, [...PAGES.keys()]);
    for (const [page, content] of PAGES) {
      assert.match(await lab.guest.sh(`sg_vpd --page=${page} ${disk}`), content);
    }
  });

  test('sg_opcodes tells the commands', async () => {
    const list = await lab.guest.sh(`sg_opcodes ${disk}`);
    for (const name of COMMANDS) assert.match(list, new RegExp(`  ${name.replace(/[()]/g, '\\$&')}$`, 'm'));
    const one = await lab.guest.sh(`sg_opcodes --rctd --opcode=0x89 ${disk}`);
    assert.match(one, /Command is supported \[conforming to SCSI standard\]/);
    const none = await lab.guest.sh(`sg_opcodes --opcode=0x3c ${disk}`);
    assert.match(none, /NOT supported/);
  });
});
