/** Riser's initiator on the host uses the kernel's target, LIO, and tgt over iSER, through siw in the guest. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { openSync, closeSync, ftruncateSync, readFileSync, writeSync } from 'node:fs';
import { before, test } from 'node:test';

import { connect } from '../../src/initiator/index.js';
import { CliProcess } from '../../test/support/cli-process.js';
import { freePort } from '../../test/support/free-port.js';
import type { Guest } from '../harness/guest.js';
import { PROGRAM } from '../harness/host-riser.js';
import { startLio } from '../harness/lio.js';
import { addRdmaDevices, listening, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { startTgt } from '../harness/tgt.js';

const SIZE = 16 << 20;
const PIECE = 2 << 20;
const PORT = 3260;
const port = await freePort();

/** The guest's own: the name that tgt lets in. */
const INITIATOR = 'iqn.2026-11.lab:guest';

/** How each is started, and how a login to a target that does not exist ends: LIO closes before siw has sent its answer. */
const TARGETS = {
  LIO: {
    start: (guest: Guest) =>
      startLio(guest, { portal: `${SIW.address}:${PORT}`, iser: true, size: String(SIZE) }),
    refusal: /^error: the target (refused the login: |closed the connection during login)/,
  },
  tgt: {
    start: (guest: Guest) => startTgt(guest, String(SIZE)),
    refusal: /^error: the target refused the login: /,
  },
};

/** Data here and there, and holes between. */
function makeImage(path: string): void {
  const file = openSync(path, 'w');
  ftruncateSync(file, SIZE);
  for (let at = 0; at + PIECE <= SIZE; at += 7 << 20) writeSync(file, randomBytes(PIECE), 0, PIECE, at);
  closeSync(file);
}

scenario('iser-targets', { capture: true, protocol: 'iSER', forward: [[port, PORT]] }, (lab) => {
  before(() => addRdmaDevices(lab.guest));

  const riser = (command: string, ...args: string[]) =>
    new CliProcess([command, '--initiator-name', INITIATOR, ...args], { program: [PROGRAM] }).ended();

  async function succeed(command: string, ...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await riser(command, ...args);
    assert.equal(exitCode, 0, stdout + stderr);
    return stdout;
  }

  for (const [name, { start, refusal }] of Object.entries(TARGETS)) {
    test(`${name}: discovery, copies there and back, load, and errors`, async (t) => {
      const { target, lun, stop } = await start(lab.guest);
      t.after(stop);
      await lab.guest.sh(listening(PORT));
      const url = `iser://127.0.0.1:${port}/${target}/${lun}`;

      assert.match(await succeed('discover', `iser://127.0.0.1:${port}`), new RegExp(target));
      assert.match(await succeed('info', url), /transport +iSER$/m);

      makeImage(lab.file('in.img'));
      await succeed('copy', lab.file('in.img'), url, '--verify');
      await succeed('compare', lab.file('in.img'), url);
      await succeed('copy', url, lab.file(`${name}.img`), '--verify');
      assert.ok(readFileSync(lab.file('in.img')).equals(readFileSync(lab.file(`${name}.img`))));

      const device = await connect(url, { initiatorName: INITIATOR });
      for (const length of [512, 4096, 8192, 12288, 65536, 1 << 20]) {
        const data = randomBytes(length);
        await device.write(1 << 20, data);
        assert.ok((await device.read(1 << 20, length)).equals(data), `${length} bytes`);
      }
      // A command that the target refuses, with sense data; the session goes on.
      const refused = await device.command(Buffer.from('ff0000000000', 'hex'), {});
      assert.notEqual(refused.status, 0);
      await device.read(0, 4096);
      await device.close();

      const load = ['--seconds', '1', '--json'];
      const { iops } = JSON.parse(await succeed('bench', url, ...load)) as { iops: number };
      assert.ok(iops > 0);

      const missing = await riser('info', `iser://127.0.0.1:${port}/${target}-no/0`);
      assert.notEqual(missing.exitCode, 0);
      assert.match(missing.stderr, refusal);
    });
  }
});
