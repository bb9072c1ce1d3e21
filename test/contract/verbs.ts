/** The contract of the Verbs (src/rdma/verbs.ts), which every provider passes. One file a subject in `verbs/`. */

import { describe } from 'node:test';
import { atomicsContract } from './verbs/atomics.js';
import { connectingContract } from './verbs/connecting.js';
import { devicesContract } from './verbs/devices.js';
import { endContract } from './verbs/end.js';
import { immediateContract } from './verbs/immediate.js';
import { inlineContract } from './verbs/inline.js';
import { queuesContract } from './verbs/queues.js';
import { rdmaContract } from './verbs/rdma.js';
import { sendContract } from './verbs/send.js';
import { type VerbsHarness, VerbsSuite } from './verbs/suite.js';
import { windowsContract } from './verbs/windows.js';

export function verbsContract(name: string, skip: string | false, harness: VerbsHarness): void {
  describe(`verbs: ${name}`, { skip, timeout: harness.timeout ?? 120_000 }, () => {
    const suite = new VerbsSuite(harness);
    devicesContract(suite);
    connectingContract(suite);
    sendContract(suite);
    rdmaContract(suite);
    atomicsContract(suite);
    immediateContract(suite);
    inlineContract(suite);
    windowsContract(suite);
    queuesContract(suite);
    endContract(suite);
  });
}
