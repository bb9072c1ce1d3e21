/** The kinds of RDMA that the commands can use. */

import { IwarpProvider, type RdmaDevice, type RdmaProvider } from '../../rdma/index.js';
import { RiserError } from '../../util/errors.js';

/** In the order in which a device is looked for. */
export const PROVIDERS: readonly RdmaProvider[] = [new IwarpProvider()];

/**
 * The device called `name`, or the first one that there is.
 *
 * @throws RiserError `RDMA_DEVICE_MISSING`
 */
export async function openRdmaDevice(name?: string): Promise<RdmaDevice> {
  for (const provider of PROVIDERS) {
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
