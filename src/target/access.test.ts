import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AccessList, type AccessRule, grantOf, parseAddresses } from './access.js';

const A = 'iqn.2026-01.example.test:a';
const B = 'iqn.2026-01.example.test:b';
const HERE = '192.0.2.7';

/** Whether the rules let `name` at `address` see the target. */
const sees = (rules: AccessRule[] | null, name = A, address = HERE): boolean =>
  new AccessList(rules, new Set(['alice', 'bob'])).grants(name, address).length > 0;

describe('access rules', () => {
  test('without rules everybody is admitted, with an empty list nobody', () => {
    assert.ok(sees(null));
    assert.ok(new AccessList(null, null).isOpen);
    assert.ok(!sees([]));
    assert.ok(sees([{}]));
    assert.ok(!sees([{ initiators: [] }]));
  });

  test('names are compared in normal form', () => {
    assert.ok(sees([{ initiators: ['IQN.2026-01.example.TEST:A'] }]));
    assert.ok(!sees([{ initiators: [B] }]));
  });

  test('addresses and networks of both families', () => {
    const at = (address: string, ...addresses: string[]) => sees([{ addresses }], A, address);
    assert.ok(at('192.0.2.7', '192.0.2.7'));
    assert.ok(!at('192.0.2.8', '192.0.2.7'));
    assert.ok(at('192.0.2.200', '198.51.100.0/24', '192.0.2.0/24'));
    assert.ok(!at('192.0.3.1', '192.0.2.0/24'));
    assert.ok(at('203.0.113.9', '0.0.0.0/0'));
    assert.ok(at('2001:db8::1', '2001:DB8:0::/32'));
    assert.ok(!at('2001:db9::1', '2001:db8::/32'));
    assert.ok(at('::1', '::1'));
    assert.ok(!at('::1', '0.0.0.0/0'));
    assert.ok(!at('192.0.2.7', '2001:db8::/32'));
  });

  test('all conditions of a rule must fit, and one rule is enough', () => {
    const rules = [{ initiators: [A], addresses: ['192.0.2.0/24'] }, { initiators: [B] }];
    assert.ok(sees(rules, A, '192.0.2.1'));
    assert.ok(!sees(rules, A, '198.51.100.1'));
    assert.ok(sees(rules, B, '198.51.100.1'));
  });

  test('users count after they have been authenticated: the first rule that fits decides', () => {
    const list = new AccessList(
      [
        { initiators: [A], users: ['alice'], luns: { 0: 1 } },
        { initiators: [A], users: ['bob', 'alice'], luns: { 0: 2, 7: 3 } },
        { initiators: [B] },
      ],
      new Set(['alice', 'bob', 'carol']),
    );
    const grants = list.grants(A, HERE);
    assert.deepEqual([...(grantOf(grants, 'alice')?.luns ?? [])], [[0, 1]]);
    assert.deepEqual(
      [...(grantOf(grants, 'bob')?.luns ?? [])],
      [
        [0, 2],
        [7, 3],
      ],
    );
    assert.equal(grantOf(grants, 'carol'), undefined);
    assert.equal(grantOf(grants, null), undefined);
    assert.deepEqual(grantOf(list.grants(B, HERE), 'carol')?.luns, null);
  });

  test('wrong rules are refused', () => {
    const refused: [AccessRule, RegExp][] = [
      [{ addresses: ['192.0.2'] }, /neither an IP address nor a CIDR block/],
      [{ addresses: ['host.example'] }, /neither/],
      [{ addresses: ['192.0.2.0/33'] }, /neither/],
      [{ addresses: ['2001:db8::/129'] }, /neither/],
      [{ addresses: ['192.0.2.0/24/8'] }, /neither/],
      [{ addresses: ['192.0.2.0/'] }, /neither/],
      [{ addresses: ['fe80::1%eth0'] }, /neither/],
      [{ initiators: [''] }, /not an iSCSI name/],
      [{ users: ['mallory'] }, /"mallory", whom the target does not have/],
      [{ luns: { 0: 1, 1: 1 } }, /shows LUN 1 twice/],
      [{ luns: { 16384: 1 } }, /16384 is no LUN/],
      [{ luns: { 0: -1 } }, /-1 is no LUN/],
    ];
    for (const [rule, message] of refused) {
      assert.throws(() => new AccessList([rule], new Set(['alice'])), { code: 'ACCESS_RULE', message });
    }
    assert.throws(() => new AccessList([{ users: ['alice'] }], null), /the target has no CHAP/);
    assert.throws(() => parseAddresses(['/8']), { code: 'ACCESS_RULE' });
  });
});
