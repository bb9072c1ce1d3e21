import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerSendTargets, type DiscoveryContext, formatPortal } from './discovery.js';

const ONE = 'iqn.2001-04.com.example:one';
const TWO = 'iqn.2001-04.com.example:two';
const TARGETS = [
  {
    name: ONE,
    portals: [
      { address: '10.1.0.45', port: 3000, portalGroupTag: 1 },
      { address: '10.1.1.45', port: 3000, portalGroupTag: 2 },
    ],
  },
  { name: TWO, portals: [{ address: '::', port: 3260, portalGroupTag: 1 }] },
];
const discovery: DiscoveryContext = { targetName: null, isDiscovery: true, localAddress: '192.0.2.1' };
const normal: DiscoveryContext = { targetName: ONE, isDiscovery: false, localAddress: '192.0.2.1' };

function answer(value: string, context: DiscoveryContext): string[] | null {
  return answerSendTargets(value, TARGETS, context)?.map((pair) => `${pair.key}=${pair.value}`) ?? null;
}

const ANSWER_ONE = [`TargetName=${ONE}`, 'TargetAddress=10.1.0.45:3000,1', 'TargetAddress=10.1.1.45:3000,2'];
const ANSWER_TWO = [`TargetName=${TWO}`, 'TargetAddress=192.0.2.1:3260,1'];

test('All gives every target to a discovery session, and nothing to a normal one', () => {
  assert.deepEqual(answer('All', discovery), [...ANSWER_ONE, ...ANSWER_TWO]);
  assert.equal(answer('All', normal), null);
});

test('a name gives that target, in a normal session only its own', () => {
  assert.deepEqual(answer(TWO, discovery), ANSWER_TWO);
  assert.deepEqual(answer(TWO.toUpperCase(), discovery), ANSWER_TWO);
  assert.deepEqual(answer('iqn.2001-04.com.example:none', discovery), []);
  assert.deepEqual(answer(ONE, normal), ANSWER_ONE);
  assert.equal(answer(TWO, normal), null);
});

test("an empty value gives the session's own target", () => {
  assert.deepEqual(answer('', normal), ANSWER_ONE);
  assert.deepEqual(answer('', { ...discovery, targetName: TWO }), ANSWER_TWO);
  assert.equal(answer('', discovery), null);
});

test('what is no name may not be asked', () => {
  for (const value of ['all', 'Alle', 'A', 'a\nb']) assert.equal(answer(value, discovery), null);
});

test('no targets, no text', () => {
  assert.deepEqual(answerSendTargets('All', [], discovery), []);
});

function addressOf(address: string, localAddress: string): string | undefined {
  const targets = [{ name: ONE, portals: [{ address, port: 3260, portalGroupTag: 7 }] }];
  return answerSendTargets('All', targets, { ...discovery, localAddress })?.[1]?.value;
}

test('a wildcard portal is told as the address that the initiator used', () => {
  assert.equal(addressOf('0.0.0.0', '192.0.2.9'), '192.0.2.9:3260,7');
  assert.equal(addressOf('0.0.0.0', '::ffff:192.0.2.9'), '192.0.2.9:3260,7');
  assert.equal(addressOf('::', '2001:db8::1'), '[2001:db8::1]:3260,7');
  assert.equal(addressOf('::', '::ffff:192.0.2.9'), '192.0.2.9:3260,7');
  assert.equal(addressOf('::', 'fe80::1%eth0'), '[fe80::1]:3260,7');
  assert.equal(addressOf('0.0.0.0', '2001:db8::1'), undefined);
});

test('an address is told once', () => {
  const portals = ['0.0.0.0', '192.0.2.1'].map((address) => ({ address, port: 3260, portalGroupTag: 1 }));
  assert.equal(answerSendTargets('All', [{ name: ONE, portals }], discovery)?.length, 2);
});

test('IPv6 addresses stand in brackets', () => {
  assert.equal(formatPortal('1080::8:800:200C:417A', 5003), '[1080::8:800:200C:417A]:5003');
  assert.equal(formatPortal('10.0.0.1', 3260), '10.0.0.1:3260');
  assert.equal(formatPortal('storage.example', 3260), 'storage.example:3260');
});
