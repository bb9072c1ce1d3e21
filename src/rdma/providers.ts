/** The kinds of RDMA that there are, and the devices of all of them. */

import { RiserError } from '../util/errors.js';
import { type IwarpOptions, IwarpProvider } from './iwarp/device.js';
import { NativeProvider } from './native/provider.js';
import type { DeviceEvents, DeviceInfo, RdmaDevice, RdmaProvider } from './verbs.js';

/** A device that is there, and whose it is. */
export interface FoundDevice {
  readonly provider: RdmaProvider;
  readonly info: DeviceInfo;
}

/** In the order in which a device is looked for. `options`: of software iWARP. */
export function providers(options: IwarpOptions = {}): readonly RdmaProvider[] {
  return [new IwarpProvider(options), ...adapterProviders()];
}

/** Each is there once, so that who has opened a device of it finds it again. */
const ADAPTERS: readonly RdmaProvider[] = [new NativeProvider()];

/** Those of whose devices each has addresses and ports of its own, while software iWARP works on every connection of TCP. */
export function adapterProviders(): readonly RdmaProvider[] {
  return ADAPTERS;
}

/** The devices of all usable providers, those of one provider together. */
export async function listDevices(from: readonly RdmaProvider[] = providers()): Promise<FoundDevice[]> {
  const usable = from.filter((provider) => provider.probe().isUsable);
  const found = await Promise.all(
    usable.map(async (provider) => (await provider.devices()).map((info) => ({ provider, info }))),
  );
  return found.flat();
}

/**
 * The device called `name`, or the first one that there is. Where two providers have a device of that name,
 * `PROVIDER/NAME` tells them apart.
 *
 * @throws RiserError `RDMA_DEVICE_MISSING`, `RDMA_DEVICE_AMBIGUOUS`
 */
export async function findDevice(
  name: string | undefined,
  from: readonly RdmaProvider[] = providers(),
): Promise<FoundDevice> {
  const all = await listDevices(from);
  const found = name === undefined ? all.slice(0, 1) : all.filter((device) => isCalled(device, name));
  if (found.length === 1) return found[0]!;
  if (found.length > 1) {
    const names = found.map((device) => `"${fullName(device)}"`).join(' and ');
    throw new RiserError('RDMA_DEVICE_AMBIGUOUS', `"${name}" may be ${names}`, {
      by: 'local',
      costs: 'process',
      remedy: 'Write the name in full.',
    });
  }
  const what = name === undefined ? 'no RDMA device' : `no RDMA device "${name}"`;
  throw new RiserError('RDMA_DEVICE_MISSING', `there is ${what}`, {
    by: 'local',
    costs: 'process',
    remedy: '"riser rdma devices" lists those that are there, and says why others are not.',
  });
}

/** {@link findDevice}, opened. */
export async function openDevice(
  name: string | undefined,
  from: readonly RdmaProvider[] = providers(),
  events?: DeviceEvents,
): Promise<RdmaDevice> {
  const { provider, info } = await findDevice(name, from);
  return provider.open(info.name, events);
}

/** What {@link findDevice} takes for this device and no other: `verbs/mlx5_0`. */
export function fullName({ provider, info }: FoundDevice): string {
  return `${provider.name}/${info.name}`;
}

function isCalled(device: FoundDevice, name: string): boolean {
  return device.info.name === name || fullName(device) === name;
}
