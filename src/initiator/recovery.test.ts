import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type BlockDevice, MemoryDevice } from '../block/index.js';
import { RiserError } from '../util/errors.js';
import { type SessionInfo, TargetServer } from '../target/index.js';
import { connect, type Lun, MultipathPolicy, openLun, Session } from './index.js';

const NAME = 'iqn.2026-11.com.example:disk';
const SIZE = 4 << 20;
const LIMITS = { recoveryTimeoutMs: 5000 };

let open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.reverse()) await one.close();
  open = [];
});

async function serve(
  device: BlockDevice,
  { port = 0, serial = '1' } = {},
): Promise<{ server: TargetServer; port: number }> {
  const server = new TargetServer();
  server.addTarget({ name: NAME }).addLun(0, { device, serial });
  const address = await server.listen({ address: '127.0.0.1', port });
  open.push(server);
  return { server, port: address.port };
}

async function connected(port: number, options = {}): Promise<Lun> {
  const lun = await connect(`iscsi://127.0.0.1:${port}/${NAME}/0`, { limits: LIMITS, ...options });
  open.push(lun);
  return lun;
}

const memory = (): MemoryDevice => new MemoryDevice({ size: SIZE, blockSize: 512 });

/** Write and read back blocks of 4 KiB until told to stop; resolves with how many. */
async function work(lun: Lun, place: number, until: AbortSignal): Promise<number> {
  let rounds = 0;
  for (; !until.aborted; rounds++) {
    const data = randomBytes(4096);
    await lun.write(place, data);
    assert.ok((await lun.read(place, 4096)).equals(data));
  }
  return rounds;
}

describe('recovery of a session', () => {
  it('goes on with what was under way when the target comes back', async () => {
    const device = memory();
    const first = await serve(device);
    const lun = await connected(first.port);
    const [{ isid }] = first.server.sessions() as [SessionInfo];
    let last = first.server;
    const stop = new AbortController();
    const workers = [0, 1, 2, 3].map((worker) => work(lun, worker * 65536, stop.signal));
    for (let i = 0; i < 3; i++) {
      await delay(100);
      await open.shift()!.close();
      await delay(50);
      last = (await serve(device, { port: first.port })).server;
      open.unshift(last);
    }
    await delay(200);
    stop.abort();
    for (const rounds of await Promise.all(workers)) assert.ok(rounds > 0);
    assert.deepEqual(
      last.sessions().map((session) => session.isid),
      [isid],
      'what was left of the session is taken over (RFC 7143 6.3.5)',
    );
  });

  it('is not bound to the signal that could have given up connecting', async () => {
    const device = memory();
    const { server, port } = await serve(device);
    const connecting = new AbortController();
    const lun = await connected(port, { signal: connecting.signal });
    connecting.abort(new Error('too late to matter'));
    await lun.capacity();
    await server.close({ graceMs: 0 });
    await serve(device, { port });
    assert.equal((await lun.read(0, 512)).length, 512);
  });

  it('fails what waits when the target does not come back in time', async () => {
    const { server, port } = await serve(memory());
    const lun = await connected(port, { limits: { recoveryTimeoutMs: 300 } });
    await server.close({ graceMs: 0 });
    await assert.rejects(lun.read(0, 512), { code: 'UNREACHABLE' });
  });

  it('does not touch another disk under the old name', async () => {
    const { server, port } = await serve(memory());
    const lun = await connected(port);
    await server.close({ graceMs: 0 });
    const other = memory();
    await serve(other, { port, serial: '2' });
    await assert.rejects(lun.write(0, Buffer.alloc(512, 1)), { code: 'LUN_CHANGED' });
    const [extent] = await (await connected(port)).extents();
    assert.deepEqual(extent, { offset: 0, length: SIZE, mapped: false });
  });

  it('reports a command whose outcome nobody knows', async () => {
    const device = memory();
    const { server, port } = await serve(device);
    const lun = await connected(port);
    // The device takes commands and does not answer.
    (device as BlockDevice).submit = () => false;
    const [zeroes, ones] = [Buffer.alloc(512), Buffer.alloc(512, 1)];
    const writing = lun.compareAndWrite(0, zeroes, ones);
    await delay(100);
    await server.close({ graceMs: 0 });
    await assert.rejects(writing, { code: 'OUTCOME_UNKNOWN' });
  });

  it('hears of a changed size', async () => {
    const device = memory();
    const { port } = await serve(device);
    const lun = await connected(port);
    let told = 0;
    lun.device.events = { resized: () => told++ };
    Object.defineProperty(device, 'size', { value: 2 * SIZE });
    device.events!.resized();
    await lun.read(0, 512);
    for (let i = 0; i < 100 && told === 0; i++) await delay(10);
    assert.equal(lun.size, 2 * SIZE);
    assert.equal(told, 1);
  });
});

describe('multipath', () => {
  for (const policy of Object.values(MultipathPolicy)) {
    it(`${policy}: work goes on while paths come and go`, async () => {
      const device = memory();
      const ports = [(await serve(device)).port, (await serve(device)).port];
      const sessions = await Promise.all(
        ports.map((port) =>
          Session.open({
            portal: { host: '127.0.0.1', port },
            targetName: NAME,
            initiatorName: 'iqn.2026-11.com.example:me',
            limits: LIMITS,
          }),
        ),
      );
      const lun = await openLun(sessions, 0, { multipath: policy, limits: LIMITS });
      const stop = new AbortController();
      const workers = [0, 1, 2, 3].map((worker) => work(lun, worker * 65536, stop.signal));
      for (const [i, port] of ports.entries()) {
        await delay(100);
        await (open[i] as TargetServer).close({ graceMs: 0 });
        await delay(100);
        assert.deepEqual([i, sessions[i]!.isConnected], [i, false]);
        const again = await serve(device, { port });
        open.pop();
        open[i] = again.server;
        for (let tries = 0; tries < 300 && !sessions[i]!.isConnected; tries++) await delay(10);
        assert.ok(sessions[i]!.isConnected, 'the path has come back');
      }
      stop.abort();
      for (const rounds of await Promise.all(workers)) assert.ok(rounds > 0);
      await lun.close();
      await Promise.all(sessions.map((session) => session.close()));
    });
  }

  it('refuses paths that lead to different disks', async () => {
    const one = await serve(memory(), { serial: '1' });
    const two = await serve(memory(), { serial: '2' });
    const sessions = await Promise.all(
      [one, two].map(({ port }) =>
        Session.open({
          portal: { host: '127.0.0.1', port },
          targetName: NAME,
          initiatorName: 'iqn.2026-11.com.example:me',
        }),
      ),
    );
    await assert.rejects(openLun(sessions, 0), { code: 'LUN_CHANGED' });
    await Promise.all(sessions.map((session) => session.close()));
  });

  it('does not use a path that is found later and leads to another disk', async () => {
    const one = await serve(memory(), { serial: '1' });
    const two = await serve(memory(), { serial: '2' });
    await two.server.close({ graceMs: 0 });
    const options = { targetName: NAME, initiatorName: 'iqn.2026-11.com.example:me', limits: LIMITS };
    const away = new RiserError('CONNECT', 'nobody is there yet', { by: 'peer', costs: 'session' });
    const first = await Session.open({ ...options, portal: { host: '127.0.0.1', port: one.port } });
    const later = Session.openLater({ ...options, portal: { host: '127.0.0.1', port: two.port } }, away);
    await openLun([first, later], 0);
    const ended = new Promise<RiserError>((resolve) => later.watchers.add({ ended: resolve }));
    later.watchers.add({ reconnected: () => later.destroy() });
    await serve(memory(), { port: two.port, serial: '2' });
    assert.equal((await ended).code, 'LUN_CHANGED');
    await first.close();
  });

  it('connects by every portal that the target tells', async () => {
    const server = new TargetServer();
    server.addTarget({ name: NAME }).addLun(0, { device: memory() });
    const { port } = await server.listen({ address: '127.0.0.1', port: 0 });
    await server.listen({ address: '127.0.0.1', port: 0 });
    open.push(server);
    await connected(port, { multipath: MultipathPolicy.ROUND_ROBIN });
    assert.equal(server.sessions().filter(({ type }) => type === 'Normal').length, 2);
  });
});
