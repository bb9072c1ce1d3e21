import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { defaultName, parseName } from './name.js';

describe('target names', () => {
  test('a given name is put in normal form', () => {
    assert.equal(parseName('iqn.2001-04.com.Example:Storage.Disk1'), 'iqn.2001-04.com.example:storage.disk1');
  });

  for (const text of [
    '',
    'disk1',
    'iqn.2001-13.com.example',
    'iqn.2001-04',
    'iqn.2001-04.com.example:a b',
    'eui.123',
  ]) {
    test(`"${text}" is refused`, () => assert.throws(() => parseName(text), { code: 'USAGE' }));
  }

  test('the default tells host and image', () => {
    assert.equal(defaultName('MyHost', 'disk.img'), 'iqn.2024-08.internal.riser:myhost:disk.img');
  });

  test('names that cannot be told as they are stay different', () => {
    assert.notEqual(defaultName('h', 'a b.img'), defaultName('h', 'a_b.img'));
    assert.notEqual(defaultName('h', 'диск'), defaultName('h', 'том'));
    assert.notEqual(defaultName('h', 'x'.repeat(255)), defaultName('h', 'x'.repeat(254)));
  });

  test('the default is a valid name in normal form, whatever host and image are called', () => {
    const text = fc.string({ unit: 'binary', maxLength: 300 });
    fc.assert(
      fc.property(text, text, (host, image) => {
        const name = defaultName(host, image);
        assert.equal(parseName(name), name);
      }),
    );
  });
});
