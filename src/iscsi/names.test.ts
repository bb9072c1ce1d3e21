import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  formatIsid,
  initiatorPortName,
  NAME_LIMIT,
  normalizeIscsiName,
  parseIscsiName,
  receiveIscsiName,
} from './names.js';

/** RFC 7143 4.2.7.4 to 4.2.7.6, 13.4, 13.5. */
const EXAMPLES: readonly [text: string, type: string][] = [
  ['iqn.2001-04.com.example:storage:diskarrays-sn-a8675309', 'iqn'],
  ['iqn.2001-04.com.example', 'iqn'],
  ['iqn.2001-04.com.example:storage.tape1.sys1.xyz', 'iqn'],
  ['iqn.1993-11.com.disk-vendor:diskarrays.sn.45678', 'iqn'],
  ['iqn.1992-04.com.os-vendor.plan9:cdrom.12345', 'iqn'],
  ['eui.02004567A425678D', 'eui'],
  ['naa.52004567BA64678D', 'naa'],
  ['naa.62004567BA64678D0123456789ABCDEF', 'naa'],
  ['iqn.1991-05.com.microsoft:WIN-ABC', 'iqn'],
];

for (const [text, type] of EXAMPLES) {
  test(`${text} is valid`, () => {
    assert.deepEqual(parseIscsiName(text), { name: text.toLowerCase(), type });
  });
}

const WRONG: readonly [text: string, error: RegExp][] = [
  ['', /starts with/],
  ['disk1', /starts with/],
  ['iqn.2001-4.com.example', /form/],
  ['iqn.2001-13.com.example', /form/],
  ['iqn.2001-00.com.example', /form/],
  ['iqn.2001-04', /form/],
  ['iqn.2001-04.', /form/],
  ['iqn.2001-04.com..example', /form/],
  ['iqn.2001-04.com.-example', /form/],
  ['iqn.2001-04.com.example:', /form/],
  ['eui.02004567A425678', /form/],
  ['eui.02004567A425678G', /form/],
  ['naa.52004567BA64678D0', /form/],
  ['iqn.2001-04.com.example:my disk', /" " is not allowed/],
  ['iqn.2001-04.com.example:my_disk', /"_" is not allowed/],
  ['iqn.2001-04.com.example:a/b', /"\/" is not allowed/],
  ['iqn.2001-04.com.example:a\u3002b', /not allowed/],
  ['iqn.2001-04.com.example:\u05d0', /right to left/],
  ['iqn.2001-04.com.example:\u0221', /not in Unicode 3.2/],
  ['iqn.2001-04.com.example:\u202ea', /not allowed/],
  [`iqn.2001-04.com.example:${'x'.repeat(200)}`, /at most 223 bytes, this one 224/],
];

for (const [text, error] of WRONG) {
  test(`${JSON.stringify(text.slice(0, 40))} is refused: ${error.source}`, () => {
    const parsed = parseIscsiName(text);
    assert.ok('error' in parsed);
    assert.match(parsed.error, error);
  });
}

test('the longest name has 223 bytes, not characters', () => {
  const prefix = 'iqn.2001-04.com.example:';
  assert.ok('name' in parseIscsiName(prefix + 'x'.repeat(NAME_LIMIT - prefix.length)));
  assert.ok('error' in parseIscsiName(prefix + 'é'.repeat(NAME_LIMIT - prefix.length)));
});

test('names that differ in case, width or composition only are the same', () => {
  const name = 'iqn.2001-04.com.example:é1';
  for (const same of [
    'IQN.2001-04.COM.EXAMPLE:É1',
    'iqn.2001-04.com.example:e\u03011',
    'iqn.2001-04.com.example:é１',
  ]) {
    assert.equal(normalizeIscsiName(same), name);
  }
  assert.equal(normalizeIscsiName('a\u00adb\u200bc'), 'abc');
  assert.equal(normalizeIscsiName('Straße'), 'strasse');
  assert.equal(normalizeIscsiName('ΟΔΟΣ'), normalizeIscsiName('οδος'));
});

test('normalising is idempotent, for every character of the planes that have letters', () => {
  for (let code = 0; code <= 0x1ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const once = normalizeIscsiName(`a${String.fromCodePoint(code)}b`);
    if (normalizeIscsiName(once) !== once) assert.fail(`U+${code.toString(16)}`);
  }
});

test('any string is either refused or gives a name that is valid again', () => {
  const suffix = fc.string({ unit: 'grapheme', maxLength: 240 });
  fc.assert(
    fc.property(suffix, (text) => {
      const parsed = parseIscsiName(`iqn.2001-04.com.example:${text}`);
      if ('error' in parsed) return;
      assert.deepEqual(parseIscsiName(parsed.name), parsed);
      assert.ok(Buffer.byteLength(parsed.name) <= NAME_LIMIT);
      assert.equal(receiveIscsiName(parsed.name), parsed.name);
    }),
  );
});

test('a received name need not have a standard form, but be a name', () => {
  assert.equal(receiveIscsiName('iqn.2008-11.org.linux-kvm:My VM'), 'iqn.2008-11.org.linux-kvm:my vm');
  assert.equal(receiveIscsiName('x'.repeat(223))?.length, 223);
  assert.equal(receiveIscsiName(''), null);
  assert.equal(receiveIscsiName('x'.repeat(224)), null);
  assert.equal(receiveIscsiName('iqn.2001-04.com.example:a\nb'), null);
});

test('what Unicode 3.2 does not have may be asked for, as it is, and is nobody by another name', () => {
  // Today's NFKC makes a j of it.
  assert.equal(receiveIscsiName('iqn.2001-04.com.example:\u2c7c'), 'iqn.2001-04.com.example:\u2c7c');
  assert.ok('error' in parseIscsiName('iqn.2001-04.com.example:\u2c7c'));
});

test('ISID and SCSI port names (RFC 7143 4.4.2)', () => {
  const isid = formatIsid(Buffer.from([0x00, 0x02, 0x3d, 0x00, 0x00, 0x0a]));
  assert.equal(isid, '00023d00000a');
  assert.equal(
    initiatorPortName('iqn.2001-04.com.example:host', isid),
    'iqn.2001-04.com.example:host,i,0x00023d00000a',
  );
});
