/** What `verbs-native` does, with the addon under AddressSanitizer. It is built for that, which takes g++ and headers. 15 minutes. */

import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { before } from 'node:test';

import { ROOT } from '../../test/support/files.js';
import { runToSuccess } from '../../test/support/run-program.js';
import { scenario } from '../harness/scenario.js';
import { verbsTests } from '../harness/verbs.js';

/** Seconds for one program, which takes several times as long as without. */
const LIMIT = 900;
const ADDON = 'native/build/asan/riser-verbs.node';

/** Node itself is not instrumented, and what it has at its end is no leak; the guest has no memory for the default's quarantine. */
const OPTIONS = 'detect_leaks=0:quarantine_size_mb=32';

scenario('verbs-asan', { limit: 8 * LIMIT }, (lab) => {
  before(async () => {
    await runToSuccess('npm', ['run', '--silent', 'build:native', '--', '--asan']);
    const library = await runToSuccess('g++', ['-print-file-name=libasan.so']);
    // The guest has neither compiler nor sanitizers, and may have seen the addon before.
    copyFileSync(library.trim(), lab.file('libasan.so'));
    copyFileSync(join(ROOT, ADDON), lab.file('riser-verbs.node'));
  });

  verbsTests(lab, {
    programs: ['verbs-contract', 'verbs-misuse', 'verbs-threads', 'verbs-leaks'],
    environment: `ASAN_OPTIONS=${OPTIONS} LD_PRELOAD=/lab/libasan.so RISER_VERBS_ADDON=/lab/riser-verbs.node RISER_ROUNDS=100`,
    limit: LIMIT,
  });
});
