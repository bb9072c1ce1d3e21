import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoginStatus, loginStatusOf } from './status.js';

test('every status has a code of its own, made of class and detail, and a text', () => {
  const all = Object.values(LoginStatus);
  assert.equal(new Set(all.map(({ code }) => code)).size, all.length);
  for (const status of all) {
    assert.equal(status.code, status.statusClass * 256 + status.statusDetail);
    assert.notEqual(status.text, '');
    assert.equal(loginStatusOf(status.code), status);
  }
});

test('the list is that of RFC 7143 11.13.5', () => {
  const codes = Object.values(LoginStatus).map(({ code }) => code.toString(16).padStart(4, '0'));
  assert.deepEqual(codes, [
    ...[
      '0000',
      '0101',
      '0102',
      '0200',
      '0201',
      '0202',
      '0203',
      '0204',
      '0205',
      '0206',
      '0207',
      '0208',
      '0209',
    ],
    ...['020a', '020b', '0300', '0301', '0302'],
  ]);
  assert.equal(loginStatusOf(0x0399), undefined);
});
