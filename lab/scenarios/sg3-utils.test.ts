/** What sg3_utils have beyond the tools of `commands`: logs, thresholds of thin disks, referrals, CDBs of 32 bytes, sanitizing. */

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { before, test } from 'node:test';

import { discover, login } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

const BLOCK = 512;
const MIB = 1024 * 1024;
/** Bytes of sense data in the fixed format. */
const SENSE_LENGTH = 18;

/** What sg_logs makes of each log page. */
const LOG_PAGES: ReadonlyMap<number, RegExp> = new Map([
  [0x00, /Supported log pages/],
  [0x02, /Write error counter page[\s\S]*Total uncorrected errors = 0/],
  [0x03, /Read error counter page[\s\S]*Total uncorrected errors = 0/],
  [0x0c, /Available LBA mapping threshold[\s\S]*Used LBA mapping threshold/],
  [
    0x19,
    /number of read commands = \d+[\s\S]*Idle time[\s\S]*negative exponent = 6\s+time interval integer = 1\b/,
  ],
]);

scenario('sg3-utils', {}, (lab) => {
  /** An image, and a RAM disk. */
  let disk: string;
  let memory: string;

  const stored = (offset: number, length: number): Buffer => lab.readPart('disk.img', offset, length);

  const write = (to: string, first: number, count: number): Promise<string> =>
    lab.guest.sh(`head -c ${count * MIB} /dev/urandom |
      dd of=${to} bs=1M seek=${first} iflag=fullblock oflag=direct status=none`);

  /** The numbers that sg_logs prints after `=` or `:`, by the words before. */
  async function numbers(page: number, of = disk): Promise<Map<string, number>> {
    const text = await lab.guest.sh(`sg_logs --page=${page} ${of}`);
    return new Map(
      [...text.matchAll(/^ *(.+?)(?: =|:) (\d+)$/gm)].map(([, name, value]) => [name!, Number(value)]),
    );
  }

  before(async () => {
    const target = (portals: readonly string[]) => ({
      alua: { groups: [{ group: 7, portals: [portals[0]] }] },
    });
    const riser = await lab.serveWith({ target }, { image: 'disk.img', create: '256M' }, { memory: '512M' });
    await discover(lab.guest, riser);
    [disk, memory] = (await login(lab.guest, riser, 2)) as [string, string];
  });

  test('sg_logs tells each page that it lists', async () => {
    const list = await lab.guest.sh(`sg_logs --page=0 ${disk}`);
    const pages = [...list.matchAll(/^ +0x([0-9a-f]{2})\b/gm)].map(([, page]) => Number.parseInt(page!, 16));
    assert.deepEqual(pages, [...LOG_PAGES.keys()]);
    for (const [page, content] of LOG_PAGES) {
      assert.match(await lab.guest.sh(`sg_logs --page=${page} ${disk}`), content);
    }
    const all = await lab.guest.sh(`sg_logs --all --all ${disk}`);
    for (const content of LOG_PAGES.values()) assert.match(all, content);
    assert.match(all, /Supported log pages and subpages/);
  });

  test('statistics count what is written and read, until sg_logs --reset', async () => {
    await lab.guest.sh(`udevadm settle; sg_logs --reset --page=0x19 ${disk}`);
    const blank = await numbers(0x19);
    assert.equal(blank.get('number of logical blocks received'), 0);
    await write(disk, 0, 4);
    await lab.guest.sh(`dd if=${disk} of=/dev/null bs=1M count=2 iflag=direct status=none`);
    const counted = await numbers(0x19);
    assert.equal(counted.get('number of logical blocks received'), (4 * MIB) / BLOCK);
    // udev may look at a disk that was written to.
    assert.ok(counted.get('number of logical blocks transmitted')! >= (2 * MIB) / BLOCK);
    // Those of reads are the device's: the page cache answers at once.
    const more = [
      'number of read commands',
      'number of write commands',
      'write command processing intervals',
    ];
    for (const name of [...more, 'idle time intervals']) assert.ok(counted.get(name)! > 0, name);
  });

  test('the counts of a thin disk are those of the host', async () => {
    await write(disk, 16, 8);
    const counts = await numbers(0x0c);
    const used = Math.ceil((statSync(lab.file('disk.img')).blocks * 512) / MIB);
    assert.ok(used >= 12);
    assert.equal(counts.get('Used LBA mapping threshold resource count'), used);
    assert.ok(counts.get('Available LBA mapping threshold resource count')! > 0);
    assert.equal((await numbers(0x0c, memory)).get('Used LBA mapping threshold resource count'), 0);
    assert.match(await lab.guest.sh(`sg_vpd --page=0xb2 ${disk}`), /Threshold exponent: 11/);
  });

  test('the kernel hears that a threshold is reached', async () => {
    // The page as it is, with the second threshold, of what is used, enabled at 20 MiB.
    await lab.guest.sh(`
      page=$(sg_modes --raw --page=0x1c,2 --dbd ${disk} | od -An -v -tx1 | tr -s ' \\n' ',')
      page=\${page#,}; page=\${page%,}
      descriptor=$(echo $page | cut -d, -f33-)
      test $descriptor = 01,02,00,00,00,00,00,00
      sg_wr_mode --page=0x1c,2 --contents=$(echo $page | cut -d, -f9-32),81,02,00,00,00,00,00,14 ${disk}`);
    const told = async (): Promise<boolean> =>
      (await lab.guest.run('dmesg | grep -q "reached a thin provisioning soft threshold"')).status === 0;
    assert.equal(await told(), false);
    await write(disk, 64, 16);
    await lab.guest.sh(`sg_turs ${disk} || true`);
    assert.equal(await told(), true);
  });

  test('sg_referrals tells one segment and the target port group that leads to it', async () => {
    assert.match(await lab.guest.sh(`sg_vpd --page=0x86 ${disk}`), /R_SUP=1/);
    assert.match(await lab.guest.sh(`sg_vpd --page=0xb3 ${disk}`), /User data segment size: 0/);
    const last = (256 * MIB) / BLOCK - 1;
    assert.match(
      await lab.guest.sh(`sg_referrals ${disk}`),
      new RegExp(
        `first lba 0, last lba ${last}\\s+target port descriptor 0:\\s+port group 7 state \\(active/optimized\\)`,
      ),
    );
    assert.notEqual((await lab.guest.run(`sg_referrals --lba=${last + 1} ${disk}`)).status, 0);
  });

  test('CDBs of 32 bytes: WRITE(32) and READ(32)', async () => {
    const cdb = (serviceAction: string): string =>
      `7f 00 00 00 00 00 00 18 00 ${serviceAction} 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 00 08`;
    const bytes = 8 * BLOCK;
    await lab.guest.sh(`
      head -c ${bytes} /dev/urandom >/lab/blocks
      sg_raw --send=${bytes} --infile=/lab/blocks ${disk} ${cdb('0b')}
      sg_raw --request=${bytes} --outfile=/tmp/back ${disk} ${cdb('09')}
      cmp /lab/blocks /tmp/back`);
    assert.deepEqual(stored(0x2_0000 * BLOCK, bytes), lab.read('blocks'));
  });

  test('a field that is refused is pointed at', async () => {
    // LOG SENSE with SP.
    const { stdout, stderr } = await lab.guest.run(
      `sg_raw --request=64 ${disk} 4d 01 59 00 00 00 00 00 40 00`,
    );
    assert.match(stdout + stderr, /Invalid field in cdb[\s\S]*byte 1 bit 0/i);
  });

  test('sg_sanitize --overwrite repeats a pattern in each pass; its progress is told until it is done', async () => {
    // Linux opens a disk that is being sanitized when that is over: who asks for its progress has opened it before.
    await lab.guest.sh(`
      printf '\\x5a\\xc3' >/tmp/pattern
      stdbuf -o0 sg_requests --num=1000000 --raw ${memory} >/lab/polls & poller=$!
      until test -s /lab/polls; do sleep 0.1; done
      sg_sanitize --overwrite --pattern=/tmp/pattern --count=31 --invert --quick --early ${memory} >/dev/null
      until sg_turs ${memory} 2>/dev/null; do sleep 0.1; done
      kill $poller`);
    const polls = lab.read('polls');
    const progress: number[] = [];
    for (let at = 0; at + SENSE_LENGTH <= polls.length; at += SENSE_LENGTH) {
      const [key, asc, ascq] = [polls[at + 2], polls[at + 12], polls[at + 13]];
      if (key === 0) continue;
      assert.deepEqual([key, asc, ascq], [0x02, 0x04, 0x1b], 'not: NOT READY, SANITIZE IN PROGRESS');
      progress.push(polls.readUInt16BE(at + 16));
    }
    assert.ok(new Set(progress).size > 2, progress.join());
    assert.deepEqual(
      progress,
      progress.toSorted((a, b) => a - b),
    );
    const sample = Buffer.alloc(MIB, Buffer.from([0x5a, 0xc3]));
    for (const at of [0, 100, 511]) {
      await lab.guest.sh(`dd if=${memory} of=/lab/sample bs=1M skip=${at} count=1 iflag=direct status=none`);
      assert.deepEqual(lab.read('sample'), sample);
    }
  });

  test('sg_sanitize --overwrite --zero and --block leave nothing of an image', async () => {
    const written = await lab.guest.sh(
      `dd if=${disk} bs=1M count=4 iflag=direct status=none | tr -d '\\0' | wc -c`,
    );
    assert.ok(Number(written) > 3 * MIB);
    await lab.guest.sh(`sg_sanitize --overwrite --zero --ipl=512 --quick --wait ${disk} >/dev/null`);
    for (let at = 0; at < 256; at += 8)
      assert.ok(
        stored(at * MIB, 8 * MIB).every((byte) => byte === 0),
        `${at} MiB`,
      );
    assert.equal((await numbers(0x0c)).get('Used LBA mapping threshold resource count'), 256);
    await lab.guest.sh(`sg_sanitize --block --quick --wait ${disk} >/dev/null`);
    assert.equal((await numbers(0x0c)).get('Used LBA mapping threshold resource count'), 0);
    assert.equal(statSync(lab.file('disk.img')).blocks, 0);
  });
});
