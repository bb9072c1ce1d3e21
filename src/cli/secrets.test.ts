import assert from 'node:assert/strict';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { temporaryFolder } from '../../test/support/temporary.js';
import { readSecret } from './secrets.js';

const SECRET = 'correct horse battery';

describe('a secret in a file', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'secret');
  const write = (content: string | Buffer, mode = 0o600): string => {
    // One that may only be read cannot be written anew, but by root.
    rmSync(path, { force: true });
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  };
  const refused = (file: string, message: RegExp, remedy: RegExp): void => {
    assert.throws(
      () => readSecret({ file }),
      (error: Error & { code: string; remedy: string }) => {
        assert.equal(error.code, 'SECRET');
        assert.match(error.message, message);
        assert.match(error.remedy, remedy);
        assert.ok(!error.message.includes(SECRET));
        return true;
      },
    );
  };

  test('is read without the line end behind it', () => {
    for (const end of ['', '\n', '\r\n']) {
      assert.equal(
        readSecret({ file: write(SECRET + end) })
          .reveal()
          .toString(),
        SECRET,
      );
    }
    assert.equal(
      readSecret({ file: write(` ${SECRET} \n\n`) })
        .reveal()
        .toString(),
      ` ${SECRET} \n`,
    );
    assert.equal(readSecret({ file: write(SECRET, 0o400) }).length, SECRET.length);
  });

  test('may be any bytes', () => {
    const bytes = Buffer.from([0xff, 0, 0x80, 1]);
    assert.deepEqual(readSecret({ file: write(bytes) }).reveal(), bytes);
  });

  const noModes = process.platform === 'win32' ? 'Windows has no such modes' : false;
  test('that others may read is refused', { skip: noModes }, () => {
    for (const mode of [0o644, 0o640, 0o604, 0o620, 0o610]) {
      refused(write(SECRET, mode), new RegExp(`its mode is 0${mode.toString(8)}`), /^chmod 600 \//);
    }
  });

  test('must be there, not empty, short, and a file', () => {
    refused(join(folder, 'none'), /ENOENT/, /Make the file/);
    refused(write(''), /is empty/, /Write the secret/);
    refused(write('\n'), /is empty/, /Write the secret/);
    refused(write(SECRET.repeat(100)), /more than 1024 bytes/, /nothing but the secret/);
    refused(folder, /no file|EISDIR|EPERM/, /./);
  });
});

describe('a secret in the environment', () => {
  test('is taken as it is', () => {
    assert.equal(
      readSecret({ env: 'A' }, { A: `${SECRET}\n` })
        .reveal()
        .toString(),
      `${SECRET}\n`,
    );
  });

  test('must be set', () => {
    for (const env of [{}, { A: '' }]) {
      assert.throws(() => readSecret({ env: 'A' }, env), {
        code: 'SECRET',
        message: /variable A is not set/,
      });
    }
  });
});
