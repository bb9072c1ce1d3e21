/** Targets that are served elsewhere (RFC 7143 11.13.5): what initiators are told, and where they arrive. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { connect, discover, type Lun, Session } from '../../src/initiator/index.js';
import { LoginStatus } from '../../src/iscsi/index.js';
import { Secret } from '../../src/target/index.js';
import { silentLogger } from '../../src/util/logger.js';
import { decodePairs, encodeKeys, loginHeader, Stage } from '../support/login.js';
import { PduSocket } from '../support/pdu-socket.js';
import { peer } from '../support/peers.js';
import { runProgram, runToSuccess } from '../support/run-program.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';

const inq = peer('iscsi-inq', 'libiscsi-bin');
const ls = peer('iscsi-ls', 'libiscsi-bin');

const CONTENT = Buffer.alloc(512, 'elsewhere');
const INITIATOR_NAME = 'iqn.2026-01.example.test:initiator';

describe('redirection', () => {
  let old: TestTarget;
  let present: TestTarget;
  const at = ({ port }: TestTarget): string => `127.0.0.1:${port}`;

  before(async () => {
    const device = new MemoryDevice({ size: 1 << 20, blockSize: 512 });
    present = await TestTarget.start([{ device }]);
    old = await TestTarget.start([]);
    const lun = await connect(present.url(0));
    await lun.write(0, CONTENT);
    await lun.close();
  });
  after(async () => {
    await old.close();
    await present.close();
  });
  beforeEach(() => {
    present.target.redirectTo(null);
    old.target.redirectTo({ to: at(present) });
  });

  const arrives = async (lun: Lun): Promise<void> => {
    assert.deepEqual(await lun.read(0, 512), CONTENT);
    await lun.close();
  };

  for (const permanent of [false, true]) {
    const status = permanent ? LoginStatus.TARGET_MOVED_PERMANENTLY : LoginStatus.TARGET_MOVED_TEMPORARILY;
    test(`the login response has status ${status.code.toString(16)}, and TargetAddress without a portal group tag`, async () => {
      old.target.redirectTo({ to: at(present), permanent });
      const socket = await PduSocket.connect(old.port);
      socket.send(
        loginHeader({ isid: randomBytes(6), currentStage: Stage.SECURITY, nextStage: Stage.FULL_FEATURE }),
        encodeKeys({ InitiatorName: INITIATOR_NAME, TargetName: TARGET_NAME, AuthMethod: 'None' }),
      );
      const { header, data } = await socket.inbox.next();
      assert.deepEqual(
        [header[36], header[37], decodePairs(data)],
        [status.statusClass, status.statusDetail, [['TargetAddress', at(present)]]],
      );
      await socket.closed;
    });
  }

  test("Riser's initiator arrives, over TCP and over iSER", async () => {
    for (const scheme of ['iscsi', 'iser'])
      await arrives(await connect(`${scheme}://${at(old)}/${TARGET_NAME}/0`));
  });

  test('it is followed before anybody proves anything, and discovery names the target where it was', async () => {
    const users = [{ name: 'alice', secret: new Secret('correct horse battery') }];
    old.target.secure({ authentication: { chap: { users } } });
    await arrives(await connect(old.url(0)));
    old.target.secure({});
    const [found] = await discover({
      portal: { host: '127.0.0.1', port: old.port },
      initiatorName: INITIATOR_NAME,
    });
    assert.deepEqual(found, {
      name: TARGET_NAME,
      portals: [{ host: '127.0.0.1', port: old.port, portalGroupTag: 1 }],
    });
  });

  test('those whom no access rule admits find no such target, and learn no address', async () => {
    old.target.secure({ access: [{ initiators: ['iqn.2026-01.example.test:other'] }] });
    await assert.rejects(connect(old.url(0)), { code: 'LOGIN_REFUSED', message: /not found/ });
    old.target.secure({});
  });

  test('sessions that there are end, and their initiator follows; it comes back when the target does', async () => {
    old.target.redirectTo(null);
    const device = new MemoryDevice({ size: 1 << 20, blockSize: 512 });
    old.target.addLun(0, { device });
    const session = await Session.open({
      portal: { host: '127.0.0.1', port: old.port },
      initiatorName: INITIATOR_NAME,
      targetName: TARGET_NAME,
    });
    try {
      const reach = async (where: TestTarget): Promise<void> => {
        const tries = Date.now() + 20_000;
        while (session.portal.port !== where.port && Date.now() < tries)
          await new Promise((resolve) => setTimeout(resolve, 20));
        assert.equal(session.portal.port, where.port);
      };
      old.target.redirectTo({ to: at(present) });
      await reach(present);
      // Temporarily moved: the next login begins at the old portal again.
      old.target.redirectTo(null);
      present.target.redirectTo({ to: at(old), permanent: true });
      await reach(old);
    } finally {
      await session.close();
      old.target.removeLun(0);
      await device.close();
    }
  });

  test('a redirection in a circle is one clear error, at the initiator', async () => {
    present.target.redirectTo({ to: at(old) });
    await assert.rejects(connect(old.url(0)), {
      code: 'REDIRECTED',
      message: `redirected in a circle: ${at(old)}, then ${at(present)}, then ${at(old)}`,
    });
  });

  test('a target that is redirected to where it is asked for is not available, and the log says why', async () => {
    const errors: string[] = [];
    const log = { ...silentLogger, error: (message: string) => errors.push(message) };
    const lone = await TestTarget.start([], { log });
    try {
      lone.target.redirectTo({ to: at(lone) });
      await assert.rejects(connect(lone.url(0)), { code: 'LOGIN_REFUSED', message: /service unavailable/ });
      assert.deepEqual(errors, [
        `${TARGET_NAME} is redirected to ${at(lone)}, which is this very portal: nobody can log in`,
      ]);
    } finally {
      await lone.close();
    }
  });

  test('where it leads is checked when it is told', () => {
    for (const to of [
      '',
      'a b',
      '300.1.1.1',
      '::1',
      '[::1',
      '[fe80::1%eth0]',
      'host:0',
      'host:65536',
      'host:1,1',
    ])
      assert.throws(() => old.target.redirectTo({ to }), { code: 'REDIRECT' }, to);
    for (const [to, told] of [
      ['storage.example.com', 'storage.example.com:3260'],
      ['192.0.2.7:3261', '192.0.2.7:3261'],
      ['[2001:db8::7]', '[2001:db8::7]:3260'],
    ] as const) {
      old.target.redirectTo({ to });
      assert.equal(old.target.redirect?.targetAddress, told);
    }
  });

  describe('libiscsi', { skip: inq.skip }, () => {
    test('follows one that is temporary', async () => {
      assert.match(await runToSuccess(inq.path, [old.url(0)]), /^Vendor:RISER *$/m);
      const listed = await runToSuccess(ls.path, ['-s', `iscsi://${at(old)}`]);
      assert.match(listed, new RegExp(`^Target:${TARGET_NAME} Portal:${at(old)},1$`, 'm'));
      assert.match(listed, /^Lun:0 +Type:DIRECT_ACCESS/m);
    });

    test('tells one that is permanent, and does not follow it', async () => {
      old.target.redirectTo({ to: at(present), permanent: true });
      const said = await runProgram(inq.path, [old.url(0)]);
      assert.match(said.stderr, /Target moved permanently\(258\)/);
    });
  });
});
