import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { configurationFromOptions } from './options.js';

describe('options of riser serve', () => {
  test('images come first, then RAM disks, under one target named after the first image', () => {
    const { portals, targets } = configurationFromOptions(
      ['a.img', '/srv/b.img'],
      { memory: [1024], create: 4096 },
      'host',
    );
    assert.deepEqual(portals, [{ address: '127.0.0.1', port: 3260 }]);
    assert.equal(targets.length, 1);
    assert.equal(targets[0]!.name, 'iqn.2024-08.internal.riser:host:a.img');
    assert.deepEqual(
      targets[0]!.luns.map(({ lun, medium }) => [lun, medium]),
      [
        [0, { image: resolve('a.img'), create: 4096 }],
        [1, { image: '/srv/b.img', create: 4096 }],
        [2, { memory: 1024 }],
      ],
    );
    assert.deepEqual(
      targets[0]!.luns.map(({ provisioning, blockSize, readOnly, removable }) => [
        provisioning,
        blockSize,
        readOnly,
        removable,
      ]),
      Array(3).fill(['thin', 512, false, false]),
    );
  });

  test('an iSNS server is told only if there is one', () => {
    const isns = { host: '192.0.2.9', port: 3205 };
    assert.deepEqual(configurationFromOptions(['a.img'], { isns }, 'host').isns, isns);
    assert.ok(!('isns' in configurationFromOptions(['a.img'], {}, 'host')));
  });

  test('CD drives come last, and what is given for disks does not count for them', () => {
    const { targets } = configurationFromOptions(
      ['a.img'],
      { memory: [1024], cdrom: ['/b.iso', 'c.iso'], blockSize: 512, create: 4096 },
      'host',
    );
    assert.deepEqual(
      targets[0]!.luns.map(({ lun, type, medium, blockSize }) => [lun, type, medium, blockSize]),
      [
        [0, 'disk', { image: resolve('a.img'), create: 4096 }, 512],
        [1, 'disk', { memory: 1024 }, 512],
        [2, 'cdrom', { image: '/b.iso' }, 2048],
        [3, 'cdrom', { image: resolve('c.iso') }, 2048],
      ],
    );
    const [alone] = configurationFromOptions([], { cdrom: ['/b.iso'] }, 'host').targets;
    assert.equal(alone!.name, 'iqn.2024-08.internal.riser:host:b.iso');
    assert.throws(() => configurationFromOptions(['/b.iso'], { cdrom: ['/b.iso'] }, 'h'), { code: 'USAGE' });
  });

  test('NBD URIs are media of their own', () => {
    const uri = 'nbd+unix:///disk?socket=/run/nbd';
    const { targets } = configurationFromOptions([uri, 'a.img'], { create: 4096 }, 'host');
    assert.deepEqual(
      targets[0]!.luns.map(({ medium }) => medium),
      [{ nbd: uri }, { image: resolve('a.img'), create: 4096 }],
    );
    assert.equal(targets[0]!.name, 'iqn.2024-08.internal.riser:host:disk');
    assert.throws(() => configurationFromOptions([uri], { create: 4096 }, 'host'), { code: 'USAGE' });
    assert.throws(() => configurationFromOptions([uri, uri], {}, 'host'), { code: 'USAGE' });
    assert.throws(() => configurationFromOptions(['nbd+unix:///'], {}, 'host'), { code: 'NBD_URI' });
  });

  test('what is given counts for every logical unit', () => {
    const { targets } = configurationFromOptions(
      ['a'],
      { full: true, blockSize: 4096, readOnly: true, removable: true, name: 'iqn.2001-04.com.example' },
      'h',
    );
    assert.equal(targets[0]!.name, 'iqn.2001-04.com.example');
    const [lun] = targets[0]!.luns;
    assert.deepEqual(
      [lun!.provisioning, lun!.blockSize, lun!.readOnly, lun!.removable],
      ['full', 4096, true, true],
    );
  });

  test('a server of RAM disks alone has a name too', () => {
    assert.equal(
      configurationFromOptions([], { memory: [512] }, 'h').targets[0]!.name,
      'iqn.2024-08.internal.riser:h:memory',
    );
  });

  const refused: [string, string[], Parameters<typeof configurationFromOptions>[1]][] = [
    ['nothing to serve', [], {}],
    ['--create without an image', [], { create: 1024, memory: [512] }],
    ['a read-only RAM disk', ['a'], { readOnly: true, memory: [512] }],
    ['half a block', ['a'], { create: 1000 }],
    ['half a large block', [], { memory: [512], blockSize: 4096 }],
    ['one image twice', ['a', './a'], {}],
  ];
  for (const [what, images, options] of refused) {
    test(`${what} is refused`, () =>
      assert.throws(() => configurationFromOptions(images, options, 'h'), { code: 'USAGE' }));
  }
});
