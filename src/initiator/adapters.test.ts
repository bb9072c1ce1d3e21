/** Sessions over adapters: by one that leads to the target, else by software iWARP, or by the one that is asked for. */

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { adapter, FakeProvider } from '../../test/support/fake-provider.js';
import { NARROW } from '../../test/support/narrow-device.js';
import { pattern } from '../../test/support/pattern.js';
import { PortalRelay } from '../../test/support/portal-relay.js';
import { TARGET_NAME, TestTarget } from '../../test/support/target.js';
import { until } from '../../test/support/verbs-pair.js';
import { MemoryDevice } from '../block/index.js';
import { type Lun, openLun, Session, type SessionOptions } from './index.js';

describe('a session and adapters', { timeout: 120_000 }, () => {
  let target: TestTarget;
  /** Of the initiator. */
  let provider: FakeProvider;
  const sessions: Session[] = [];

  beforeEach(() => {
    provider = new FakeProvider('fake');
  });
  afterEach(async () => {
    for (const session of sessions.splice(0)) await session.close();
    await target.close();
  });

  /** `hasAdapter`: it has one that serves its address. */
  async function serve(hasAdapter: boolean): Promise<void> {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 8 << 20 }) }], {
      adapters: hasAdapter ? [new FakeProvider('far', adapter('far'))] : [],
    });
  }
  async function open(more: Partial<SessionOptions> = {}): Promise<Session> {
    const session = await Session.open({
      portal: { host: '127.0.0.1', port: target.port },
      transport: 'iser',
      targetName: TARGET_NAME,
      initiatorName: 'iqn.2026-11.com.example:me',
      adapters: [provider],
      ...more,
    });
    sessions.push(session);
    return session;
  }
  async function works(lun: Lun): Promise<void> {
    for (const length of [512, 4096, 300 << 10, 2 << 20]) {
      const data = pattern(length, length % 251);
      await lun.write(512, data);
      assert.ok((await lun.read(512, length)).equals(data));
    }
  }

  for (const [what, narrow] of [
    ['with memory windows', {}],
    ['that can little', NARROW],
  ] as const) {
    it(`goes by an adapter ${what}`, async () => {
      await serve(true);
      provider.adapters = [adapter('away', { addresses: ['192.0.2.1'] }), adapter('near', { narrow })];
      const session = await open();
      assert.deepEqual([session.transport, session.device], ['iser', 'near']);
      assert.deepEqual(
        target.server.sessions().map(({ device }) => device),
        ['far'],
      );
      await works(await openLun([session], 0));
      await open();
      assert.equal(provider.opened.length, 2, 'a device is opened once');
    });
  }

  it('sends no more commands at a time than the queues of either side have room for', async () => {
    const small = { ...NARROW, maxSendRequests: 200, maxReceiveRequests: 120 };
    for (const [mine, other] of [
      [small, {}],
      [{}, small],
    ]) {
      target = await TestTarget.start([{ device: new MemoryDevice({ size: 8 << 20 }) }], {
        adapters: [new FakeProvider('far', adapter('far', { narrow: other! }))],
      });
      provider = new FakeProvider('fake', adapter('near', { narrow: mine! }));
      const session = await open();
      const lun = await openLun([session], 0);
      const tsih = target.server.sessions()[0]!.tsih;
      const writes = Array.from({ length: 300 }, (_, i) => lun.write(i * 8192, pattern(8192, i % 251)));
      await Promise.all(writes);
      const reads = await Promise.all(Array.from({ length: 300 }, (_, i) => lun.read(i * 8192, 8192)));
      reads.forEach((data, i) => assert.ok(data.equals(pattern(8192, i % 251))));
      assert.equal(target.server.sessions()[0]!.tsih, tsih, 'the connection was lost');
      await session.close();
      await target.close();
    }
    await serve(false);
  });

  it('goes by software where no adapter leads there, or to nobody', async () => {
    await serve(false);
    provider.adapters = [adapter('away', { addresses: ['192.0.2.1'] }), adapter('near')];
    const session = await open();
    assert.deepEqual([session.transport, session.device], ['iser', 'iwarp']);
    await works(await openLun([session], 0));
  });

  it('passes over what is not usable, or not up', async () => {
    await serve(true);
    provider.adapters = [adapter('near')];
    provider.adapters[0]!.info = { ...provider.adapters[0]!.info, state: 'DOWN' };
    assert.equal((await open()).device, 'iwarp');
    provider.adapters = [adapter('near')];
    provider.isUsable = false;
    assert.equal((await open()).device, 'iwarp');
    assert.equal(provider.opened.length, 0);
  });

  it('goes by the device that it is told, or by none', async () => {
    await serve(true);
    provider.adapters = [adapter('near')];
    assert.equal((await open({ device: 'iwarp' })).device, 'iwarp');
    assert.equal((await open({ device: 'fake/near' })).device, 'near');
    provider.adapters.push(
      adapter('away', { addresses: ['192.0.2.1'] }),
      adapter('dead', { wire: '127.0.0.9' }),
    );
    await assert.rejects(open({ device: 'away' }), { code: 'CONNECT' });
    await assert.rejects(open({ device: 'dead' }), { code: 'CONNECT' });
    await assert.rejects(open({ device: 'none' }), { code: 'RDMA_DEVICE_MISSING' });
  });

  it('takes TCP with auto:// where the device does not lead there, and says why', async () => {
    await serve(true);
    provider.adapters = [adapter('near'), adapter('away', { addresses: ['192.0.2.1'] })];
    const best = await open({ transport: 'auto' });
    assert.deepEqual([best.transport, best.device, best.whyNotIser], ['iser', 'near', null]);
    const other = await open({ transport: 'auto', device: 'away' });
    assert.deepEqual([other.transport, other.device], ['tcp', null]);
    assert.match(
      other.whyNotIser!,
      /^cannot connect to 127\.0\.0\.1 port \d+: no way to 127\.0\.0\.1 by away$/,
    );
  });

  it('tells what is wrong with the device itself, with its own remedy', async () => {
    await serve(true);
    provider.adapters = [adapter('near')];
    await open();
    provider.opened[0]!.device.isFull = true;
    await assert.rejects(open({ device: 'near' }), {
      code: 'OUT_OF_MEMORY',
      message: /^the device cannot register/,
      remedy: 'Raise the limit of locked memory.',
    });
    const { transport, whyNotIser } = await open({ transport: 'auto', device: 'near' });
    assert.equal(transport, 'tcp');
    assert.match(whyNotIser!, /^the device cannot register/);
  });

  it('tells what went wrong on an adapter beside what did in software', async () => {
    await serve(false);
    const relay = await PortalRelay.start(() => target.port, { iser: 'close' });
    // Its ports are those of TCP: both ways meet the relay.
    provider.adapters = [adapter('near', { wire: '127.0.0.1' })];
    const failed = open({ portal: { host: '127.0.0.1', port: relay.port } });
    await assert.rejects(failed, { code: 'NO_ISER', message: /asked for iWARP\); near: / });
    await relay.close();
  });

  it('outlasts the loss of its adapter', async () => {
    await serve(true);
    provider.adapters = [adapter('near')];
    const session = await open();
    const lun = await openLun([session], 0);
    await works(lun);
    const [{ device }] = provider.opened as [(typeof provider.opened)[0]];
    provider.unplug('near');
    await until(() => device.isClosed, 'the device is closed');
    assert.equal(device.registrations, 0);
    await works(lun);
    assert.equal(session.device, 'iwarp');
    provider.adapters = [adapter('near')];
    assert.equal((await open()).device, 'near');
    assert.equal(provider.opened.length, 2);
  });
});
