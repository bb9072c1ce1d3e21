/** Runs in the guest: the Verbs' contract on the device RISER_DEVICE at RISER_ADDRESS. */

import { NativeProvider } from '../../src/rdma/index.js';
import { verbsContract } from '../../test/contract/verbs.js';

const deviceName = process.env['RISER_DEVICE']!;

/** What no user of the kernel's siw can change: relaxed_ird_negotiation in siw_cm.c; IB_ACCESS_REMOTE_READ is never looked at;
 * siw_rqe_complete takes no notice of what is solicited. */
const SIW_LIMITS = {
  overgrants: 'siw serves as many reads as its peer asks for',
  wakesForAll: 'siw does not tell of solicited completions alone',
  ignoresReadRight: 'siw does not check the right to read',
};

verbsContract(`native, ${deviceName}`, false, {
  provider: new NativeProvider(),
  deviceName,
  address: process.env['RISER_ADDRESS']!,
  timeout: 300_000,
  ...(deviceName === 'siw0' ? SIW_LIMITS : {}),
});
