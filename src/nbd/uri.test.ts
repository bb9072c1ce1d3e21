import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatNbdUri, isNbdUri, parseNbdUri, type NbdUri } from './uri.js';

const right: [string, NbdUri][] = [
  ['nbd://example.com', { address: { host: 'example.com', port: 10809 }, exportName: '' }],
  ['nbd://example.com/', { address: { host: 'example.com', port: 10809 }, exportName: '' }],
  ['nbd://example.com:10810/disk', { address: { host: 'example.com', port: 10810 }, exportName: 'disk' }],
  ['NBD://[::1]:1/a', { address: { host: '::1', port: 1 }, exportName: 'a' }],
  ['nbd://example.com//disk', { address: { host: 'example.com', port: 10809 }, exportName: '/disk' }],
  ['nbd://h/hello%20world', { address: { host: 'h', port: 10809 }, exportName: 'hello world' }],
  ['nbd+unix:///disk?socket=sock', { address: { socket: 'sock' }, exportName: 'disk' }],
  ['nbd+unix:///?socket=/a%3fb', { address: { socket: '/a?b' }, exportName: '' }],
];

const wrong: [string, RegExp][] = [
  ['nbd:', /lacks a host/],
  ['nbd://', /lacks a host/],
  ['nbd://user@h/', /lacks a host/],
  ['nbd://h:0/', /impossible port/],
  ['nbd://h:65536/', /impossible port/],
  ['nbd://[1.2.3.4]/', /no IPv6 address/],
  ['nbd://h/?socket=a', /parameter that is not known/],
  ['nbd+unix:///', /lacks the parameter socket/],
  ['nbd+unix://h/?socket=a', /host beside/],
  ['nbd+unix:///?socket=a&tls-type=psk', /parameter that is not known/],
  ['nbd+unix:///?socket', /without a value/],
  ['nbds://h/', /TLS/],
  ['nbds+unix:///?socket=a', /TLS/],
  ['nbd+vsock://h/', /scheme/],
  ['nbd://h/%', /% that begins no character/],
  ['nbd://h/%00', /impossible export/],
  [`nbd://h/${'a'.repeat(4097)}`, /impossible export/],
];

describe('NBD URIs', () => {
  for (const [text, uri] of right) {
    test(text, () => {
      assert.ok(isNbdUri(text));
      assert.deepEqual(parseNbdUri(text), uri);
    });
  }

  for (const [text, message] of wrong) {
    test(`${text.slice(0, 40)} is refused`, () => {
      assert.ok(isNbdUri(text));
      assert.throws(() => parseNbdUri(text), { code: 'NBD_URI', message });
    });
  }

  test('files are none', () => {
    for (const text of ['disk.img', '/nbd', 'nbd', 'nbd.img', './nbd:x']) assert.equal(isNbdUri(text), false);
  });

  test('what is formatted is parsed again', () => {
    const name = fc.string({ unit: 'grapheme', maxLength: 50 }).filter((text) => !text.includes('\0'));
    const address = fc.oneof(
      name.filter((text) => text !== '').map((socket) => ({ socket })),
      fc
        .tuple(fc.constantFrom('h', '127.0.0.1', '::1'), fc.integer({ min: 1, max: 65535 }))
        .map(([host, port]) => ({ host, port })),
    );
    fc.assert(
      fc.property(address, name, (address, exportName) => {
        assert.deepEqual(parseNbdUri(formatNbdUri({ address, exportName })), { address, exportName });
      }),
    );
  });
});
