/**
 * The kernel's iSER initiator over siw, and Riser on the host: much I/O, a server that goes away and comes back, and many
 * logins. Without a capture: tshark loses the borders of FPDUs in this much.
 */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { TARGET } from '../harness/host-riser.js';
import {
  addPortal,
  connectionsOf,
  discoverOverIser,
  loginOverIser,
  loginRounds,
  logoutOverIser,
  withoutMultipath,
} from '../harness/iser-initiator.js';
import { addRdmaDevices, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { nameOf, verifiedIo, verifiedWrites } from '../harness/verified-io.js';

const ACCESSES = [
  { rw: 'write', blockSizes: '4k-4k', depth: 128, mebibytes: 4 },
  { rw: 'write', blockSizes: '4m-4m', depth: 8, mebibytes: 16 },
  { rw: 'randwrite', blockSizes: '4k-4k', depth: 128, mebibytes: 4 },
  { rw: 'randrw', blockSizes: '4k-4m', depth: 32, mebibytes: 16 },
  { rw: 'randrw', blockSizes: '16k-16k', depth: 128, mebibytes: 8 },
] as const;

/** Rounds of login and logout: all, and those after which memory should have grown as far as it does. */
const ROUNDS = Number(process.env['RISER_LAB_ROUNDS'] ?? 15);
const FIRST_ROUNDS = Math.floor(ROUNDS / 5);
/** Bytes by which memory in use may be more after the others. Seen: 0.6 MB from round 3 to 15, 0.2 MB from round 20 to 100. */
const MOST_GROWTH = 2 << 20;

scenario('iser-io', {}, (lab) => {
  let disk: string;
  const lun = () => ({ portal: lab.riser.portal(), target: TARGET, lun: 0 });

  before(async () => {
    const { guest } = lab;
    await withoutMultipath(guest);
    await addRdmaDevices(guest);
    const riser = await lab.serveWith({ rdma: true, measured: true }, { image: 'disk.img', create: '256M' });
    await discoverOverIser(guest, riser.portal());
    await addPortal(guest, riser.portal(), TARGET);
    disk = await loginOverIser(guest, lun());
  });

  for (const access of ACCESSES) test(nameOf(access), () => verifiedIo(lab.guest, disk, access));

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    test(`writes go on after the server was ended by ${signal} and started anew`, async () => {
      const { guest, riser } = lab;
      await verifiedWrites(guest, disk, () => riser.restart(signal, 1000));
      assert.match(await guest.sh('iscsiadm -m session'), /^iser: /);
    });
  }

  /** What Riser has on the host: open descriptors, sessions, memory in use, and resident memory of its own, in bytes. */
  async function held(): Promise<{
    descriptors: number;
    sessions: number;
    memory: number;
    resident: number;
  }> {
    const { pid } = lab.riser;
    const log = lab.read('riser.log').toString();
    const ofLastStart = log.slice(log.lastIndexOf('"listening on'));
    const count = (pattern: RegExp): number => [...ofLastStart.matchAll(pattern)].length;
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return {
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
      sessions: count(/"session opened/g) - count(/"session closed/g),
      memory: await lab.riser.memory(),
      resident: Number(/RssAnon:\s+(\d+) kB/.exec(status)![1]) * 1024,
    };
  }

  test(`${ROUNDS} rounds of login and logout leave nothing behind`, async (t) => {
    const { guest } = lab;
    await logoutOverIser(guest, lun());
    await delay(1000);
    const before = await held();
    await loginRounds(guest, lun(), FIRST_ROUNDS);
    const first = await held();
    await loginRounds(guest, lun(), ROUNDS - FIRST_ROUNDS);
    const after = await held();
    t.diagnostic(
      `before, after ${FIRST_ROUNDS} and ${ROUNDS} rounds: ${JSON.stringify([before, first, after])}`,
    );
    assert.equal(before.sessions, 0);
    assert.equal(after.sessions, 0);
    assert.equal(after.descriptors, before.descriptors);
    assert.ok(
      after.memory - first.memory <= MOST_GROWTH,
      `memory in use grew from ${first.memory} to ${after.memory} bytes`,
    );
    assert.equal(await connectionsOf(guest, SIW), '');
  });
});
