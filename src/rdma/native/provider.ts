/** Adapters, and the kernel's RDMA devices in software, by libibverbs and librdmacm. */

import { networkInterfaces } from 'node:os';

import { RiserError } from '../../util/errors.js';
import type { DeviceEvents, DeviceInfo, Probe, RdmaProvider } from '../verbs.js';
import { PORT_STATES } from './constants.js';
import { NativeDevice } from './device.js';
import { errnoName, messageOf } from './errors.js';
import { addon, probe } from './library.js';

const NAME = 'verbs';

export class NativeProvider implements RdmaProvider {
  readonly name = NAME;

  probe(): Probe {
    return probe();
  }

  devices(): Promise<readonly DeviceInfo[]> {
    if (!probe().isUsable) return Promise.resolve([]);
    // librdmacm opens every device for itself, and rdma_rxe and siw stay until it closes them.
    addon().forgetGoneDevices();
    const addresses = addressesByDevice();
    return Promise.resolve(
      addon()
        .deviceNames()
        .map((name) => infoOf(name, addresses.get(name) ?? [])),
    );
  }

  open(name: string, events: DeviceEvents = {}): Promise<NativeDevice> {
    try {
      return Promise.resolve(new NativeDevice(name, events));
    } catch (cause) {
      return Promise.reject(openError(name, cause));
    }
  }
}

function openError(name: string, cause: unknown): RiserError {
  const isMissing = errnoName(cause) === null || errnoName(cause) === 'ENODEV';
  const why = isMissing ? `there is no RDMA device "${name}"` : `the RDMA device "${name}" cannot be opened`;
  return new RiserError('RDMA_DEVICE_MISSING', `${why}: ${messageOf(cause)}`, {
    by: 'local',
    costs: 'task',
    cause,
    remedy: '"riser rdma devices" lists those that are there.',
  });
}

function infoOf(name: string, addresses: readonly string[]): DeviceInfo {
  const handle = new (addon().Device)(name);
  try {
    const { state, isEthernet } = handle.port(1);
    const transport = handle.attributes().isIwarp ? 'iWARP' : isEthernet ? 'RoCE' : 'InfiniBand';
    return { name, transport, state: PORT_STATES[state] ?? `state ${state}`, addresses };
  } finally {
    handle.close();
  }
}

/** Which device the connection manager takes for each of this machine's addresses. */
function addressesByDevice(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  const channel = new (addon().EventChannel)();
  for (const all of Object.values(networkInterfaces())) {
    for (const { address, scopeid } of all ?? []) {
      // Links' own addresses need a scope to be told apart.
      if (scopeid !== undefined && scopeid !== 0) continue;
      const id = new (addon().ConnectionId)(channel, 0);
      try {
        id.bind(address, 0);
        const device = id.device();
        if (device !== null) found.set(device, [...(found.get(device) ?? []), address]);
      } catch {
        // No device has it.
      } finally {
        id.close();
      }
    }
  }
  channel.close();
  return found;
}
