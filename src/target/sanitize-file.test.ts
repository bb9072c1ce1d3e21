import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { temporaryFolder } from '../../test/support/temporary.js';
import type { SavedSanitize } from '../scsi/index.js';
import { SanitizeFile } from './sanitize-file.js';

const SAVED: SavedSanitize = {
  method: 'overwrite',
  pattern: 'a55a',
  passes: 3,
  invert: true,
  allowsExit: false,
  hasFailed: false,
};
const folder = temporaryFolder();

function keep(file: SanitizeFile, state: SavedSanitize | null): Promise<void> {
  return new Promise((resolve, reject) => {
    file.keep(state, (cause) => (cause === null ? resolve() : reject(cause)));
  });
}

test('it keeps what is to be done until that is done', async () => {
  const path = join(folder, 'disk.img.sanitize');
  const file = await SanitizeFile.open(path);
  assert.equal(file.kept, null);
  await keep(file, SAVED);
  assert.deepEqual((await SanitizeFile.open(path)).kept, SAVED);
  await keep(file, null);
  assert.equal((await SanitizeFile.open(path)).kept, null);
});

test('a torn or changed file is told, and nothing of it used', async () => {
  const path = join(folder, 'torn.img.sanitize');
  await keep(await SanitizeFile.open(path), SAVED);
  const whole = readFileSync(path, 'utf8');
  for (const text of [whole.slice(0, whole.length / 2), '', whole.replace('"passes": 3', '"passes": 2')]) {
    writeFileSync(path, text);
    await assert.rejects(SanitizeFile.open(path), { code: 'SANITIZE_DAMAGED', message: new RegExp(path) });
  }
});
