/** The lab itself: a guest that panics, hangs or does not boot fails with the reason, and leaves nothing behind. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';

import { whatIsMissing } from '../guest-image.js';
import { Guest } from '../harness/guest.js';
import type { Hardware } from '../harness/qemu.js';
import { RESULTS } from '../harness/scenario.js';

const HARDWARE: Hardware = { links: 1, processors: 2, memory: 1024, capture: false, forward: [] };

describe('guest', { skip: whatIsMissing() ?? false, timeout: 300_000 }, () => {
  const folder = join(RESULTS, 'guest');

  before(() => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  });

  /** Ids of the QEMU processes that serve the folder. */
  const processes = (): string[] =>
    readdirSync('/proc').filter((id) => /^\d+$/.test(id) && commandLine(id).includes(`path=${folder},`));

  test('a script that fails tells its status and what it printed', async () => {
    const guest = await Guest.boot(folder, HARDWARE);
    await assert.rejects(
      guest.sh('echo before; ls /nowhere; echo after'),
      /ls \/nowhere[^]*ended with 2:\nbefore\nls: cannot access/,
    );
    await assert.rejects(guest.sh('kill -KILL $$'), /ended with 137/);
    assert.deepEqual(await guest.run('echo out; echo err >&2; exit 3'), {
      status: 3,
      stdout: 'out\n',
      stderr: 'err\n',
    });
    await guest.shutDown();
    assert.deepEqual(processes(), []);
  });

  test('a script that hangs is given up, with what it printed and what the kernel waits for', async () => {
    const guest = await Guest.boot(folder, HARDWARE);
    await assert.rejects(
      guest.sh('echo started; sleep 1000', { limit: 2 }),
      /has not ended within 2 s; it printed\nstarted\n[^]*Show Blocked State/,
    );
    await guest.powerCut();
    assert.deepEqual(processes(), []);
  });

  test('a kernel that panics ends the guest, and the reason is told', async () => {
    const guest = await Guest.boot(folder, HARDWARE);
    await assert.rejects(
      guest.sh('echo c >/proc/sysrq-trigger; sleep 1000'),
      /the guest has ended: [^]*sysrq triggered crash/,
    );
    await assert.rejects(guest.sh('true'), /the guest has ended/);
    assert.deepEqual(processes(), []);
  });

  test('a guest that cannot boot is given up, with what QEMU and the console say', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    try {
      await assert.rejects(
        Guest.boot(folder, { ...HARDWARE, forward: [[port, 3260]] }),
        /the guest did not boot: QEMU ended\n[^]*Could not set up host forwarding rule/,
      );
    } finally {
      taken.close();
    }
    assert.deepEqual(processes(), []);
  });
});

function commandLine(id: string): string {
  try {
    return readFileSync(`/proc/${id}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}
