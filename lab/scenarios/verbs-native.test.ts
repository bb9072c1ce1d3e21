/** Riser with libibverbs and librdmacm in the guest: the Verbs' contract over rdma_rxe and over siw. About 5 minutes. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { addRdmaDevices, RXE, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';

/** Seconds for the contract on one device, which takes 2 minutes on 2 cores of their own. */
const LIMIT = 420;

scenario('verbs-native', { limit: 1000 }, (lab) => {
  before(() => addRdmaDevices(lab.guest));

  for (const { name, address } of [SIW, RXE]) {
    test(`the contract of the Verbs over ${name}`, async () => {
      const output = await lab.guest.sh(
        `cd /riser
        RISER_DEVICE=${name} RISER_ADDRESS=${address} node --import tsx --test --test-reporter=tap \\
          lab/guest-tests/verbs-contract.ts`,
        { limit: LIMIT },
      );
      assert.match(output, /^# fail 0$/m);
      assert.doesNotMatch(output, /^# pass 0$/m);
    });

    test(`nothing of it is left on ${name}`, async () => {
      const left = await lab.guest.sh(`rdma resource show | grep '${name}:'`);
      assert.match(left, /pd \d+ cq \d+ qp \d+ cm_id 0 mr \d+ ctx 0/);
    });
  }
});
