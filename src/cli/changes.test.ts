import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { changesBetween, isEmpty } from './changes.js';
import type { Configuration, LunConfiguration, TargetConfiguration } from './configuration.js';

const lun = (number: number, image: string, more: Partial<LunConfiguration> = {}): LunConfiguration => ({
  lun: number,
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
