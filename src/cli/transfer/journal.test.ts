import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { temporaryFolder } from '../../../test/support/temporary.js';
import { type Journal, readJournal, removeJournal, writeJournal } from './journal.js';

const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);
const journal: Journal = {
  source: { name: 'a', size: 8192, modified: '12345678901234567890' },
  destination: { name: 'b', size: 9000, modified: null },
  position: 4096,
};

describe('a journal', () => {
  test('is read as it was written, the last time', async () => {
    await writeJournal(file('good'), { ...journal, position: 0 });
    await writeJournal(file('good'), journal);
    assert.deepEqual({ ...(await readJournal(file('good'))) }, journal);
    assert.deepEqual(readdirSync(folder), ['good'], 'nothing else is left');
    await removeJournal(file('good'));
    await removeJournal(file('good'));
    assert.equal(existsSync(file('good')), false);
  });

  test('one that is not there is none', async () => {
    assert.equal(await readJournal(file('missing')), null);
  });

  test('whatever else a file has in it is refused', async () => {
    const whole = JSON.stringify({ format: 'riser-copy-1', ...journal });
    const bad = [
      '',
      'null',
      '[]',
      whole.slice(0, -1),
      whole.replace('riser-copy-1', 'riser-copy-2'),
      whole.replace('"position":4096', '"position":8193'),
      whole.replace('"position":4096', '"position":-1'),
      whole.replace('"position":4096', '"position":"4096"'),
      whole.replace('"size":9000', '"size":null'),
      whole.replace('"modified":null', '"modified":7'),
      whole + ' '.repeat(65536),
    ];
    for (const text of bad) {
      writeFileSync(file('bad'), text);
      await assert.rejects(readJournal(file('bad')), { code: 'JOURNAL' }, text.slice(0, 80));
    }
  });

  test('a place where none can be written is told', async () => {
    await assert.rejects(writeJournal(file('no/such/folder'), journal), { code: 'JOURNAL' });
  });
});
