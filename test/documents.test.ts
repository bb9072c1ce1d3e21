/** The documents tell the truth, as far as a program can know: what they name is there, and what is there is named. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { parseConfigFile } from '../src/cli/config-file.js';
import { filesBelow, ROOT } from './support/files.js';

const DOCUMENTS = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'lab/README.md',
  ...filesBelow('docs', '.md'),
];
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

/** All first groups of `pattern` in `text`. */
const all = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map((match) => match[1]!);

describe('documents', () => {
  for (const document of DOCUMENTS) {
    test(`${document}: every file and folder that it names is there`, () => {
      const text = read(document);
      const named = all(text, /`((?:src|test|docs|bench|lab|\.ci)\/[\w./-]*)`/g);
      const linked = all(text, /\]\(((?!https?:)[^)#]+)\)/g).map((link) => join(dirname(document), link));
      assert.deepEqual(
        [...named, ...linked].filter((path) => !existsSync(join(ROOT, path))),
        [],
      );
    });
  }

  test('docs/CONFORMANCE.md has every command of the command table', () => {
    const text = read('docs/CONFORMANCE.md');
    const commands = filesBelow('src/scsi/commands', '.ts')
      .filter((file) => !file.endsWith('.test.ts'))
      .flatMap((file) => all(read(file), /\bname: '([A-Z][A-Z0-9 ()-]+)'/g));
    assert.ok(commands.length > 30, 'the command table was not found');
    assert.deepEqual(
      commands.filter((command) => !text.includes(command)),
      [],
    );
  });

  test('the configuration file of README.md is valid', () => {
    const [example] = all(read('README.md'), /```yaml\n([^]*?)```/g);
    assert.equal(parseConfigFile(example!, 'riser.yaml').configuration.targets.length, 1);
  });

  test('README.md has every option of riser serve', () => {
    const text = read('README.md');
    const sources = read('src/cli/server-commands.ts') + read('src/cli/log.ts');
    const options = all(sources, /'(--[a-z-]+)[ ']/g);
    assert.ok(options.length > 10, 'the options were not found');
    assert.deepEqual(
      options.filter((option) => !text.includes(option)),
      [],
    );
  });
});
