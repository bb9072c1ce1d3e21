/** Addresses of this machine, and which RDMA device the connection manager takes for each: the first one on the address's interface. */

import { networkInterfaces } from 'node:os';

import { errnoName } from './errors.js';
import { addon } from './library.js';

/** Of interfaces that are up; one that is local to a link with its interface. */
export function localAddresses(): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, all]) =>
    (all ?? []).map(({ address, scopeid }) =>
      scopeid === undefined || scopeid === 0 ? address : `${address}%${name}`,
    ),
  );
}

/** Those of {@link localAddresses} that devices have, by the devices' names. */
export function addressesByDevice(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  bindEach(localAddresses(), (address, device) => {
    if (device !== null) found.set(device, [...(found.get(device) ?? []), address]);
  });
  return found;
}

/** Those of `addresses` that no RDMA device of this machine has any more. An interface may be down and keep its addresses. */
export function goneAddresses(addresses: Iterable<string>): Set<string> {
  const gone = new Set<string>();
  bindEach(addresses, (address, _device, error) => {
    if (error === 'EADDRNOTAVAIL' || error === 'ENODEV') gone.add(address);
  });
  return gone;
}

function bindEach(
  addresses: Iterable<string>,
  found: (address: string, device: string | null, error: string | null) => void,
): void {
  const channel = new (addon().EventChannel)();
  try {
    for (const address of addresses) {
      const id = new (addon().ConnectionId)(channel, 0);
      try {
        id.bind(address, 0);
        found(address, id.device(), null);
      } catch (error) {
        found(address, null, errnoName(error));
      } finally {
        id.close();
      }
    }
  } finally {
    channel.close();
  }
}
