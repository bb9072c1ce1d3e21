/** `riser doctor` in a guest with RDMA devices, and on the host, at portals of the guest's LIO. */

import assert from 'node:assert/strict';
import { join, relative } from 'node:path';
import { test } from 'node:test';

import type { Finding } from '../../src/cli/doctor/finding.js';
import { CliProcess } from '../../test/support/cli-process.js';
import { ROOT } from '../../test/support/files.js';
import { freePort } from '../../test/support/free-port.js';
import { PROGRAM } from '../harness/host-riser.js';
import { discoverOverIser } from '../harness/iser-initiator.js';
import { startLio } from '../harness/lio.js';
import { addRdmaDevices, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';

/** The same program as on the host, where the guest sees it. */
const inside = join('/riser', relative(ROOT, PROGRAM));
const forwarded = await freePort();
const PORTAL = `${SIW.address}:3260`;

function said(json: string, subject: string): string[] {
  const { findings } = JSON.parse(json) as { findings: Finding[] };
  return findings.filter((one) => one.subject === subject).map(({ state, says }) => `${state}: ${says}`);
}

/** What it says of the guest's portal, and its exit code. */
async function askPortal(): Promise<{ says: string[]; exitCode: number | null }> {
  const doctor = new CliProcess(['doctor', `127.0.0.1:${forwarded}`, '--json'], { program: [PROGRAM] });
  const { exitCode, stdout, stderr } = await doctor.ended();
  assert.equal(stderr, '');
  return { says: said(stdout, 'portal'), exitCode };
}

// One processor, as two can lose a discovery over iSER (docs/PEERS.md).
scenario('doctor', { processors: 1, forward: [[forwarded, 3260]] }, (lab) => {
  test('a machine without RDMA: what there is to load', async () => {
    const json = await lab.guest.sh(`node ${inside} doctor --json`);
    assert.match(said(json, 'RDMA devices').join('\n'), /^notice: none: /);
    assert.match(
      said(json, 'kernel modules').join('\n'),
      /^notice: not loaded, but there: .*ib_iser .*siw /m,
    );
    assert.match(
      said(json, 'open-iscsi').join('\n'),
      /^notice: the kernel does not offer the transport "iser"/m,
    );
  });

  test('rdma_rxe and siw: each with its kind, interface and state', async () => {
    await addRdmaDevices(lab.guest);
    const json = await lab.guest.sh(`modprobe ib_iser; node ${inside} doctor --json`);
    assert.deepEqual(said(json, 'RDMA devices'), [
      "good: rxe0 port 1: RoCE, in software, by the kernel's rdma_rxe, interface roce0, ACTIVE",
      "good: siw0 port 1: iWARP, in software, by the kernel's siw, interface eth0, ACTIVE",
      'good: programs reach all of them through /dev/infiniband',
    ]);
    assert.deepEqual(said(json, 'RoCE and GIDs'), ['good: rxe0 port 1: RoCE v2 for 10.9.0.1 (GID 1)']);
    assert.match(said(json, 'kernel modules')[0]!, /^good: loaded: .*ib_iser .*siw .*rdma_rxe /);
    assert.match(said(json, 'open-iscsi').join('\n'), /^good: the kernel offers its transport "iser"/m);
  });

  test('LIO over iSER: answers iWARP, any number of times, and does not suffer from it', async () => {
    const lio = await startLio(lab.guest, { portal: PORTAL, iser: true });
    for (let i = 0; i < 3; i++) {
      const { says } = await askPortal();
      assert.match(says[1]!, /^notice: iSCSI over TCP: not asked/);
      assert.match(says[2]!, /^good: iSER: the portal answers over iWARP; connecting took /);
    }
    assert.equal(await discoverOverIser(lab.guest, PORTAL), `${PORTAL},1 ${lio.target}`);
    await lio.stop();
  });

  test('LIO over TCP: answers that, and no iWARP', async () => {
    const lio = await startLio(lab.guest, { portal: PORTAL });
    const { says, exitCode } = await askPortal();
    await lio.stop();
    assert.match(says[1]!, /^good: iSCSI over TCP: answers; round trips took /);
    assert.match(says[2]!, /^notice: iSER: .* speaks iSCSI over TCP only on this port$/);
    assert.equal(exitCode, 0);
  });
});
