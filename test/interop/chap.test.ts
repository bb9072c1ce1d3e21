/** Other projects' initiators log in to `riser serve --config` by CHAP, one-way and mutual, and are refused. */

import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { CliProcess } from '../support/cli-process.js';
import { peer } from '../support/peers.js';
import { iscsiDriverMissing } from '../support/qemu-iscsi.js';
import { runProgram, runToSuccess } from '../support/run-program.js';
import { temporaryFolder } from '../support/temporary.js';

const ls = peer('iscsi-ls', 'libiscsi-bin');
const inq = peer('iscsi-inq', 'libiscsi-bin');
const qemuImg = peer('qemu-img', 'qemu-utils');
const noDriver = await iscsiDriverMissing(qemuImg);

const SECRETS = { alice: 'aliceHasASecret1', finder: 'finderHasOneToo2', riser: 'theTargetHasOne3' };
const TARGET = 'iqn.2026-01.example.test:chap';
const HIDDEN = 'iqn.2026-01.example.test:hidden';

describe('CHAP', { skip: ls.skip || inq.skip }, () => {
  const folder = temporaryFolder();
  let riser: CliProcess;
  let port: number;

  const configure = (alice: string): string => {
    const path = join(folder, 'riser.yaml');
    for (const [name, secret] of Object.entries({ ...SECRETS, alice })) {
      writeFileSync(join(folder, name), `${secret}\n`);
      chmodSync(join(folder, name), 0o600);
    }
    const chap = {
      users: [{ name: 'alice', secretFile: 'alice' }],
      mutual: { name: 'riser', secretEnv: 'RISER_TEST_MUTUAL' },
    };
    writeFileSync(
      path,
      JSON.stringify({
        portals: ['127.0.0.1:0'],
        discovery: { auth: { chap: { users: [{ name: 'finder', secretFile: 'finder' }] } } },
        failedLogins: { limit: 1000 },
        targets: [
          { name: TARGET, auth: { chap }, luns: [{ lun: 0, memory: '16M' }] },
          { name: HIDDEN, access: [{ addresses: ['192.0.2.0/24'] }], luns: [{ lun: 0, memory: '16M' }] },
        ],
      }),
    );
    return path;
  };

  before(async () => {
    riser = new CliProcess(['serve', '--config', configure(SECRETS.alice), '--json-logs'], {
      env: { RISER_TEST_MUTUAL: SECRETS.riser },
    });
    port = await riser.port();
  });
  after(() => riser.stop());

  const url = (login: string, rest = ''): string => `iscsi://${login}127.0.0.1:${port}${rest}`;
  const lun = (login: string, target = TARGET): string => url(login, `/${target}/0`);
  const ALICE = `alice%${SECRETS.alice}@`;

  /** The environment in which libiscsi asks the target for a proof. */
  const mutual = (secret: string): string[] => [
    'LIBISCSI_CHAP_TARGET_USERNAME=riser',
    `LIBISCSI_CHAP_TARGET_PASSWORD=${secret}`,
  ];
  const inquire = (env: string[], login: string, target = TARGET) =>
    runProgram('env', [...env, inq.path, lun(login, target)]);

  test('one-way: the right secret, and no other', async () => {
    assert.match((await inquire([], ALICE)).stdout, /Vendor:RISER/);
    for (const login of [
      'alice%aWrongSecret1234@',
      `bob%${SECRETS.alice}@`,
      `finder%${SECRETS.finder}@`,
      '',
    ]) {
      const { status, stdout } = await inquire([], login);
      assert.notEqual(status, 0, login);
      assert.doesNotMatch(stdout, /Vendor/);
    }
  });

  test('mutual: each of the two secrets must be right', async () => {
    assert.match((await inquire(mutual(SECRETS.riser), ALICE)).stdout, /Vendor:RISER/);
    assert.notEqual((await inquire(mutual('aWrongSecret1234'), ALICE)).status, 0);
    assert.notEqual((await inquire(mutual(SECRETS.riser), 'alice%aWrongSecret1234@')).status, 0);
  });

  test('discovery by a user of its own lists what may be seen', async () => {
    const said = await runToSuccess(ls.path, [url(`finder%${SECRETS.finder}@`)]);
    assert.match(said, new RegExp(`Target:${TARGET} `));
    assert.doesNotMatch(said, /hidden/);
    assert.notEqual((await runProgram(ls.path, [url(ALICE)])).status, 0);
    assert.notEqual((await runProgram(ls.path, [url('')])).status, 0);
  });

  test('a hidden target is not found, as one that is not there', async () => {
    const said = await inquire([], '', HIDDEN);
    const absent = await inquire([], '', `${TARGET}-none`);
    assert.notEqual(said.status, 0);
    assert.match(said.stderr + said.stdout, /not found|0203|515/i);
    const plain = ({ stderr }: { stderr: string }) =>
      stderr.replaceAll(HIDDEN, 'X').replaceAll(`${TARGET}-none`, 'X');
    assert.equal(plain(said), plain(absent));
  });

  test('qemu-img, one-way and with a wrong secret', { skip: noDriver }, async () => {
    const info = (login: string) =>
      runProgram(qemuImg.path, ['info', '-f', 'raw', '--output', 'json', lun(login)]);
    const { stdout } = await info(ALICE);
    assert.equal((JSON.parse(stdout) as { 'virtual-size': number })['virtual-size'], 16 << 20);
    const wrong = await info('alice%aWrongSecret1234@');
    assert.notEqual(wrong.status, 0);
    assert.match(wrong.stderr, /[Aa]uth/);
  });

  test('another secret in the file counts after SIGHUP; nothing was logged of any', async () => {
    const NEXT = 'aliceHasANewOne4';
    configure(NEXT);
    riser.child.kill('SIGHUP');
    await riser.logged('configuration re-read');
    assert.notEqual((await inquire([], ALICE)).status, 0);
    assert.equal((await inquire([], `alice%${NEXT}@`)).status, 0);
    configure(NEXT);
    riser.child.kill('SIGHUP');
    await riser.logged('configuration re-read: nothing changed');
    assert.match(riser.stdout, /wrong response of user/);
    for (const secret of [...Object.values(SECRETS), NEXT]) assert.ok(!riser.stdout.includes(secret));
  });
});
