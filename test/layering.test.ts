/** Imports point downward in the picture of docs/ARCHITECTURE.md, and protocol code is sans-I/O. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { filesBelow, ROOT } from './support/files.js';
import { checkFile, describeViolation } from './support/layers.js';

/** Tests, and what only they use. */
const FOR_TESTS = /\.test\.ts$|\/testing\//;

const problems = (file: string, text: string): string[] => checkFile(file, text).map(describeViolation);

describe('layering', () => {
  test('every source file obeys', () => {
    const files = filesBelow('src', '.ts').filter((file) => !FOR_TESTS.test(file));
    assert.ok(files.length > 10, 'the sources were not found');
    const found = files.flatMap((file) => problems(file, readFileSync(join(ROOT, file), 'utf8')));
    assert.deepEqual(found, []);
  });

  test('a failure names file and line', () => {
    const text = "import { a } from '../block/device.js';\n\nimport type { B } from '../iscsi/session.js';\n";
    assert.deepEqual(problems('src/scsi/x.ts', text), [
      'src/scsi/x.ts:3: scsi imports iscsi (../iscsi/session.js): imports point downward only',
    ]);
  });

  test('the other direction is refused too, whatever the form of the import', () => {
    assert.equal(problems('src/iscsi/x.ts', "export * from '../scsi/task.js';").length, 1);
    assert.equal(problems('src/block/x.ts', "const m = await import('../scsi/task.js');").length, 1);
    assert.equal(problems('src/iscsi/wire/x.ts', "import '../target/session.js';").length, 1);
    assert.equal(problems('src/target/x.ts', "import '../cli/main.js';").length, 1);
    assert.equal(problems('src/datamover/tcp/x.ts', "import '../../iscsi/login/keys.js';").length, 1);
  });

  test('downward imports pass', () => {
    assert.deepEqual(problems('src/datamover/tcp/x.ts', "import '../../iscsi/wire/opcodes.js';"), []);
    assert.deepEqual(
      problems('src/cli/x.ts', "import '../target/index.js';\nimport '../util/errors.js';"),
      [],
    );
    assert.deepEqual(problems('src/iscsi/login/x.ts', "import '../wire/headers.js';"), []);
  });

  test('only one file knows the foreign-function library', () => {
    assert.equal(problems('src/block/file.ts', "const k = require('koffi');").length, 1);
    assert.deepEqual(problems('src/util/posix/libc.ts', "const k = require('koffi');"), []);
  });

  test('protocol code has no clock, timer, promise or socket', () => {
    const text = [
      "import { connect } from 'node:net';",
      '// setTimeout in a comment is no use of it',
      'setTimeout(() => 0, 1);',
      'const now = Date.now();',
      'async function f() { await g(); }',
      "import { createHash } from 'node:crypto';",
    ].join('\n');
    assert.deepEqual(
      problems('src/iscsi/x.ts', text).map((line) => line.split(':')[1]),
      ['1', '3', '4', '5', '5'],
    );
    assert.deepEqual(problems('src/target/x.ts', text), []);
  });

  test('a folder without a row in the table is refused', () => {
    assert.equal(problems('src/novel/x.ts', '').length, 1);
  });
});
