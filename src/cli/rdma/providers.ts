/** How the commands choose a device, and use it. */

import { type IwarpOptions, openDevice, providers, type RdmaDevice } from '../../rdma/index.js';

export interface RdmaDeviceFlags {
  device?: string;
  /** Of software iWARP: ask for CRCs, or do not. Default: on connections to other machines. */
  crc?: boolean;
}

/**
 * The device called `device`, or the first one that there is. `options`: what the command needs of software iWARP besides.
 *
 * @throws RiserError `RDMA_DEVICE_MISSING`, `RDMA_DEVICE_AMBIGUOUS`
 */
export function openRdmaDevice(
  { device, crc }: RdmaDeviceFlags,
  options: IwarpOptions = {},
): Promise<RdmaDevice> {
  return openDevice(device, providers({ ...options, ...(crc !== undefined && { crc }) }));
}
