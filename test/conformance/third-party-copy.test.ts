/** Which logical units a session may copy between by EXTENDED COPY: its own target's, and those of targets that it could log in to as it is. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { connect, type ConnectOptions, type Lun } from '../../src/initiator/index.js';
import { type LogicalUnit, Sense, Status } from '../../src/scsi/index.js';
import { copyList, populateList, writeUsingList } from '../../src/scsi/testing/fake-copies.js';
import { type Target, TargetServer, type TargetSecurity } from '../../src/target/index.js';
import { Secret } from '../../src/util/secret.js';

const name = (target: string): string => `iqn.2026-01.example.test:${target}`;
const ME = name('initiator');
const MIB = 1 << 20;
const BLOCKS = 3 * 2048;
const ALICE = { name: 'alice', secret: 'alice has a secret' };
const OTHER_ALICE = { name: 'alice', secret: 'a namesake has another' };

const chap = (...users: { name: string; secret: string }[]): TargetSecurity => ({
  authentication: { chap: { users } },
});

/** The targets, each with a logical unit at LUN 0. */
const TARGETS: Record<string, TargetSecurity> = {
  open: {},
  neighbour: {},
  'for-me': { access: [{ initiators: [ME] }] },
  'for-others': { access: [{ initiators: [name('another')] }] },
  'from-elsewhere': { access: [{ addresses: ['192.0.2.0/24'] }] },
  masked: { access: [{ luns: { 0: 7 } }] },
  'of-alice': chap(ALICE),
  'of-alice-too': chap(ALICE, { name: 'bob', secret: 'bob has his own' }),
  'of-a-namesake': chap(OTHER_ALICE),
  'of-bob': { ...chap(ALICE, { name: 'bob', secret: 'bob has his own' }), access: [{ users: ['bob'] }] },
};

describe('third-party copies over a socket', () => {
  let server: TargetServer;
  let port: number;
  const targets = new Map<string, Target>();
  const data = Buffer.from(Array.from({ length: BLOCKS * 512 }, (_, i) => (i * 13 + (i >>> 9)) & 0xff));

  const unit = (target: string, lun = 0): LogicalUnit => targets.get(target)!.inventory.get(lun)!;
  const login = (target: string, options: ConnectOptions = {}): Promise<Lun> =>
    connect(`iscsi://127.0.0.1:${port}/${name(target)}/0`, { initiatorName: ME, ...options });
  const asAlice = { authentication: { user: { name: 'alice', secret: new Secret(ALICE.secret) } } };

  /** `GOOD`, or the words of the sense data. */
  async function send(lun: Lun, serviceAction: number, list: Buffer): Promise<string> {
    const cdb = Buffer.alloc(16);
    cdb[0] = 0x83;
    cdb[1] = serviceAction;
    // LIST IDENTIFIER, but for EXTENDED COPY(LID1), which has it in its list.
    if (serviceAction !== 0) cdb[9] = 1;
    cdb.writeUInt32BE(list.length, 10);
    const { status, sense } = await lun.command(cdb, { data: list });
    return status === Status.GOOD ? 'GOOD' : (sense?.text ?? `status ${status}`);
  }
  const copy = (lun: Lun, from: LogicalUnit, to: LogicalUnit, blocks = BLOCKS): Promise<string> =>
    send(lun, 0x00, copyList([from, to], [{ blocks }]));

  before(async () => {
    server = new TargetServer({ adapters: [] });
    for (const [target, security] of Object.entries(TARGETS)) {
      const added = server.addTarget({ name: name(target), ...security });
      added.addLun(0, { device: new MemoryDevice({ size: 4 * MIB, blockSize: 512 }) });
      added.addLun(7, { device: new MemoryDevice({ size: 4 * MIB, blockSize: 512 }) });
      targets.set(target, added);
    }
    ({ port } = await server.listen({ address: '127.0.0.1', port: 0 }));
  });
  after(() => server.close({ graceMs: 0 }));

  test('within a target, and between targets that admit everybody or this initiator', async () => {
    await using lun = await login('open');
    await lun.write(0, data);
    assert.equal(await copy(lun, unit('open'), unit('open', 7)), 'GOOD');
    for (const target of ['neighbour', 'for-me']) {
      assert.equal(await copy(lun, unit('open', 7), unit(target)), 'GOOD');
      await using there = await login(target);
      assert.ok((await there.read(0, data.length)).equals(data), target);
    }
  });

  test('neither from nor to targets that would not let it in, and LUNs that it would not find', async () => {
    await using lun = await login('open');
    const unreachable = /unreachable copy target/;
    for (const target of ['for-others', 'from-elsewhere', 'of-alice', 'of-a-namesake', 'of-bob']) {
      assert.match(await copy(lun, unit(target), unit('open')), unreachable, target);
      assert.match(await copy(lun, unit('open'), unit(target)), unreachable, target);
    }
    assert.match(await copy(lun, unit('masked'), unit('open')), unreachable);
    assert.equal(await copy(lun, unit('masked', 7), unit('open')), 'GOOD');
  });

  test('as a user who has proven itself: where the same secret would be asked for, and where none is', async () => {
    await using lun = await login('of-alice', asAlice);
    await lun.write(0, data);
    assert.equal(await copy(lun, unit('of-alice'), unit('of-alice-too')), 'GOOD');
    assert.equal(await copy(lun, unit('of-alice'), unit('neighbour')), 'GOOD');
    for (const target of ['of-a-namesake', 'of-bob']) {
      assert.match(await copy(lun, unit(target), unit('of-alice')), /unreachable copy target/, target);
    }
  });

  test('a change of the rules counts at once', async () => {
    await using lun = await login('open');
    targets.get('for-me')!.secure({ access: [] });
    assert.match(await copy(lun, unit('for-me'), unit('open')), /unreachable copy target/);
    targets.get('for-me')!.secure({});
    assert.equal(await copy(lun, unit('for-me'), unit('open')), 'GOOD');
  });

  test('a ROD token goes from session to session, until what it stands for changes', async () => {
    await using source = await login('of-alice', asAlice);
    await using destination = await login('open', { initiatorName: name('another') });
    await source.write(0, data);
    assert.equal(await send(source, 0x10, populateList([[0, BLOCKS]])), 'GOOD');
    const told = await source.command(Buffer.from([0x84, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]), {
      readLength: 1024,
    });
    const list = writeUsingList(told.data.subarray(-512), [[100, BLOCKS]]);
    assert.equal(await send(destination, 0x11, list), 'GOOD');
    assert.ok((await destination.read(100 * 512, data.length)).equals(data));
    await source.write(5 * 512, Buffer.alloc(512));
    assert.equal(await send(destination, 0x11, list), `ILLEGAL REQUEST, ${Sense.TOKEN_REVOKED.text} (23/06)`);
  });

  test('other commands are answered while a copy runs, and a session that is lost ends it', async () => {
    const lun = await login('open');
    const list = copyList(
      [unit('open'), unit('open', 7)],
      Array.from({ length: 60 }, () => ({ blocks: 8192 })),
    );
    const copying = send(lun, 0x00, list);
    let hasEnded = false;
    void copying.then(
      () => (hasEnded = true),
      () => (hasEnded = true),
    );
    await using other = await login('open', { initiatorName: name('another') });
    await other.read(0, 512);
    assert.equal(hasEnded, false);
    const rejected = assert.rejects(copying);
    await lun.close();
    await rejected;
    await other.write(0, data);
    assert.ok((await other.read(0, data.length)).equals(data));
  });
});
