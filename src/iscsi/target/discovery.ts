/** SendTargets (RFC 7143 Appendix C): which targets there are, and at which addresses. */

import { receiveIscsiName } from '../names.js';
import type { TextPair } from '../wire/text.js';

/** Where a target listens. */
export interface DiscoveryPortal {
  /** Address without brackets; `0.0.0.0` or `::` for all addresses of the machine. */
  readonly address: string;
  readonly port: number;
  /** 0-65535, unique within the target (RFC 7143 13.9). */
  readonly portalGroupTag: number;
}

/** A target that the asking initiator may use. */
export interface DiscoverableTarget {
  /** Normalised. */
  readonly name: string;
  readonly portals: readonly DiscoveryPortal[];
}

/** The session that asks. */
export interface DiscoveryContext {
  /** Name of the target that the session is logged in to; null in an unnamed discovery session. */
  readonly targetName: string | null;
  readonly isDiscovery: boolean;
  /** This end of the connection: the address by which the initiator reaches the machine. */
  readonly localAddress: string;
}

/**
 * The answer to SendTargets=`value`: a record for each target, TargetName and then its TargetAddress pairs;
 * empty if there is nothing to tell. Null if this session may not ask that: All in a normal session, nothing
 * in an unnamed discovery session, or what is no name.
 *
 * @example
 * answerSendTargets('All', targets, { targetName: null, isDiscovery: true, localAddress: '192.0.2.1' });
 * // [{ key: 'TargetName', value: 'iqn...' }, { key: 'TargetAddress', value: '192.0.2.1:3260,1' }]
 */
export function answerSendTargets(
  value: string,
  targets: readonly DiscoverableTarget[],
  context: DiscoveryContext,
): TextPair[] | null {
  const wanted = select(value, context);
  if (wanted === null) return null;
  const pairs: TextPair[] = [];
  for (const target of targets) {
    if (wanted !== ALL && target.name !== wanted) continue;
    pairs.push({ key: 'TargetName', value: target.name });
    for (const address of addressesOf(target, context.localAddress)) {
      pairs.push({ key: 'TargetAddress', value: address });
    }
  }
  return pairs;
}

const ALL = 'All';

/** The name asked for, or All; null if that may not be asked. */
function select(value: string, { targetName, isDiscovery }: DiscoveryContext): string | null {
  // "MUST NOT be supported on an operational session"
  if (value === ALL) return isDiscovery ? ALL : null;
  if (value === '') return targetName;
  const name = receiveIscsiName(value);
  if (name === null || !/^(iqn|eui|naa)\./.test(name)) return null;
  // An operational session learns about its own target only.
  return isDiscovery || name === targetName ? name : null;
}

function addressesOf(target: DiscoverableTarget, localAddress: string): Set<string> {
  const addresses = new Set<string>();
  for (const { address, port, portalGroupTag } of target.portals) {
    const reachable = reachableAddress(address, localAddress);
    if (reachable !== null) addresses.add(`${formatPortal(reachable, port)},${portalGroupTag}`);
  }
  return addresses;
}

/** A wildcard becomes the address that the initiator itself has used; null if that is of the other family. */
function reachableAddress(address: string, localAddress: string): string | null {
  const local = plainAddress(localAddress);
  if (address === '::') return local;
  if (address === '0.0.0.0') return isIPv6(local) ? null : local;
  return address;
}

/** An address as people write it: an IPv4 address that a dual-stack socket reports as IPv6 in its own form; no zone, which means nothing to a peer. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return mapped?.[1] ?? address.replace(/%.*$/, '');
}

/** Of an IP address, or a host name: only IPv6 addresses have colons. */
const isIPv6 = (address: string): boolean => address.includes(':');

/** `host:port` as a TargetAddress has it, IPv6 in brackets (RFC 7143 13.8). */
export function formatPortal(address: string, port: number): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}
