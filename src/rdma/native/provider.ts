/** Adapters, and the kernel's RDMA devices in software, by libibverbs and librdmacm. */

import { RiserError } from '../../util/errors.js';
import type { DeviceEvents, DeviceInfo, Probe, RdmaProvider } from '../verbs.js';
import { addressesByDevice } from './addresses.js';
import { NativeDevice } from './device.js';
import { errnoName, messageOf } from './errors.js';
import { addon, probe } from './library.js';
import { infoOf } from './ports.js';

const NAME = 'verbs';

export class NativeProvider implements RdmaProvider {
  readonly name = NAME;
  /** What is known of those that are there, until something of it may have changed. */
  readonly #known = new Map<string, DeviceInfo>();

  probe(): Probe {
    return probe();
  }

  devices(): Promise<readonly DeviceInfo[]> {
    if (!probe().isUsable) return Promise.resolve([]);
    // librdmacm opens every device for itself, and rdma_rxe and siw stay until it closes them.
    addon().forgetGoneDevices();
    const addresses = addressesByDevice();
    const names = addon().deviceNames();
    for (const name of this.#known.keys()) if (!names.includes(name)) this.#known.delete(name);
    return Promise.resolve(names.map((name) => this.#infoOf(name, addresses.get(name) ?? [])));
  }

  /**
   * To ask a port for its state makes a line in the kernel's log where a network card does not tell its speed. So it is asked when
   * the device is new, or its addresses have changed, which those of an interface do when it goes down or up, or it has told so.
   */
  #infoOf(name: string, addresses: readonly string[]): DeviceInfo {
    const known = this.#known.get(name);
    const isSame = known?.addresses.join() === addresses.join();
    if (known !== undefined && isSame && (known.state === 'ACTIVE' || addresses.length === 0)) return known;
    const info = infoOf(name, addresses);
    this.#known.set(name, info);
    return info;
  }

  open(name: string, events: DeviceEvents = {}): Promise<NativeDevice> {
    const portChanged = (isActive: boolean): void => {
      this.#known.delete(name);
      events.portChanged?.(isActive);
    };
    try {
      return Promise.resolve(new NativeDevice(name, { ...events, portChanged }));
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
