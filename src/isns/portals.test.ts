import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NetworkInterfaceInfo } from 'node:os';
import { reachablePortals } from './portals.js';

const info = (address: string, internal = false): NetworkInterfaceInfo => ({
  address,
  internal,
  netmask: '',
  mac: '',
  cidr: null,
  family: 'IPv4',
});
const INTERFACES = {
  lo: [info('127.0.0.1', true), info('::1', true)],
  eth0: [info('192.0.2.7'), info('2001:db8::7'), info('fe80::7')],
  eth1: [info('198.51.100.7')],
};
const portal = (address: string) => ({ address, port: 3260, portalGroupTag: 1 });
const addresses = (
  listening: string[],
  local: string,
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]> = INTERFACES,
) => reachablePortals(listening.map(portal), local, interfaces).map(({ address }) => address);

describe('portals that are told to a server', () => {
  test('a wildcard is all addresses of its family that others reach', () => {
    assert.deepEqual(addresses(['0.0.0.0'], '192.0.2.7'), ['192.0.2.7', '198.51.100.7']);
    assert.deepEqual(addresses(['::'], '192.0.2.7'), ['2001:db8::7']);
  });

  test('an address is itself, but a loopback one to a server on this machine alone', () => {
    assert.deepEqual(addresses(['198.51.100.7', '127.0.0.1', '::1'], '192.0.2.7'), ['198.51.100.7']);
    assert.deepEqual(addresses(['127.0.0.1', '::1'], '127.0.0.1'), ['127.0.0.1', '::1']);
    assert.deepEqual(addresses(['127.0.0.1'], '::ffff:127.0.0.1'), ['127.0.0.1']);
  });

  test('a machine with no other address has the one that the server is reached from', () => {
    assert.deepEqual(addresses(['0.0.0.0', '::'], '127.0.0.1', { lo: INTERFACES.lo }), ['127.0.0.1']);
  });
});
