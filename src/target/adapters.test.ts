/** A portal on adapters: on those that serve its address, while they are there, and whatever they have room for. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { adapter, type FakeAdapter, FakeProvider, WIRE } from '../../test/support/fake-provider.js';
import { readWriteCdb } from '../../test/support/cdb.js';
import { NARROW } from '../../test/support/narrow-device.js';
import { pattern } from '../../test/support/pattern.js';
import { IserInitiator, readBlocks, writeBlocks } from '../../test/support/raw-iser-initiator.js';
import { TARGET_NAME } from '../../test/support/target.js';
import { until } from '../../test/support/verbs-pair.js';
import { MemoryDevice } from '../block/index.js';
import { Memory } from '../util/memory.js';
import { TargetServer } from './index.js';

const OTHER_WIRE = '127.0.0.3';
const BUSY = 8;

describe('a portal and adapters', { timeout: 60_000 }, () => {
  let provider: FakeProvider;
  let server: TargetServer;
  let port: number;
  let lines: string[];
  /** Of the level debug. */
  let details: string[];
  let device: MemoryDevice;
  const initiators: IserInitiator[] = [];

  beforeEach(() => {
    mock.timers.enable({ apis: ['setInterval'] });
    lines = [];
    details = [];
    provider = new FakeProvider('fake');
  });
  afterEach(async () => {
    for (const { channel } of initiators.splice(0)) channel.close();
    await server.close({ graceMs: 0 });
    await device.close();
    mock.timers.reset();
    for (const { device: opened } of provider.opened) {
      assert.ok(opened.isClosed);
      assert.equal(opened.registrations, 0);
    }
  });

  async function serve(address = '127.0.0.1'): Promise<void> {
    const keep = (message: string): void => void lines.push(message);
    const log = {
      debug: (message: string) => void details.push(message),
      info: keep,
      warn: keep,
      error: keep,
    };
    server = new TargetServer({ adapters: [provider], log });
    device = new MemoryDevice({ size: 8 << 20 });
    server.addTarget({ name: TARGET_NAME }).addLun(0, { device });
    ({ port } = await server.listen({ address, port: 0 }));
  }
  async function login(host: string): Promise<IserInitiator> {
    const initiator = await IserInitiator.connect(port, {}, {}, host);
    initiators.push(initiator);
    await initiator.logIn();
    return initiator;
  }
  async function echoes(initiator: IserInitiator, seed: number): Promise<void> {
    await writeBlocks(initiator, 8 * seed, pattern(4096, seed));
    assert.ok((await readBlocks(initiator, 8 * seed, 8)).equals(pattern(4096, seed)));
  }
  const devicesOfSessions = (): (string | null)[] => server.sessions().map((session) => session.device);
  const isRefused = (host: string): Promise<void> =>
    assert.rejects(IserInitiator.connect(port, {}, {}, host), { code: 'RDMA_UNREACHABLE' });
  /** The next of the looks that are taken from time to time. */
  const later = (): void => {
    mock.timers.tick(5000);
  };

  it('come together where an adapter serves the address, on the same port', async () => {
    provider.adapters = [
      adapter('left'),
      adapter('right', { wire: OTHER_WIRE, addresses: ['192.0.2.1', '127.0.0.1'] }),
      adapter('far', { wire: '127.0.0.4', addresses: ['192.0.2.2'] }),
      adapter('down', { wire: '127.0.0.5' }),
    ];
    provider.adapters[3]!.info = { ...provider.adapters[3]!.info, state: 'DOWN' };
    await serve();
    for (const [host, seed] of [
      ['127.0.0.1', 1],
      [WIRE, 2],
      [OTHER_WIRE, 3],
    ] as const)
      await echoes(await login(host), seed);
    assert.deepEqual(devicesOfSessions(), ['iwarp', 'left', 'right']);
    await isRefused('127.0.0.4');
    await isRefused('127.0.0.5');
    assert.deepEqual(
      provider.opened.map((opened) => opened.device.name),
      ['left', 'right'],
    );
    assert.deepEqual(lines, [
      `listening on fake/left, 127.0.0.1 port ${port}, for iSER`,
      `listening on fake/right, 127.0.0.1 port ${port}, for iSER`,
    ]);
    assert.deepEqual(details, ['127.0.0.1: connected by left', '127.0.0.1: connected by right']);
  });

  it('on all addresses is on those of adapters', async () => {
    provider.adapters = [adapter('one', { addresses: ['fe80::1', '::2', '192.0.2.1'], wire: '::1' })];
    await serve('0.0.0.0');
    assert.deepEqual(lines, [`listening on fake/one, 192.0.2.1 port ${port}, for iSER`]);
  });

  it('on all of IPv6 is on those of links, too', async () => {
    provider.adapters = [adapter('one', { addresses: ['fe80::1%eth0', '::2', '192.0.2.1'], wire: '::1' })];
    await serve('::');
    // Its ports are on the only address of IPv6 that there is for sure, so TCP has them: what matters is which it wants.
    const wanted = lines.map((line) => /listening on fake\/one, (\S+) port/.exec(line)?.[1]);
    assert.deepEqual(wanted.sort(), ['::2', 'fe80::1%eth0']);
  });

  it('leaves ports that TCP has to software iWARP, and says so once', async () => {
    provider.adapters = [adapter('siw', { wire: '127.0.0.1' }), adapter('rxe')];
    await serve();
    const said = [
      `not listening on fake/siw, 127.0.0.1 port ${port}: its ports are those of TCP, where software iWARP answers`,
      `listening on fake/rxe, 127.0.0.1 port ${port}, for iSER`,
    ];
    assert.deepEqual(lines, said);
    later();
    await echoes(await login('127.0.0.1'), 1);
    await echoes(await login(WIRE), 2);
    assert.deepEqual(devicesOfSessions(), ['iwarp', 'rxe']);
    assert.deepEqual(lines, said);
  });

  it('go on when an adapter is lost, and come together again', async () => {
    provider.adapters = [adapter('left'), adapter('right', { wire: OTHER_WIRE })];
    const [left] = provider.adapters;
    await serve();
    const [software, lost, other] = [await login('127.0.0.1'), await login(WIRE), await login(OTHER_WIRE)];
    provider.unplug('left');
    await lost.channel.disconnected();
    await until(() => server.sessions().length === 2, 'the end of the sessions of the lost adapter');
    await until(() => provider.opened[0]!.device.isClosed, 'the lost adapter is closed');
    await isRefused(WIRE);
    await echoes(software, 1);
    await echoes(other, 2);
    assert.ok(lines.includes('fake/left is lost: it was pulled out'));

    later();
    provider.adapters.push(left!);
    later();
    await until(() => provider.opened.length === 3, 'the adapter is opened again');
    await until(() => lines.filter((line) => line.startsWith('listening on fake/left')).length === 2, 'news');
    await echoes(await login(WIRE), 3);
    assert.equal(server.sessions().length, 3);
  });

  it('part from an adapter that is not listed any more, and from addresses', async () => {
    provider.adapters = [adapter('left'), adapter('right', { wire: OTHER_WIRE })];
    await serve();
    const stays = await login(OTHER_WIRE);
    const [left, right] = provider.adapters as [FakeAdapter, FakeAdapter];
    right.info = { ...right.info, addresses: [] };
    provider.adapters = [right];
    later();
    await until(() => provider.opened[0]!.device.isClosed, 'the adapter is closed');
    await isRefused(WIRE);
    for (let isGone = false; !isGone;) {
      isGone = await IserInitiator.connect(port, {}, {}, OTHER_WIRE).then(
        ({ channel }) => {
          channel.close();
          return false;
        },
        () => true,
      );
    }
    await echoes(stays, 1);
    right.info = { ...right.info, addresses: left.info.addresses };
    later();
    await until(
      () => lines.filter((line) => line.startsWith('listening on fake/right')).length === 2,
      'news',
    );
    await echoes(await login(OTHER_WIRE), 2);
  });

  it('hears that the port is up again', async () => {
    await serve();
    provider.adapters = [adapter('left'), adapter('right', { wire: OTHER_WIRE })];
    later();
    await until(() => provider.opened.length === 2, 'the adapters are opened');
    provider.opened[0]!.events.portChanged?.(false);
    provider.opened[0]!.events.portChanged?.(true);
    assert.deepEqual(lines.slice(-2), ['fake/left: its port is down', 'fake/left: its port is up again']);
  });

  for (const narrow of [{}, NARROW]) {
    it(`outlast what an adapter has no room for (windows: ${narrow === NARROW ? 'no' : 'yes'})`, async () => {
      provider.adapters = [adapter('one', { narrow })];
      await serve();
      const software = await login('127.0.0.1');
      await echoes(software, 1);
      const initiator = await login(WIRE);
      await echoes(initiator, 2);
      const [{ device: opened }] = provider.opened as [(typeof provider.opened)[0]];
      opened.isFull = true;
      // A pool's slab that nobody has used yet.
      const memory = Memory.allocate(256 << 10);
      const write = initiator.channel.grant(memory, 'read');
      const cdb = readWriteCdb(0x8a, 0, 512, false);
      assert.equal(await initiator.status(initiator.command(cdb, { write, length: memory.length })), BUSY);
      // No further one gets in, and all that are in stay.
      await assert.rejects(login(WIRE));
      await echoes(software, 3);
      opened.isFull = false;
      assert.equal(await initiator.status(initiator.command(cdb, { write, length: memory.length })), 0);
      await echoes(initiator, 4);
      await echoes(await login(WIRE), 5);
    });
  }
});
