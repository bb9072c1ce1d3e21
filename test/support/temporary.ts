/** A temporary folder for one test file. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

/** Create a folder that is removed, with all in it, after the tests of the calling file or suite. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'riser-test-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
