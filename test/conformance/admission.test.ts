/** Who gets in over a real socket: access rules, CHAP, maps of LUNs, and what those who do not get in can tell. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { InitiatorAuthentication } from '../../src/iscsi/index.js';
import { LoginResponse } from '../../src/iscsi/wire/headers.js';
import { Opcode, TaskManagementFunction, TaskManagementResponse } from '../../src/iscsi/wire/opcodes.js';
import { type SessionInfo, type Target, TargetServer } from '../../src/target/index.js';
import type { Logger } from '../../src/util/logger.js';
import { Secret } from '../../src/util/secret.js';
import { Initiator } from '../support/initiator.js';
import {
  encodeKeys,
  loginHeader,
  type LoginOptions,
  type Keys,
  LoginRefused,
  Stage,
  TargetRefused,
} from '../support/login.js';
import { PduSocket } from '../support/pdu-socket.js';

const name = (target: string): string => `iqn.2026-01.example.test:${target}`;
const A = name('initiator-a');
const B = name('initiator-b');
const ALICE = { name: 'alice', secret: 'alice has a secret' };
const BOB = { name: 'bob', secret: 'bob has another one' };
const RISER = { name: 'riser', secret: 'the target has one' };
const MIB = 1 << 20;

const AUTHENTICATION_FAILURE = [2, 1] as const;
const AUTHORIZATION_FAILURE = [2, 2] as const;
const NOT_FOUND = [2, 3] as const;
const SERVICE_UNAVAILABLE = [3, 1] as const;

const skip = process.platform === 'linux' ? false : 'this system has 127.0.0.1 alone for loopback';

describe('admission', { skip }, () => {
  const log: string[] = [];
  const note = (message: string): void => void log.push(message);
  const logger: Logger = { debug: note, info: note, warn: note, error: note };
  const opened: SessionInfo[] = [];
  let server: TargetServer;
  let mapped: Target;
  let changing: Target;
  let port: number;

  before(async () => {
    const device = (): MemoryDevice => new MemoryDevice({ size: MIB });
    const one = (target: Target): Target => {
      target.addLun(0, { device: device() });
      return target;
    };
    server = new TargetServer({
      log: logger,
      limits: { failedLogins: 3, failedLoginWindowMs: 60_000, failedLoginPauseMs: 60_000 },
      discoveryAuthentication: { chap: { users: [ALICE] } },
    });
    server.events = { sessionOpened: (session) => void opened.push(session), sessionClosed: () => undefined };
    one(server.addTarget({ name: name('open') }));
    one(server.addTarget({ name: name('by-name'), access: [{ initiators: [A] }] }));
    one(server.addTarget({ name: name('by-address'), access: [{ addresses: ['127.0.0.8/29'] }] }));
    one(server.addTarget({ name: name('nobody'), access: [] }));
    one(
      server.addTarget({
        name: name('chap'),
        authentication: { chap: { users: [ALICE, BOB], mutual: RISER } },
        access: [{ initiators: [A], users: ['alice'] }, { addresses: ['127.0.0.9'] }],
      }),
    );
    mapped = server.addTarget({
      name: name('mapped'),
      authentication: { chap: { users: [ALICE, BOB] } },
      recovery: { maxConnections: 2 },
      access: [{ users: ['alice'], luns: { 0: 2, 7: 1 } }, { users: ['bob'] }],
    });
    for (let lun = 0; lun < 4; lun++)
      mapped.addLun(lun, { device: new MemoryDevice({ size: (lun + 1) * MIB }) });
    changing = one(server.addTarget({ name: name('changing') }));
    ({ port } = await server.listen({ address: '127.0.0.1', port: 0 }));
  });
  after(() => server.close({ graceMs: 0 }));

  interface As {
    user?: { name: string; secret: string };
    /** The secret that the target must have. */
    target?: string;
    from?: string;
    initiatorName?: string;
    /** Whose session to join. */
    joins?: Initiator;
    keys?: Keys;
  }

  function login(
    targetName: string | null,
    { user, target, from = '127.0.0.1', initiatorName = A, joins, keys = {} }: As = {},
  ) {
    const options: LoginOptions = { port, localAddress: from, initiatorName, keys };
    if (joins !== undefined)
      Object.assign(options, { isid: joins.isid, joins: { tsih: joins.tsih, cid: 1 } });
    if (targetName !== null) options.targetName = name(targetName);
    if (user !== undefined) {
      options.authentication = new InitiatorAuthentication({
        user: { name: user.name, secret: new Secret(user.secret) },
        target: target === undefined ? null : { name: RISER.name, secret: new Secret(target) },
      });
    }
    return Initiator.login(options);
  }

  async function refused(status: readonly [number, number], attempt: Promise<Initiator>): Promise<void> {
    await assert.rejects(attempt, (error: Error) => {
      assert.ok(error instanceof LoginRefused, String(error));
      assert.deepEqual([error.statusClass, error.statusDetail], status);
      return true;
    });
  }

  const FROM_8 = '127.0.0.8';
  const FROM_9 = '127.0.0.9';

  test('by the name of the initiator', async () => {
    await (await login('by-name')).logout();
    await refused(NOT_FOUND, login('by-name', { initiatorName: B }));
    await refused(NOT_FOUND, login('nobody'));
  });

  test('by its address', async () => {
    await (await login('by-address', { from: FROM_8 })).logout();
    await refused(NOT_FOUND, login('by-address'));
  });

  test('by CHAP, one-way and mutual; the session tells the user', async () => {
    await (await login('chap', { user: ALICE })).logout();
    await (await login('chap', { user: ALICE, target: RISER.secret })).logout();
    assert.deepEqual(
      opened.slice(-2).map(({ user }) => user),
      ['alice', 'alice'],
    );
    await assert.rejects(login('chap', { user: ALICE, target: 'not what it has' }), TargetRefused);
  });

  test('a right secret is not enough for a user whom no rule admits', async () => {
    await refused(AUTHENTICATION_FAILURE, login('chap', { user: BOB }));
    await (await login('chap', { user: BOB, from: FROM_9, initiatorName: B })).logout();
    await refused(NOT_FOUND, login('chap', { user: BOB, initiatorName: B }));
    await (await login('chap', { user: ALICE })).logout();
  });

  test('nobody joins the session of another user (RFC 7143 9.2)', async () => {
    const alice = await login('mapped', { user: ALICE, keys: { MaxConnections: '2' } });
    await refused(AUTHORIZATION_FAILURE, login('mapped', { user: BOB, joins: alice }));
    const second = await login('mapped', { user: ALICE, joins: alice });
    assert.equal(second.tsih, alice.tsih);
    second.destroy();
    await alice.logout();
  });

  test('there is no way around CHAP', async () => {
    await refused(AUTHENTICATION_FAILURE, login('chap'));
    await refused(
      AUTHENTICATION_FAILURE,
      Initiator.login({ port, targetName: name('chap'), initiatorName: A, withoutSecurity: true }),
    );
  });

  test('a target that is hidden answers byte for byte as one that is not there', async () => {
    const answer = async (keys: Record<string, string>, currentStage: Stage, tsih = 0): Promise<Buffer> => {
      const socket = await PduSocket.connect(port);
      const header = loginHeader({
        isid: Buffer.alloc(6, 9),
        currentStage,
        nextStage: Stage.FULL_FEATURE,
        tsih,
      });
      socket.send(header, encodeKeys({ InitiatorName: B, ...keys }));
      const pdu = await socket.inbox.next();
      assert.equal(pdu.opcode, Opcode.LOGIN_RESPONSE);
      assert.equal(LoginResponse.statusClass.get(pdu.header), NOT_FOUND[0]);
      assert.equal(LoginResponse.statusDetail.get(pdu.header), NOT_FOUND[1]);
      await socket.closed;
      return Buffer.concat([pdu.header, pdu.ahs, pdu.data]);
    };
    for (const [keys, stage, tsih] of [
      [{}, Stage.OPERATIONAL, 0],
      [{ AuthMethod: 'CHAP' }, Stage.SECURITY, 0],
      [{ AuthMethod: 'None' }, Stage.SECURITY, 77],
      [{ SessionType: 'Discovery' }, Stage.SECURITY, 0],
    ] as const) {
      const absent = await answer({ ...keys, TargetName: name('absent') }, stage, tsih);
      for (const target of ['by-name', 'by-address', 'nobody', 'chap']) {
        assert.deepEqual(await answer({ ...keys, TargetName: name(target) }, stage, tsih), absent, target);
      }
    }
  });

  test('SendTargets lists what the initiator may see', async () => {
    const listed = async (as: As): Promise<string[]> => {
      const discovery = await login(null, { user: ALICE, ...as });
      const pairs = await discovery.text({ SendTargets: 'All' });
      assert.deepEqual(await discovery.text({ SendTargets: name('nobody') }), []);
      await discovery.logout();
      return pairs.filter(([key]) => key === 'TargetName').map(([, value]) => value.replace(/.*:/, ''));
    };
    assert.deepEqual(await listed({}), ['open', 'by-name', 'chap', 'mapped', 'changing']);
    assert.deepEqual(await listed({ initiatorName: B }), ['open', 'mapped', 'changing']);
    const there = await listed({ initiatorName: B, from: FROM_9 });
    assert.deepEqual(there, ['open', 'by-address', 'chap', 'mapped', 'changing']);
  });

  test('discovery has users of its own', async () => {
    await refused(AUTHENTICATION_FAILURE, login(null, { user: BOB }));
    await refused(AUTHENTICATION_FAILURE, login(null));
    await (await login(null, { user: ALICE })).logout();
    server.authenticateDiscovery(null);
    await (await login(null)).logout();
    await (await login('chap', { user: ALICE })).logout();
    server.authenticateDiscovery({ chap: { users: [ALICE] } });
    await (await login(null, { user: ALICE })).logout();
  });

  describe('maps of LUNs', () => {
    const capacity = async (initiator: Initiator, lun: number): Promise<number | null> => {
      const { status, data } = await initiator.command(lun, READ_CAPACITY, { dataIn: 8 });
      return status === 0 ? (data.readUInt32BE(0) + 1) * 512 : null;
    };
    const listed = async (initiator: Initiator): Promise<number[]> => {
      const { data } = await initiator.command(0, REPORT_LUNS, { dataIn: 256 });
      return Array.from({ length: data.readUInt32BE(0) / 8 }, (_, i) => data[8 + 8 * i + 1]!);
    };
    const READ_CAPACITY = Buffer.of(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const REPORT_LUNS = Buffer.of(0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);

    test('each user finds its own, and nothing of the others', async () => {
      const alice = await login('mapped', { user: ALICE });
      const bob = await login('mapped', { user: BOB, initiatorName: B });
      assert.deepEqual(await listed(alice), [0, 7]);
      assert.deepEqual(await listed(bob), [0, 1, 2, 3]);
      assert.deepEqual([await capacity(alice, 0), await capacity(alice, 7)], [3 * MIB, 2 * MIB]);
      for (const lun of [1, 2, 3]) assert.equal(await capacity(alice, lun), null);

      // Both write through what they see: it is one disk.
      await alice.write(0, 0, Buffer.alloc(512, 'x'));
      assert.equal((await bob.read(2, 0, 1)).data[0], 'x'.charCodeAt(0));

      mapped.removeLun(3);
      mapped.addLun(3, { device: new MemoryDevice({ size: MIB }) });
      assert.notEqual(await capacity(alice, 0), null, 'a change that alice cannot see is no news');
      assert.equal(await capacity(bob, 0), null, 'REPORTED LUNS DATA HAS CHANGED');
      await alice.logout();
      await bob.logout();
    });

    test('a cold reset is not for those who see a part', async () => {
      const alice = await login('mapped', { user: ALICE });
      const bob = await login('mapped', { user: BOB, initiatorName: B });
      const { TARGET_COLD_RESET, LOGICAL_UNIT_RESET } = TaskManagementFunction;
      assert.equal(await alice.manageTask(TARGET_COLD_RESET), TaskManagementResponse.AUTHORIZATION_FAILED);
      const hidden = await alice.manageTask(LOGICAL_UNIT_RESET, 3);
      assert.equal(hidden, TaskManagementResponse.LUN_DOES_NOT_EXIST);
      assert.notEqual(await capacity(bob, 3), null, 'bob hears of nothing');
      await alice.logout();
      await bob.logout();
    });
  });

  test('other rules and secrets count for logins from then on; sessions stay', async () => {
    const before = await login('changing');
    changing.secure({ authentication: { chap: { users: [ALICE] } }, access: [{ initiators: [A] }] });
    await refused(AUTHENTICATION_FAILURE, login('changing'));
    await refused(NOT_FOUND, login('changing', { initiatorName: B }));
    await (await login('changing', { user: ALICE })).logout();
    assert.equal((await before.read(0, 0, 1)).status, 0);
    changing.secure({ authentication: { chap: { users: [{ ...ALICE, secret: BOB.secret }] } } });
    await refused(AUTHENTICATION_FAILURE, login('changing', { user: ALICE }));
    await (await login('changing', { user: { ...ALICE, secret: BOB.secret } })).logout();
    assert.throws(() => changing.secure({ access: [{ users: ['alice'] }] }), { code: 'ACCESS_RULE' });
    await (await login('changing', { user: { ...ALICE, secret: BOB.secret } })).logout();
    await before.logout();
  });

  test('who fails too often is refused, whatever it asks for; others are not', async () => {
    const wrong = { ...ALICE, secret: 'a guess, and another' };
    const from = '127.0.0.66';
    for (let i = 0; i < 3; i++) await refused(AUTHENTICATION_FAILURE, login('mapped', { user: wrong, from }));
    assert.ok(log.includes('127.0.0.66: refused for 60 s after 3 failed logins'), log.join('\n'));
    await refused(SERVICE_UNAVAILABLE, login('mapped', { user: ALICE, from }));
    for (const target of ['open', 'absent', 'nobody', null]) {
      await refused(SERVICE_UNAVAILABLE, login(target, { from }));
    }
    await (await login('mapped', { user: ALICE })).logout();
    server.limitFailedLogins({ failedLogins: 10, failedLoginWindowMs: 60_000, failedLoginPauseMs: 60_000 });
    await (await login('mapped', { user: ALICE, from })).logout();
    server.limitFailedLogins({ failedLogins: 3, failedLoginWindowMs: 60_000, failedLoginPauseMs: 60_000 });
  });

  test('guesses on connections opened before count as well', async () => {
    const from = '127.0.0.67';
    const exchange = (secret: string) =>
      new InitiatorAuthentication({ user: { name: 'alice', secret: new Secret(secret) } });
    const sockets = await Promise.all(
      Array.from({ length: 5 }, () => PduSocket.connect(port, '127.0.0.1', false, from)),
    );
    const under = sockets.map((socket, i) => ({
      socket,
      exchange: exchange(i === 4 ? ALICE.secret : 'a guess, and another'),
      isid: Buffer.from([0x80, 0, 0, 0, 0, i]),
    }));
    const names = { InitiatorName: A, TargetName: name('mapped') };
    let keys = under.map(({ exchange }) => exchange.step(new Map()));
    const statuses: number[][] = [];
    for (let round = 0; round < 3; round++) {
      for (const [i, { socket, exchange, isid }] of under.entries()) {
        const next = keys[i]!;
        assert.notEqual(next.state, 'failed');
        const offered = 'keys' in next ? Object.fromEntries(next.keys) : {};
        socket.send(
          loginHeader({ isid, currentStage: Stage.SECURITY }),
          encodeKeys(round === 0 ? { ...names, ...offered } : offered),
        );
        const { header, data } = await socket.inbox.next();
        if (round === 2) {
          statuses.push([LoginResponse.statusClass.get(header), LoginResponse.statusDetail.get(header)]);
          continue;
        }
        const pairs = data
          .toString()
          .split('\0')
          .filter((pair) => /^(AuthMethod|CHAP_)/.test(pair));
        keys = keys.with(
          i,
          exchange.step(
            new Map(pairs.map((pair) => [pair.split('=')[0]!, pair.slice(pair.indexOf('=') + 1)])),
          ),
        );
      }
    }
    for (const { socket } of under) socket.destroy();
    assert.deepEqual(statuses, [
      ...Array.from({ length: 3 }, () => [...AUTHENTICATION_FAILURE]),
      ...Array.from({ length: 2 }, () => [...SERVICE_UNAVAILABLE]),
    ]);
  });

  test('no secret is in the log', () => {
    assert.ok(log.some((line) => line.includes('wrong response of user "alice"')));
    for (const { secret } of [ALICE, BOB, RISER]) assert.ok(!log.join('\n').includes(secret));
  });
});
