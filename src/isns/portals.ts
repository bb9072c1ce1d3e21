/** From where a server listens to the addresses that others reach it by. */

import { isIPv6 } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';

/** Where a target listens. */
export interface ListeningPortal {
  /** IPv4 or IPv6 address; `0.0.0.0` or `::` for all of the machine. */
  readonly address: string;
  readonly port: number;
  readonly portalGroupTag: number;
}

/** A portal, and an address by which it is reached. */
export interface ReachablePortal {
  readonly portal: ListeningPortal;
  readonly address: string;
}

/**
 * The addresses of `portals`, each with its portal. Those that only this machine reaches are told to a server on this
 * machine alone, and for a wildcard only where it has no others.
 *
 * @param local our end of the connection to the server
 * @param interfaces as `networkInterfaces` of node:os tells them
 */
export function reachablePortals(
  portals: readonly ListeningPortal[],
  local: string,
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>,
): ReachablePortal[] {
  const all = Object.values(interfaces).flatMap((some) => some ?? []);
  const outward = all.filter(({ address, internal }) => !internal && !isLinkLocal(address));
  const isHere = isLoopback(plain(local));
  const found: ReachablePortal[] = [];
  for (const portal of portals) {
    if (portal.address !== '0.0.0.0' && portal.address !== '::') {
      if (isHere || !isLoopback(portal.address)) found.push({ portal, address: portal.address });
      continue;
    }
    const wantsIpv6 = portal.address === '::';
    const addresses = outward
      .map(({ address }) => address)
      .filter((address) => isIPv6(address) === wantsIpv6);
    if (addresses.length === 0 && isIPv6(plain(local)) === wantsIpv6) addresses.push(plain(local));
    for (const address of addresses) found.push({ portal, address });
  }
  return found;
}

/** IPv4 as IPv4, where a socket of both families tells it as IPv6. */
function plain(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

/** An address that means nothing without the name of an interface. */
function isLinkLocal(address: string): boolean {
  return /^fe[89ab]/i.test(address);
}
