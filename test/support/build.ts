/** Builds Riser once for a whole run of tests: each process of it then starts in a third of the time. */

import { join } from 'node:path';

import { ROOT } from './files.js';
import { runToSuccess } from './run-program.js';

/** Tells the test files where the built command is; without it they run the sources. */
const VARIABLE = 'RISER_TEST_PROGRAM';

/** The script of the command `riser`, with options of Node before it. */
export function builtProgram(): readonly string[] {
  const built = process.env[VARIABLE];
  return built === undefined ? ['--import', 'tsx', join(ROOT, 'src/cli/main.ts')] : [built];
}

let isBuilt = false;

/** Build, if this process has not yet; the processes that it starts from now on use the result. */
export async function build(): Promise<void> {
  if (isBuilt) return;
  await runToSuccess('npm', ['run', '--silent', 'build']);
  process.env[VARIABLE] = join(ROOT, 'dist/cli/riser.cjs');
  isBuilt = true;
}
