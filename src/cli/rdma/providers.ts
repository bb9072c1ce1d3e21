/** The kinds of RDMA that the commands can use. */

import { type IwarpOptions, IwarpProvider, type RdmaDevice, type RdmaProvider } from '../../rdma/index.js';
import { RiserError } from '../../util/errors.js';

/** In the order in which a device is looked for. */
export function providers(options: IwarpOptions = {}): readonly RdmaProvider[] {
  return [new IwarpProvider(options)];
}

/** How a device is chosen and used. */
export interface RdmaDeviceFlags {
  device?: string;
  /** Ask for CRCs, or do not. Default: on connections to other machines. */
  crc?: boolean;
}

/**
 * The device called `device`, or the first one that there is. `options`: what the command needs of software iWARP besides.
 *
 * @throws RiserError `RDMA_DEVICE_MISSING`
 */
export async function openRdmaDevice(
  { device: name, crc }: RdmaDeviceFlags,
  options: IwarpOptions = {},
): Promise<RdmaDevice> {
  for (const provider of providers({ ...options, ...(crc !== undefined && { crc }) })) {
    if (!provider.probe().isUsable) continue;
    const devices = await provider.devices();
    const found = name === undefined ? devices[0] : devices.find((device) => device.name === name);
    if (found !== undefined) return provider.open(found.name);
  }
  const what = name === undefined ? 'no RDMA device' : `no RDMA device "${name}"`;
  throw new RiserError('RDMA_DEVICE_MISSING', `there is ${what}`, {
    by: 'local',
    costs: 'process',
    remedy: '"riser rdma devices" lists those that are there, and says why others are not.',
  });
}
