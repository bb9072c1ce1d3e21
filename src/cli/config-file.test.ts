import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseConfigFile, readConfigFile } from './config-file.js';

const parse = (text: string) => parseConfigFile(text, '/etc/riser.yaml');

/** The lines of the message that `text` is refused with, without the file's name. */
function complaints(text: string): string[] {
  try {
    parse(text);
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'CONFIGURATION');
    return (error as Error).message.split('\n').map((line) => line.replace('/etc/riser.yaml:', ''));
  }
  assert.fail('the file was taken');
}

describe('configuration file', () => {
  test('everything that it can say', () => {
    const { configuration, log } = parse(`
portals: [ "10.0.0.1:3261", "[::1]" ]
log: { level: debug, format: json }
isns: isns.example.com
targets:
  - name: iqn.2001-04.com.Example:a
    alias: First
    recovery: { errorRecoveryLevel: 1, maxConnections: 4 }
    luns:
      - lun: 0
        image: disks/a.img
        create: 10G
        serial: A-1
      - lun: 7
        image: /srv/b.img
        readOnly: true
        removable: true
        provisioning: full
        blockSize: 4096
  - name: iqn.2001-04.com.example:b
    luns:
      - { lun: 0, memory: 1048576 }
`);
    const defaults = {
      type: 'disk',
      readOnly: false,
      removable: false,
      provisioning: 'thin',
      blockSize: 512,
    };
    assert.deepEqual(log, { level: 'debug', json: true });
    assert.deepEqual(configuration, {
      portals: [
        { address: '10.0.0.1', port: 3261 },
        { address: '::1', port: 3260 },
      ],
      isns: { host: 'isns.example.com', port: 3205 },
      targets: [
        {
          name: 'iqn.2001-04.com.example:a',
          alias: 'First',
          recovery: { errorRecoveryLevel: 1, maxConnections: 4, defaultTime2Retain: 0 },
          luns: [
            {
              ...defaults,
              lun: 0,
              serial: 'A-1',
              medium: { image: '/etc/disks/a.img', create: 10 * 2 ** 30 },
            },
            {
              lun: 7,
              type: 'disk',
              readOnly: true,
              removable: true,
              provisioning: 'full',
              blockSize: 4096,
              medium: { image: '/srv/b.img' },
            },
          ],
        },
        { name: 'iqn.2001-04.com.example:b', luns: [{ ...defaults, lun: 0, medium: { memory: 1 << 20 } }] },
      ],
    });
  });

  test('a CD drive is what it is by its nature, and takes no other word for it', () => {
    const lun = (more: string) =>
      `targets: [ { name: iqn.2001-04.com.example, luns: [ { lun: 0, type: cdrom, ${more} } ] } ]`;
    assert.deepEqual(parse(lun('image: a.iso, serial: CD-1')).configuration.targets[0]!.luns, [
      {
        lun: 0,
        type: 'cdrom',
        readOnly: true,
        removable: true,
        provisioning: 'full',
        blockSize: 2048,
        serial: 'CD-1',
        medium: { image: '/etc/a.iso' },
      },
    ]);
    const wrong = [
      'create: 1G',
      'readOnly: false',
      'removable: true',
      'provisioning: thin',
      'blockSize: 512',
    ];
    for (const more of wrong) {
      const [complaint] = complaints(lun(`image: a.iso, ${more}`));
      assert.match(
        complaint!,
        new RegExp(`luns\\[0\\]\\.${more.split(':')[0]}: does not go with type: cdrom`),
      );
    }
    assert.match(complaints(lun('memory: 1G'))[0]!, /memory: does not go/);
  });

  test('the shortest one has the defaults', () => {
    const { configuration, log } = parse('targets: [ { name: iqn.2001-04.com.example, luns: [] } ]');
    assert.deepEqual(configuration.portals, [{ address: '127.0.0.1', port: 3260 }]);
    assert.deepEqual(log, {});
  });

  test('an iSNS server that is none is named', () => {
    const targets = 'targets: [ { name: iqn.2001-04.com.example, luns: [] } ]';
    assert.deepEqual(complaints(`isns: host:99999\n${targets}`), [
      '1:1: isns: "host:99999" is not an iSNS server',
    ]);
    assert.deepEqual(complaints(`isns: 1\n${targets}`), ['1:1: isns: must be an iSNS server, HOST[:PORT]']);
  });

  test('every wrong key is named with its line and column, in the order of the file', () => {
    const found = complaints(`portals:
  - 127.0.0.1:99999
targets:
  - name: disk
    luns:
      - lun: 300
        image: a.img
        crate: 10G
      - lun: 1
        image: b.img
        blockSize: 1024
        create: 10X
  - luns: []
`);
    assert.deepEqual(
      found.map((line) => line.split(': ', 2)),
      [
        ['2:5', 'portals[0]'],
        ['4:5', 'targets[0].name'],
        ['6:9', 'targets[0].luns[0].lun'],
        ['8:9', 'targets[0].luns[0].crate'],
        ['11:9', 'targets[0].luns[1].blockSize'],
        ['12:9', 'targets[0].luns[1].create'],
        ['13:5', 'targets[1].name'],
      ],
    );
    assert.match(found[3]!, /there is no such key/);
    assert.match(found[5]!, /"10X" is not a size/);
  });

  const lun = (text: string) =>
    `targets:\n  - name: iqn.2001-04.com.example\n    luns:\n      - { lun: 0, ${text} }\n`;
  const refused: [string, string, RegExp][] = [
    [
      'neither image nor memory',
      lun('removable: true'),
      /^4:9: targets\[0\]\.luns\[0\]: needs either image, memory or nbd/,
    ],
    ['image and memory', lun('image: a, memory: 1M'), /needs either image, memory or nbd/],
    ['image and nbd', lun('image: a, nbd: nbd://h/'), /needs either image, memory or nbd/],
    ['an NBD URI with TLS', lun('nbd: "nbds://h/"'), /^4:19: .*nbd: nbds:\/\/h\/ asks for TLS/],
    ['an export that is created', lun('nbd: nbd://h/, create: 1M'), /create: goes with image only/],
    ['memory that is created', lun('memory: 1M, create: 1M'), /^4:31: .*create: goes with image only/],
    ['read-only memory', lun('memory: 1M, readOnly: true'), /readOnly: a read-only RAM disk/],
    ['half a block', lun('memory: 1000'), /memory: .* no whole number of 512-byte blocks/],
    ['a serial number with a line feed', lun('memory: 1M, serial: "a\\n"'), /serial: must be 1 to 32/],
    ['no text', '', /^1:1: /],
    ['a list', '- 1\n', /^1:1: /],
    ['no YAML', 'targets: [\n', /^\d+:\d+: /],
    ['a key twice', 'targets: []\ntargets: []\n', /^2:1: .*unique/],
    ['an IPv6 portal without quotes', 'portals:\n  - [::1]:3260\n', /^2:10: .*needs quotes/],
    ['no target', 'targets: []\n', /^1:1: targets: /],
  ];
  for (const [what, text, message] of refused) {
    test(`${what} is refused`, () => assert.match(complaints(text)[0]!, message));
  }

  test('names, numbers and images occur once', () => {
    const found = complaints(`targets:
  - name: iqn.2001-04.com.example
    luns:
      - { lun: 0, image: a.img }
      - { lun: 0, image: b.img }
  - name: iqn.2001-04.com.EXAMPLE
    luns:
      - { lun: 0, image: ./a.img }
`);
    assert.deepEqual(
      found.map((line) => line.split(': ', 2)),
      [
        ['5:11', 'targets[0].luns[1].lun'],
        ['6:5', 'targets[1].name'],
        ['8:19', 'targets[1].luns[0].image'],
      ],
    );
  });

  test('a file that cannot be read is named', async () => {
    await assert.rejects(readConfigFile('/nonexistent/riser.yaml'), {
      code: 'CONFIGURATION',
      message: /\/nonexistent\/riser\.yaml/,
    });
  });
});
