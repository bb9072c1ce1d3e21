/** Runs in the guest: the Verbs' contract on the device RISER_DEVICE at RISER_ADDRESS. */

import { NativeProvider } from '../../src/rdma/index.js';
import { verbsContract } from '../../test/contract/verbs.js';

const deviceName = process.env['RISER_DEVICE']!;

verbsContract(`native, ${deviceName}`, false, {
  provider: new NativeProvider(),
  deviceName,
  address: process.env['RISER_ADDRESS']!,
  timeout: 300_000,
  // relaxed_ird_negotiation of siw_cm.c, a constant.
  ...(deviceName === 'siw0' ? { overgrants: 'siw serves as many reads as its peer asks for' } : {}),
});
