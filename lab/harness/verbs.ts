/** Riser with libibverbs and librdmacm in the guest: programs of `lab/guest-tests/`, on each RDMA device. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { addRdmaDevices, RXE, SIW } from './rdma.js';
import type { Lab } from './scenario.js';

/** Seconds for one program on one device; on 2 cores of their own they take 1 to 2 minutes. */
const LIMIT = 420;

const PROGRAMS = {
  'verbs-contract': 'the contract of the Verbs',
  'verbs-misuse': 'misuse throws',
  'verbs-threads': 'threads end in the middle of things',
  'verbs-leaks': 'connections come and go',
};

export interface VerbsPrograms {
  programs: readonly (keyof typeof PROGRAMS)[];
  /** Variables of the shell's, `NAME=value` each. */
  environment?: string;
  /** Seconds for each of them. */
  limit?: number;
}

/** Declare the tests of these programs. */
export function verbsTests(lab: Lab, { programs, environment = '', limit = LIMIT }: VerbsPrograms): void {
  before(() => addRdmaDevices(lab.guest));

  for (const { name, address } of [SIW, RXE]) {
    for (const program of programs) {
      test(`${PROGRAMS[program]}, over ${name}`, async () => {
        // siw counts what is locked even for root.
        const output = await lab.guest.sh(
          `cd /riser
          ulimit -l unlimited
          ${environment} RISER_DEVICE=${name} RISER_ADDRESS=${address} node --expose-gc --import tsx --test --test-reporter=tap \\
            lab/guest-tests/${program}.ts`,
          { limit },
        );
        assert.match(output, /^# fail 0$/m);
        assert.doesNotMatch(output, /^# pass 0$/m);
      });
    }

    test(`nothing of it is left on ${name}`, async () => {
      const left = await lab.guest.sh(`rdma resource show | grep '${name}:'`);
      assert.match(left, /pd \d+ cq \d+ qp \d+ cm_id 0 mr 0 ctx 0/);
    });
  }
}
