import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { adapter, FakeProvider } from '../../test/support/fake-provider.js';
import { findDevice, fullName, listDevices, openDevice, providers } from './providers.js';

describe('RDMA devices', () => {
  const here = new FakeProvider('here', adapter('both'), adapter('left'));
  const there = new FakeProvider('there', adapter('both'), adapter('right'));
  const all = [here, there];

  it('are those of every provider that is usable', async () => {
    const names = async (): Promise<string[]> => (await listDevices(all)).map(fullName);
    assert.deepEqual(await names(), ['here/both', 'here/left', 'there/both', 'there/right']);
    here.isUsable = false;
    assert.deepEqual(await names(), ['there/both', 'there/right']);
    here.isUsable = true;
  });

  it('are found by name, and by provider and name', async () => {
    for (const [name, found] of [
      [undefined, 'here/both'],
      ['left', 'here/left'],
      ['right', 'there/right'],
      ['here/both', 'here/both'],
      ['there/both', 'there/both'],
    ] as const)
      assert.equal(fullName(await findDevice(name, all)), found);
    const device = await openDevice('right', all);
    assert.equal(device.name, 'right');
    await device.close();
  });

  it('are not guessed', async () => {
    await assert.rejects(findDevice('both', all), {
      code: 'RDMA_DEVICE_AMBIGUOUS',
      message: '"both" may be "here/both" and "there/both"',
    });
    for (const name of ['none', 'here/right', 'here', ''])
      await assert.rejects(findDevice(name, all), { code: 'RDMA_DEVICE_MISSING' });
    await assert.rejects(findDevice(undefined, []), { code: 'RDMA_DEVICE_MISSING' });
  });

  it('begin with software iWARP', async () => {
    assert.equal(fullName(await findDevice(undefined)), 'iwarp/iwarp');
    assert.equal(providers()[0]!.name, 'iwarp');
  });
});
