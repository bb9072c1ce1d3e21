/** Asymmetric access (ALUA): commands go by the best paths there are, and follow the target port groups wherever those go. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { MemoryDevice } from '../block/index.js';
import { type AccessStateName, type SessionInfo, type Target, TargetServer } from '../target/index.js';
import { connect, type ConnectOptions } from './connect.js';
import type { Lun } from './lun.js';
import { type Multipath, MultipathPolicy } from './multipath.js';

const NAME = 'iqn.2026-11.com.example:alua';
const LIMITS = { recoveryTimeoutMs: 3000 };
const BLOCKS = 64;

describe('asymmetric access', () => {
  let server: TargetServer;
  let target: Target;
  let device: MemoryDevice;
  let ports: number[];
  const opened: Lun[] = [];

  beforeEach(async () => {
    server = new TargetServer({ adapters: [] });
    device = new MemoryDevice({ size: 1 << 20, blockSize: 512 });
    target = server.addTarget({
      name: NAME,
      alua: {
        explicit: true,
        groups: [
          { group: 1, portals: [11] },
          { group: 2, portals: [12], state: 'active/non-optimized' },
        ],
      },
    });
    target.addLun(0, { device });
    ports = [];
    for (const tag of [11, 12])
      ports.push((await server.listen({ address: '127.0.0.1', port: 0 }, tag)).port);
  });
  afterEach(async () => {
    for (const lun of opened.splice(0)) await lun.close();
    await server.close({ graceMs: 0 });
    await device.close();
  });

  async function open(options: ConnectOptions = {}, portal = 0): Promise<Lun> {
    const lun = await connect(`iscsi://127.0.0.1:${ports[portal]!}/${NAME}/0`, {
      limits: LIMITS,
      ...options,
    });
    opened.push(lun);
    return lun;
  }

  const states = (one: AccessStateName, two: AccessStateName): void => {
    target.setPortGroup(1, { state: one });
    target.setPortGroup(2, { state: two });
  };

  /** The portals, 1 and 2, by which commands of the next writes go. */
  async function used(lun: Lun): Promise<number[]> {
    const { sessions } = lun.device.path as Multipath;
    const before = sessions.map((session) => submitted.get(session) ?? 0);
    for (let i = 0; i < 8; i++) await lun.write(0, Buffer.alloc(512, i));
    return sessions.flatMap((session, i) =>
      (submitted.get(session) ?? 0) > before[i]! ? [ports.indexOf(session.portal.port) + 1] : [],
    );
  }
  const submitted = new Map<object, number>();
  /** Note what each session is given. */
  function observe(lun: Lun): void {
    for (const session of (lun.device.path as Multipath).sessions) {
      const submit = session.submit.bind(session);
      session.submit = (task) => {
        submitted.set(session, (submitted.get(session) ?? 0) + 1);
        submit(task);
      };
    }
  }

  for (const policy of Object.values(MultipathPolicy)) {
    it(`${policy}: goes by active/optimized paths, and follows them`, async () => {
      const lun = await open({ multipath: policy });
      observe(lun);
      assert.deepEqual(await used(lun), [1]);
      for (const [one, two, way] of [
        ['standby', 'active/non-optimized', 2],
        ['active/optimized', 'active/non-optimized', 1],
        ['unavailable', 'active/optimized', 2],
        ['active/non-optimized', 'standby', 1],
      ] as const) {
        states(one, two);
        // The first commands meet the refusal, or the news.
        await lun.write(0, Buffer.alloc(512));
        await lun.read(0, 512);
        await until(async () => (await used(lun)).join() === String(way));
      }
      states('active/optimized', 'active/optimized');
      await until(async () => (await used(lun)).length === (policy === MultipathPolicy.ROUND_ROBIN ? 2 : 1));
    });
  }

  it('verified writes go on without an error while states change all the time', async () => {
    const lun = await open({ multipath: MultipathPolicy.ROUND_ROBIN, limits: { recoveryTimeoutMs: 30_000 } });
    const isOver = new AbortController();
    let changes = 0;
    const steps: readonly (readonly [AccessStateName, AccessStateName])[] = [
      ['standby', 'active/optimized'],
      ['transitioning', 'unavailable'],
      ['active/optimized', 'standby'],
      ['unavailable', 'active/non-optimized'],
    ];
    const changing = (async () => {
      while (!isOver.signal.aborted) {
        states(...steps[changes++ % steps.length]!);
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      states('active/optimized', 'active/optimized');
    })();
    const work = async (worker: number): Promise<void> => {
      const offset = worker * BLOCKS * 512;
      for (let round = 0; round < 12; round++) {
        const data = Buffer.alloc(BLOCKS * 512, 16 * worker + round);
        await lun.write(offset, data);
        assert.ok((await lun.read(offset, data.length)).equals(data));
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    await Promise.all([0, 1, 2, 3].map(work)).finally(() => {
      isOver.abort();
    });
    await changing;
    assert.ok(changes > 8, `${changes} changes`);
  });

  it('waits while no path gives access, and goes on when one does', async () => {
    const lun = await open({ multipath: MultipathPolicy.FAILOVER });
    states('transitioning', 'standby');
    const written = lun.write(0, Buffer.alloc(512, 7));
    await new Promise((resolve) => setTimeout(resolve, 300));
    states('standby', 'active/optimized');
    await written;
    assert.equal((await lun.read(0, 512))[0], 7);
  });

  it('gives up when that lasts longer than lost connections may', async () => {
    const lun = await open({ multipath: MultipathPolicy.FAILOVER, limits: { recoveryTimeoutMs: 200 } });
    states('unavailable', 'standby');
    await assert.rejects(lun.write(0, Buffer.alloc(512)), { code: 'UNREACHABLE', message: /gave access/ });
  });

  it('opens a LUN by the path that gives access to it', async () => {
    states('unavailable', 'active/optimized');
    const lun = await open({ multipath: MultipathPolicy.ROUND_ROBIN });
    observe(lun);
    assert.deepEqual(await used(lun), [2]);
  });

  it('by a single path standby is an error, and a transition is waited for', async () => {
    const lun = await open();
    states('transitioning', 'active/optimized');
    const read = lun.read(0, 512);
    await new Promise((resolve) => setTimeout(resolve, 100));
    states('active/optimized', 'active/optimized');
    await read;
    states('standby', 'active/optimized');
    await assert.rejects(lun.read(0, 512), {
      code: 'COMMAND_FAILED',
      message: /target port in standby state/,
    });
  });

  it('a group that is offline lets nobody in, and those who came by it go on by the other', async () => {
    const lun = await open({ multipath: MultipathPolicy.ROUND_ROBIN });
    states('offline', 'active/non-optimized');
    await lun.write(0, Buffer.alloc(512, 3));
    const normal = ({ type }: SessionInfo): boolean => type === 'Normal';
    await until(() => Promise.resolve(server.sessions().filter(normal).length === 1));
    await assert.rejects(open(), { code: 'LOGIN_REFUSED' });
    states('active/optimized', 'active/non-optimized');
    await until(() => Promise.resolve(server.sessions().filter(normal).length === 2));
    observe(lun);
    await until(async () => (await used(lun)).join() === '1');
  });

  it('a portal that is in no group does not lead to the target, and is not told', async () => {
    const { port } = await server.listen({ address: '127.0.0.1', port: 0 });
    ports.push(port);
    await assert.rejects(open({}, 2), { code: 'LOGIN_REFUSED' });
    const lun = await open({ multipath: MultipathPolicy.ROUND_ROBIN });
    assert.deepEqual(
      (lun.device.path as Multipath).sessions.map((session) => session.portal.port),
      ports.slice(0, 2),
    );
  });
});

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await isSo()); tries++) {
    assert.ok(tries < 250, 'it never was');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
