/** Riser's initiator on the host uses the kernel's target, LIO, in the guest. */

import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { openSync, closeSync, ftruncateSync, readFileSync, writeSync } from 'node:fs';
import { before, test } from 'node:test';

import { connect, type ConnectOptions, discover } from '../../src/initiator/index.js';
import { CHAP_ALGORITHMS } from '../../src/iscsi/index.js';
import { Secret } from '../../src/util/secret.js';
import { CliProcess } from '../../test/support/cli-process.js';
import { FaultProxy } from '../../test/support/fault-proxy.js';
import { freePort } from '../../test/support/free-port.js';
import { copyInterrupted } from '../../test/support/interrupted-copy.js';
import { randomFrom } from '../../test/support/random.js';
import { PROGRAM } from '../harness/host-riser.js';
import { type Lio, startLio } from '../harness/lio.js';
import { scenario } from '../harness/scenario.js';

const SIZE = 64 << 20;
const PIECE = 2 << 20;
const INITIATOR = { user: 'riser', secret: 'correct-horse-battery' };
const TARGET = { user: 'lio', secret: 'staple-staple-staple' };
const ALICE = { name: INITIATOR.user, secret: new Secret(INITIATOR.secret) };
const LIO = { name: TARGET.user, secret: new Secret(TARGET.secret) };
const port = await freePort();
const portal = { host: '127.0.0.1', port };

/** Data here and there, and holes between. */
function makeImage(path: string): void {
  const file = openSync(path, 'w');
  ftruncateSync(file, SIZE);
  for (let at = 0; at + PIECE <= SIZE; at += 7 << 20) writeSync(file, randomBytes(PIECE), 0, PIECE, at);
  closeSync(file);
}

scenario('initiator', { capture: true, forward: [[port, 3260]] }, (lab) => {
  let lio: Lio;
  let url: string;

  async function riser(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await new CliProcess(args, { program: [PROGRAM] }).ended();
    assert.equal(exitCode, 0, stdout + stderr);
    return stdout;
  }

  async function tryIt(authentication: ConnectOptions['authentication']): Promise<void> {
    const lun = await connect(url, authentication === undefined ? {} : { authentication });
    assert.equal(lun.size, SIZE);
    await lun.close();
  }

  before(async () => {
    lio = await startLio(lab.guest, {
      portal: '0.0.0.0:3260',
      size: String(SIZE),
      attributes: { emulate_tpu: 1, emulate_tpws: 1 },
    });
    url = `iscsi://127.0.0.1:${port}/${lio.target}/${lio.lun}`;
  });

  test('it is discovered', async () => {
    const targets = await discover({ portal, initiatorName: 'iqn.2026-11.lab:host' });
    assert.deepEqual(
      targets.map(({ name }) => name),
      [lio.target],
    );
  });

  test('an image is copied to it and back, and both are equal', async () => {
    makeImage(lab.file('in.img'));
    await riser('copy', lab.file('in.img'), url, '--verify');
    await riser('compare', lab.file('in.img'), url);
    await riser('copy', url, lab.file('out.img'), '--verify');
    assert.ok(readFileSync(lab.file('in.img')).equals(readFileSync(lab.file('out.img'))));
    await lab.guest.sh('sync; cmp /dev/shm/lio.img /lab/in.img');
  });

  test('copies that are interrupted at random, there and back, are resumed and equal', async () => {
    const seed = randomInt(1 << 30);
    const random = randomFrom(seed);
    // About two seconds for all the data: longer than the interrupted runs together.
    const bytesPerSecond = 8 << 20;
    const link = await FaultProxy.start({ seed, targetPort: () => port, lifeMs: 60_000, bytesPerSecond });
    link.isFaulty = false;
    const slow = `iscsi://127.0.0.1:${link.port}/${lio.target}/${lio.lun}`;
    const interrupt = async (args: string[], journal: string): Promise<void> => {
      const options = { journal, random, lifeMs: [50, 500], interruptions: 3, program: [PROGRAM] } as const;
      const runs = await copyInterrupted([...args, '-q', '--depth', '2'], options);
      console.log(`seed ${seed}:`, runs.map(({ signal, position }) => `${signal} at ${position}`).join(', '));
      const within = runs.filter(({ position }) => position > 0 && position < SIZE);
      assert.ok(within.length >= 2, `seed ${seed}: interrupted within it ${within.length} times only`);
    };
    try {
      makeImage(lab.file('in.img'));
      const journal = lab.file('in.journal');
      await interrupt([lab.file('in.img'), slow, '--journal', journal], journal);
      await riser('compare', lab.file('in.img'), url);
      await lab.guest.sh('sync; cmp /dev/shm/lio.img /lab/in.img');
      await interrupt([slow, lab.file('back.img')], `${lab.file('back.img')}.riser-copy`);
      assert.ok(readFileSync(lab.file('in.img')).equals(readFileSync(lab.file('back.img'))));
    } finally {
      await link.close();
    }
  });

  test('unmapping, zeroes, COMPARE AND WRITE and digests', async () => {
    const lun = await connect(url, { headerDigest: true, dataDigest: true });
    const data = randomBytes(1 << 20);
    await lun.write(0, data, { fua: true });
    assert.ok((await lun.read(0, data.length)).equals(data));
    await lun.unmap(65536, 65536);
    await lun.writeZeroes(262144, 65536);
    data.fill(0, 65536, 131072).fill(0, 262144, 327680);
    assert.ok((await lun.read(0, data.length)).equals(data));
    const next = randomBytes(lun.blockSize);
    assert.equal(await lun.compareAndWrite(0, next, next), false);
    assert.equal(await lun.compareAndWrite(0, data.subarray(0, lun.blockSize), next), true);
    assert.ok((await lun.read(0, lun.blockSize)).equals(next));
    await lun.close();
  });

  test('CHAP: every algorithm, one way and both ways, and wrong secrets', async () => {
    await lio.stop();
    lio = await startLio(lab.guest, {
      portal: '0.0.0.0:3260',
      size: String(SIZE),
      chap: { initiator: INITIATOR, target: TARGET },
    });
    const wrong = new Secret('wrong-horse-battery');
    for (const { name } of CHAP_ALGORITHMS) {
      const algorithms = [name];
      await tryIt({ user: ALICE, target: LIO, algorithms });
      await tryIt({ user: ALICE, algorithms });
      await assert.rejects(tryIt({ user: { ...ALICE, secret: wrong }, algorithms }), {
        code: 'LOGIN_REFUSED',
      });
      await assert.rejects(tryIt({ user: ALICE, target: { ...LIO, secret: wrong }, algorithms }), {
        code: 'AUTHENTICATION',
      });
    }
    // LIO gives no answer to an initiator that offers no method of authentication.
    await assert.rejects(tryIt(undefined), { code: 'LOGIN_CLOSED' });
  });
});
