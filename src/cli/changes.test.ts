import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Secret } from '../util/secret.js';
import { changesBetween, isEmpty } from './changes.js';
import type { Configuration, LunConfiguration, TargetConfiguration } from './configuration.js';

const lun = (number: number, image: string, more: Partial<LunConfiguration> = {}): LunConfiguration => ({
  lun: number,
  type: 'disk',
  medium: { image },
  readOnly: false,
  removable: false,
  provisioning: 'thin',
  blockSize: 512,
  ...more,
});
const target = (name: string, ...luns: LunConfiguration[]): TargetConfiguration => ({ name, luns });
const serving = (...targets: TargetConfiguration[]): Configuration => ({
  portals: [{ address: '127.0.0.1', port: 3260 }],
  targets,
});

/** The same object with its keys in the opposite order. */
const reversed = <T extends object>(object: T): T =>
  Object.fromEntries(Object.entries(object).reverse()) as T;

describe('changes between configurations', () => {
  test('the same configuration, with keys and targets in another order, is no change', () => {
    const a = target('a', lun(0, '/a'), lun(1, '/b'));
    const shuffled = { luns: [lun(0, '/a'), lun(1, '/b')].map(reversed), name: 'a' };
    assert.ok(isEmpty(changesBetween(serving(a, target('b')), serving(target('b'), shuffled))));
  });

  test('another iSNS server is a change, and the same one none', () => {
    const told = (host: string): Configuration => ({ ...serving(target('a')), isns: { host, port: 3205 } });
    assert.ok(changesBetween(serving(target('a')), told('a')).changesIsns);
    assert.ok(!isEmpty(changesBetween(told('a'), told('b'))));
    assert.ok(isEmpty(changesBetween(told('a'), told('a'))));
  });

  test('targets come and go', () => {
    const changes = changesBetween(serving(target('a'), target('b')), serving(target('b'), target('c')));
    assert.deepEqual(
      changes.removedTargets.map(({ name }) => name),
      ['a'],
    );
    assert.deepEqual(
      changes.addedTargets.map(({ name }) => name),
      ['c'],
    );
  });

  test('logical units of a target that stays come and go, and the others are left alone', () => {
    const changes = changesBetween(
      serving(target('a', lun(0, '/a'), lun(1, '/b'))),
      serving(target('a', lun(0, '/a'), lun(2, '/c'))),
    );
    assert.deepEqual(changes.removedTargets, []);
    assert.deepEqual(changes.removedLuns, [{ target: 'a', lun: lun(1, '/b') }]);
    assert.deepEqual(changes.addedLuns, [{ target: 'a', lun: lun(2, '/c') }]);
  });

  test('a CD drive stays, and gets another disc', () => {
    const drive = (image: string, serial: string) => lun(0, image, { type: 'cdrom', serial });
    const before = serving(target('a', drive('/a.iso', '1')));
    const changes = changesBetween(before, serving(target('a', drive('/b.iso', '1'))));
    assert.deepEqual(changes.changedDiscs, [{ target: 'a', lun: drive('/b.iso', '1') }]);
    assert.deepEqual([changes.removedLuns, changes.addedLuns], [[], []]);
    assert.ok(!isEmpty(changes));
    const other = changesBetween(before, serving(target('a', drive('/b.iso', '2'))));
    assert.deepEqual(
      [other.changedDiscs.length, other.removedLuns.length, other.addedLuns.length],
      [0, 1, 1],
    );
  });

  test('a logical unit with another setting is replaced', () => {
    const changes = changesBetween(
      serving(target('a', lun(0, '/a'))),
      serving(target('a', lun(0, '/a', { readOnly: true }))),
    );
    assert.deepEqual(changes.removedLuns, [{ target: 'a', lun: lun(0, '/a') }]);
    assert.deepEqual(changes.addedLuns, [{ target: 'a', lun: lun(0, '/a', { readOnly: true }) }]);
  });

  test('a target with another alias is replaced with its logical units', () => {
    const changes = changesBetween(
      serving(target('a', lun(0, '/a'))),
      serving({ ...target('a', lun(0, '/a')), alias: 'new' }),
    );
    assert.deepEqual([changes.removedTargets.length, changes.addedTargets.length], [1, 1]);
    assert.deepEqual([changes.removedLuns, changes.addedLuns], [[], []]);
  });

  test('so is one that recovers in another way', () => {
    const recovering = { ...target('a', lun(0, '/a')), recovery: { errorRecoveryLevel: 1 as const } };
    const { removedTargets, addedTargets } = changesBetween(serving(target('a')), serving(recovering));
    assert.deepEqual([removedTargets.length, addedTargets.length], [1, 1]);
  });

  describe('of who gets in', () => {
    const chap = (secret: string) => ({ chap: { users: [{ name: 'alice', secret: new Secret(secret) }] } });
    const secured = (security: Partial<TargetConfiguration>) => ({
      ...target('a', lun(0, '/a')),
      ...security,
    });

    test('the target and its logical units stay', () => {
      const states = [
        secured({}),
        secured({ access: [] }),
        secured({ authentication: chap('one') }),
        secured({ authentication: chap('two') }),
      ];
      for (const before of states) {
        for (const after of states) {
          const changes = changesBetween(serving(before), serving(after));
          assert.deepEqual(changes.securedTargets, before === after ? [] : [after]);
          assert.equal(isEmpty(changes), before === after);
          assert.deepEqual([changes.removedTargets, changes.removedLuns], [[], []]);
        }
      }
    });

    test('the same secret, read anew, is no change', () => {
      const before = serving(secured({ authentication: chap('one') }));
      assert.ok(isEmpty(changesBetween(before, serving(secured({ authentication: chap('one') })))));
    });

    test('what all targets share', () => {
      const limits = { failedLogins: 1, failedLoginWindowMs: 1, failedLoginPauseMs: 1 };
      const states: Configuration[] = [
        serving(),
        { ...serving(), discoveryAuthentication: chap('one') },
        { ...serving(), discoveryAuthentication: chap('two') },
        { ...serving(), failedLogins: limits },
      ];
      for (const before of states) {
        for (const after of states) {
          assert.equal(changesBetween(before, after).securesServer, before !== after);
        }
      }
    });
  });

  test('portals come and go', () => {
    const before = {
      ...serving(),
      portals: [
        { address: '127.0.0.1', port: 1 },
        { address: '::1', port: 1 },
      ],
    };
    const after = {
      ...serving(),
      portals: [
        { address: '::1', port: 1 },
        { address: '::1', port: 2 },
      ],
    };
    const changes = changesBetween(before, after);
    assert.deepEqual(changes.removedPortals, [{ address: '127.0.0.1', port: 1 }]);
    assert.deepEqual(changes.addedPortals, [{ address: '::1', port: 2 }]);
  });
});
