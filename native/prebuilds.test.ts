/** The binaries that the package brings are of the sources that are here. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';

import { NATIVE, sourcesHash } from './sources.js';

describe('the prebuilt addon', () => {
  for (const arch of ['x64', 'arm64']) {
    it(`for linux-${arch} was built from the sources that are here`, () => {
      const file = join(dirname(NATIVE), 'prebuilds', `linux-${arch}`, 'riser-verbs.node');
      assert.ok(
        readFileSync(file).includes(sourcesHash()),
        `it was not: npm run build:native -- --prebuilt --arch ${arch}`,
      );
    });
  }
});
