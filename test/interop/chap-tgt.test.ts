/** The initiator's CHAP against tgt, which knows MD5, and SHA1 under a number that is SHA256's by now. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { type ChapAlgorithmName, InitiatorAuthentication } from '../../src/iscsi/index.js';
import { Secret } from '../../src/util/secret.js';
import { TEST_UNIT_READY } from '../support/cdb.js';
import { freePort } from '../support/free-port.js';
import { Initiator } from '../support/initiator.js';
import { LoginRefused, TargetRefused } from '../support/login.js';
import { peer } from '../support/peers.js';
import { runToSuccess } from '../support/run-program.js';
import { temporaryFolder } from '../support/temporary.js';

const tgtd = peer('tgtd', 'tgt');
const tgtadm = peer('tgtadm', 'tgt');
const TARGET = 'iqn.2026-01.example.test:tgt';
const ALICE = 'aliceHasASecret1';
const TGT = 'theTargetHasOne3';
const WRONG = 'aWrongSecret1234';

describe('CHAP with tgt', { skip: tgtd.skip || tgtadm.skip }, () => {
  const folder = temporaryFolder();
  let server: ChildProcess;
  let port: number;

  before(async () => {
    port = await freePort();
    // tgtd appends the control port to this path, so that it meets no other tgtd on this machine.
    const environment = { ...process.env, TGT_IPC_SOCKET: join(folder, 'tgt') };
    server = spawn(tgtd.path, ['--foreground', '-C', '0', '--iscsi', `portal=127.0.0.1:${port}`], {
      env: environment,
      stdio: 'ignore',
    });
    await untilListening(port);
    const image = join(folder, 'disk.img');
    writeFileSync(image, '');
    truncateSync(image, 16 << 20);
    const admin = (command: string): Promise<string> =>
      runToSuccess('env', [
        `TGT_IPC_SOCKET=${join(folder, 'tgt')}`,
        tgtadm.path,
        ...`-C 0 --lld iscsi --op ${command}`.split(' '),
      ]);
    await admin(`new --mode target --tid 1 -T ${TARGET}`);
    await admin(`new --mode logicalunit --tid 1 --lun 1 -b ${image}`);
    await admin('bind --mode target --tid 1 -I ALL');
    await admin(`new --mode account --user alice --password ${ALICE}`);
    await admin(`new --mode account --user tgt --password ${TGT}`);
    await admin('bind --mode account --tid 1 --user alice');
    await admin('bind --mode account --tid 1 --user tgt --outgoing');
  });
  after(async () => {
    // SIGTERM alone it ignores while sessions linger.
    server.kill('SIGKILL');
    await once(server, 'exit');
  });

  async function login(secret: string, target?: string, algorithms?: ChapAlgorithmName[]): Promise<void> {
    const authentication = new InitiatorAuthentication({
      user: { name: 'alice', secret: new Secret(secret) },
      target: target === undefined ? null : { name: 'tgt', secret: new Secret(target) },
      ...(algorithms !== undefined && { algorithms }),
    });
    const initiator = await Initiator.login({ port, targetName: TARGET, authentication });
    // The unit attention of a new nexus.
    await initiator.command(1, TEST_UNIT_READY);
    assert.equal((await initiator.read(1, 0, 1)).status, 0);
    await initiator.logout();
  }

  for (const algorithms of [undefined, ['MD5'], ['SHA3-256', 'SHA1', 'MD5']] as const) {
    const offer = algorithms === undefined ? undefined : [...algorithms];
    test(`offered ${algorithms?.join() ?? 'the default'}: both secrets must be right`, async () => {
      await login(ALICE, undefined, offer);
      await login(ALICE, TGT, offer);
      await assert.rejects(login(WRONG, undefined, offer), LoginRefused);
      await assert.rejects(login(WRONG, TGT, offer), LoginRefused);
      await assert.rejects(login(ALICE, WRONG, offer), TargetRefused);
    });
  }
});

async function untilListening(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = connect(port, '127.0.0.1');
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await delay(50);
  }
  throw new Error('tgtd does not listen');
}
