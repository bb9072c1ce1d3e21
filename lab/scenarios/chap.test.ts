/** open-iscsi and Riser prove themselves to each other by CHAP, with every algorithm, in discovery and in sessions. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { before, test } from 'node:test';

import { TARGET } from '../harness/host-riser.js';
import { configure, discoverWith, findDisks, logout, type Settings } from '../harness/open-iscsi.js';
import { scenario } from '../harness/scenario.js';

const SECRETS = { alice: 'aliceHasASecret1', finder: 'finderHasOneToo2', riser: 'theTargetHasOne3' };
const WRONG = 'aWrongSecret1234';
const ALGORITHMS = ['MD5', 'SHA1', 'SHA256', 'SHA3-256'] as const;

/** What the target must prove itself with, in a record whose names begin with `prefix`. */
const mutual = (prefix: string, target: string): Settings => ({
  [`${prefix}.auth.username_in`]: 'riser',
  [`${prefix}.auth.password_in`]: target,
});
const NODE = 'node.session';
const DISCOVERY = 'discovery.sendtargets';

const session = (secret: string, algorithm = 'MD5'): Settings => ({
  'node.session.auth.authmethod': 'CHAP',
  'node.session.auth.chap_algs': algorithm,
  'node.session.auth.username': 'alice',
  'node.session.auth.password': secret,
});
const finder = (secret: string): Settings => ({
  'discovery.sendtargets.auth.authmethod': 'CHAP',
  'discovery.sendtargets.auth.username': 'finder',
  'discovery.sendtargets.auth.password': secret,
});

scenario('chap', { capture: true }, (lab) => {
  before(async () => {
    for (const [name, secret] of Object.entries(SECRETS)) {
      writeFileSync(lab.file(name), `${secret}\n`, { mode: 0o600 });
    }
    const riser = { name: 'riser', secretFile: 'riser' };
    const auth = (user: string) => ({ chap: { users: [{ name: user, secretFile: user }], mutual: riser } });
    await lab.serveWith(
      {
        target: { auth: auth('alice') },
        server: { discovery: { auth: auth('finder') }, failedLogins: { limit: 1000 } },
      },
      { memory: '64M' },
    );
  });

  /** Log in, read from the disk, log out; what `iscsiadm -m session -P 2` says in between. */
  async function use(): Promise<string> {
    const { guest, riser } = lab;
    await guest.sh(`iscsiadm -m node -T ${TARGET} --login >/dev/null`);
    const [disk] = await findDisks(guest, riser);
    await guest.sh(`dd if=${disk!} of=/dev/null bs=1M count=4 iflag=direct status=none`);
    const said = await guest.sh('iscsiadm -m session -P 2');
    await logout(guest);
    return said;
  }

  const REFUSED = /initiator reported error/;
  /** What a login that must fail prints; the script itself fails if there is a session. */
  const refusedLogin = (): Promise<string> =>
    lab.guest.sh(`iscsiadm -m node -T ${TARGET} --login 2>&1 || true; ! iscsiadm -m session 2>/dev/null`);

  test('discovery: the right secrets, one-way and mutual', async () => {
    const { guest, riser } = lab;
    const found = `${riser.portal()},1 ${TARGET}`;
    assert.equal(await discoverWith(guest, riser, finder(SECRETS.finder)), found);
    assert.equal(await discoverWith(guest, riser, mutual(DISCOVERY, SECRETS.riser)), found);
  });

  for (const algorithm of ALGORITHMS) {
    test(`${algorithm}: the right secret opens a session, a wrong one does not`, async () => {
      await configure(lab.guest, session(SECRETS.alice, algorithm));
      assert.match(await use(), /username: alice/);
      await configure(lab.guest, session(WRONG, algorithm));
      assert.match(await refusedLogin(), REFUSED);
    });
  }

  for (const algorithm of ALGORITHMS) {
    test(`${algorithm}, mutual: both secrets must be right`, async () => {
      await configure(lab.guest, { ...session(SECRETS.alice, algorithm), ...mutual(NODE, SECRETS.riser) });
      assert.match(await use(), /username_in: riser/);
      await configure(lab.guest, mutual(NODE, WRONG));
      assert.match(await refusedLogin(), REFUSED);
      await configure(lab.guest, { ...session(WRONG, algorithm), ...mutual(NODE, SECRETS.riser) });
      assert.match(await refusedLogin(), REFUSED);
    });
  }

  test('no authentication, and the secret of discovery, open no session', async () => {
    const { guest } = lab;
    await configure(guest, { 'node.session.auth.authmethod': 'None' });
    assert.match(await refusedLogin(), REFUSED);
    await configure(guest, session(SECRETS.finder));
    assert.match(await refusedLogin(), REFUSED);
  });

  test('discovery: a wrong secret, and none, find nothing', async () => {
    const { guest, riser } = lab;
    await assert.rejects(discoverWith(guest, riser, finder(WRONG)));
    await assert.rejects(discoverWith(guest, riser, { 'discovery.sendtargets.auth.authmethod': 'None' }));
  });

  test('the log tells of the failures, and has no secret', () => {
    const log = lab.read('riser.log').toString();
    assert.match(log, /wrong response of user \\"alice\\"/);
    assert.match(log, /as alice on /);
    for (const secret of [...Object.values(SECRETS), WRONG]) assert.ok(!log.includes(secret));
  });
});
