import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { connectionHelp, dataFolder } from './demo.js';

describe('demo', () => {
  test("the volume is in the platform's folder for a user's data", () => {
    assert.equal(dataFolder('linux', {}, '/home/u'), '/home/u/.local/share');
    assert.equal(dataFolder('linux', { XDG_DATA_HOME: '/data' }, '/home/u'), '/data');
    assert.equal(dataFolder('linux', { XDG_DATA_HOME: 'relative' }, '/home/u'), '/home/u/.local/share');
    assert.equal(dataFolder('darwin', {}, '/Users/u'), '/Users/u/Library/Application Support');
    assert.equal(dataFolder('win32', { LOCALAPPDATA: 'C:\\L' }, 'C:\\U'), 'C:\\L');
  });

  test('the commands name the portal as each program wants it', () => {
    const usual = connectionHelp('iqn.2001-04.com.example', { address: '127.0.0.1', port: 3260 });
    assert.match(usual, /iscsiadm -m node -T iqn\.2001-04\.com\.example -p 127\.0\.0\.1:3260 --login/);
    assert.match(usual, /New-IscsiTargetPortal -TargetPortalAddress 127\.0\.0\.1\n/);
    assert.match(usual, /file=iscsi:\/\/127\.0\.0\.1:3260\/iqn\.2001-04\.com\.example\/0,/);
    const other = connectionHelp('iqn.2001-04.com.example', { address: '::1', port: 4000 });
    assert.match(other, /iscsi-ls -s iscsi:\/\/\[::1\]:4000\n/);
    assert.match(other, /-TargetPortalAddress ::1 -TargetPortalPortNumber 4000/);
  });
});
