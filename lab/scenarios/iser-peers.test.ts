/**
 * The kernel's iSER initiator with LIO and with tgt, over RoCEv2 and over iWARP, all in the guest. Riser takes no
 * part: this shows that what its own iSER is tested with works here.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, test } from 'node:test';

import type { Guest } from '../harness/guest.js';
import { connectionsOf, discoverOverIser, loginOverIser, logoutOverIser } from '../harness/iser-initiator.js';
import { startLio } from '../harness/lio.js';
import { addRdmaDevices, RXE, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { startTgt } from '../harness/tgt.js';

const TARGETS = {
  LIO: (guest: Guest, portal: string) => startLio(guest, { portal, iser: true }),
  tgt: (guest: Guest) => startTgt(guest),
};

/**
 * Small blocks, and the largest that the initiator sends with one command. fio writes a job's blocks in random
 * order, then reads them back and compares.
 */
const JOBS = [
  { block: '4k', offset: 0, size: 2 << 20 },
  { block: '512k', offset: 8 << 20, size: 16 << 20 },
];

/** rdma_rxe fails to register memory at times, whatever the target. The connection ends, and a new one takes over. */
const MEMREG_FAILURE = 'iser_err_comp: memreg failure: local QP operation error';
/** What the initiator says of a connection that the other end closed. */
const ITS_END = 'detected conn error (1011)';

interface FioReport {
  jobs: { read: { io_bytes: number }; write: { io_bytes: number } }[];
}

/** What the guest's kernel has said since `dmesg --clear`: its errors, and connections that broke. */
async function complaints(guest: Guest): Promise<string[]> {
  const lines = (await guest.sh('dmesg --decode')).split('\n');
  return lines.filter((line) => /^\w+ *:(emerg|alert|crit|err) |detected conn error/.test(line));
}

scenario('iser-peers', {}, (lab) => {
  before(() => addRdmaDevices(lab.guest));

  for (const [name, start] of Object.entries(TARGETS)) {
    for (const device of [RXE, SIW]) {
      test(`${name} over ${device.protocol}: data are the same when they are read back`, async (t) => {
        const { guest } = lab;
        const portal = `${device.address}:3260`;
        const { target, lun, stop } = await start(guest, portal);
        t.after(async () => {
          // When the test has failed the session may still be there.
          await guest.run('iscsiadm -m node --logoutall=all');
          await stop();
        });
        await guest.sh('dmesg --clear');

        assert.equal(await discoverOverIser(guest, portal), `${portal},1 ${target}`);
        const disk = await loginOverIser(guest, { portal, target, lun });
        assert.match(await guest.sh('iscsiadm -m session'), /^iser: /);
        assert.match(await connectionsOf(guest, device), new RegExp(`state CONNECT .* dst-addr ${portal}`));

        const report = `fio-${name}-${device.name}.json`;
        const jobs = JOBS.map(
          ({ block, offset, size }) =>
            `--name=${block} --stonewall --bs=${block} --offset=${offset} --size=${size}`,
        );
        await guest.sh(
          `fio --output=/lab/${report} --output-format=json --filename=${disk} --rw=randwrite --iodepth=16 \\
            --ioengine=libaio --direct=1 --verify=crc32c --verify_fatal=1 ${jobs.join(' ')}`,
          { limit: 240 },
        );
        const done = JSON.parse(readFileSync(lab.file(report), 'utf8')) as FioReport;
        assert.deepEqual(
          done.jobs.map(({ write, read }) => ({ written: write.io_bytes, verified: read.io_bytes })),
          JOBS.map(({ size }) => ({ written: size, verified: size })),
        );

        let complained = await complaints(guest);
        if (device === RXE && complained.some((line) => line.includes(MEMREG_FAILURE))) {
          t.diagnostic(`rdma_rxe failed and was recovered from:\n${complained.join('\n')}`);
          complained = complained.filter((line) => !line.includes(MEMREG_FAILURE) && !line.includes(ITS_END));
        }
        assert.equal(complained.join('\n'), '');

        await guest.sh('dmesg --clear');
        await logoutOverIser(guest, { portal, target, lun });
        // The target closes after its Logout Response; a slow iscsid may not have ended the session before.
        complained = (await complaints(guest)).filter((line) => !line.includes(ITS_END));
        assert.equal(complained.join('\n'), '');
      });
    }
  }
});
