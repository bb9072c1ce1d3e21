/**
 * `npm run lab -- all`, or the names of scenarios: boots the guest and runs them.
 *
 *     npm run lab                    tells which scenarios there are
 *     npm run lab -- all
 *     npm run lab -- login multipath
 *     npm run lab -- --keep login    leaves logs and captures even if it passes
 */

import { parseArgs } from 'node:util';

import { filesBelow, ROOT } from '../test/support/files.js';
import { whatIsMissing } from './guest-image.js';
import { runScenarios, scenarioName, SCENARIOS } from './run-scenarios.js';

process.chdir(ROOT);
const { values, positionals } = parseArgs({ allowPositionals: true, options: { keep: { type: 'boolean' } } });
const files = filesBelow(SCENARIOS.slice(0, -1), '.test.ts');
const names = files.map(scenarioName);
const unknown = positionals.filter((name) => name !== 'all' && !names.includes(name));
if (positionals.length === 0 || unknown.length > 0) {
  if (unknown.length > 0) console.error(`no such scenario: ${unknown.join(', ')}`);
  console.error(`usage: npm run lab -- [--keep] all | SCENARIO...\nscenarios: ${names.join(', ')}`);
  process.exit(2);
}
const missing = whatIsMissing();
if (missing !== null) {
  console.error(missing);
  process.exit(1);
}
const wanted = positionals.includes('all')
  ? files
  : files.filter((file) => positionals.includes(scenarioName(file)));
const { failed, skipped } = await runScenarios(wanted, { keep: values.keep === true });
if (failed.length + skipped.length > 0) process.exitCode = 1;
