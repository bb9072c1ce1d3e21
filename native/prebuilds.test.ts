/** The binaries that the package brings are of the sources that are here. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';

import { NATIVE, sourcesHash } from './sources.js';

const FILE = 'riser-verbs.node';
/** Of Ubuntu 22.04 and RHEL 9. */
const GLIBC = 34;

describe('the prebuilt addon', () => {
  for (const arch of ['x64', 'arm64']) {
    it(`for linux-${arch} was built from the sources that are here`, () => {
      assert.ok(
        prebuilt(arch).includes(sourcesHash()),
        `it was not: npm run build:native -- --prebuilt --arch ${arch}`,
      );
    });

    it(`for linux-${arch} asks for no newer glibc than 2.${GLIBC}`, () => {
      const versions = [
        ...prebuilt(arch)
          .toString('latin1')
          .matchAll(/GLIBC_2\.(\d+)/g),
      ].map(([, minor]) => Number(minor));
      assert.ok(versions.length > 0);
      assert.ok(Math.max(...versions) <= GLIBC, `it asks for glibc 2.${Math.max(...versions)}`);
    });
  }
});

describe('the addon that was built here, which is preferred', () => {
  const file = join(NATIVE, 'build', FILE);
  it('was built from the sources that are here, if there is one', () => {
    const isStale = existsSync(file) && !readFileSync(file).includes(sourcesHash());
    assert.ok(!isStale, `it was not: npm run build:native, or remove ${file}`);
  });
});

function prebuilt(arch: string): Buffer {
  return readFileSync(join(dirname(NATIVE), 'prebuilds', `linux-${arch}`, FILE));
}
