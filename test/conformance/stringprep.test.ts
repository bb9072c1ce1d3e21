/** RFC 3722 for every code point, alone and in a name: by the digest of what Python's tables of RFC 3454 give, and by those themselves. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';

import { flawOf, mapName } from '../../src/iscsi/stringprep.js';
import { ROOT } from '../support/files.js';
import { peer } from '../support/peers.js';
import { runToSuccess } from '../support/run-program.js';

/** SHA-256 of what `python3 test/support/rfc3722.py` prints. */
const DIGEST = '8efd47cad62141b247651a4cc62453060c6034a2d762cc5ca4f04a6ab52a1b4c';

const python = peer('python3', 'python3');

describe('stringprep, for every code point', () => {
  const lines: string[] = [];

  before(() => {
    for (let code = 0; code < 0x110000; code++) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      const character = String.fromCodePoint(code);
      for (const text of [character, `iqn.${character}1`]) {
        const name = mapName(text);
        const codes = Array.from(name, (each) => each.codePointAt(0)!.toString(16)).join('.');
        lines.push(`${codes},${flawOf(name)?.kind ?? ''}`);
      }
    }
  });

  test('what it is mapped to and what is wrong with it has the digest of what Python gives', () => {
    const hash = createHash('sha256');
    for (const line of lines) hash.update(`${line}\n`);
    assert.equal(hash.digest('hex'), DIGEST);
  });

  test('and is what Python gives', { skip: python.skip }, async () => {
    const told = await runToSuccess(python.path, [join(ROOT, 'test/support/rfc3722.py')]);
    const expected = told.trimEnd().split('\n');
    assert.equal(lines.length, expected.length);
    const different = lines.flatMap((line, i) =>
      line === expected[i] ? [] : [`${i >> 1}: ${line} and not ${expected[i]!}`],
    );
    assert.deepEqual(different.slice(0, 20), [], `${different.length} are different`);
  });
});
