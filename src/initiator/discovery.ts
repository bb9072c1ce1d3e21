/** What targets there are behind a portal (RFC 7143 4.4.1, appendix C). */

import { receiveIscsiName, type TextPair } from '../iscsi/index.js';
import { RiserError } from '../util/errors.js';
import type { Session } from './session.js';
import type { SessionOptions } from './session-options.js';
import { ISCSI_PORT, type PortalAddress } from './url.js';
import { withSession } from './with-session.js';

/** A portal of a target, and the group it belongs to. */
export interface TargetPortal extends PortalAddress {
  /** Null if the target does not say. */
  readonly portalGroupTag: number | null;
}

export interface DiscoveredTarget {
  readonly name: string;
  readonly portals: readonly TargetPortal[];
}

/**
 * Ask a portal for all targets (SendTargets=All).
 *
 * @throws RiserError as `Session.open` does
 */
export async function discover(options: Omit<SessionOptions, 'targetName'>): Promise<DiscoveredTarget[]> {
  return withSession({ ...options, targetName: null }, discoverBy);
}

/** The same by a discovery session that is open. */
export async function discoverBy(session: Session): Promise<DiscoveredTarget[]> {
  return targetsOf(await session.text([{ key: 'SendTargets', value: 'All' }]), session.portal);
}

/**
 * `asked`: the portal of a target that tells no address of its own (RFC 7143 appendix C).
 *
 * @throws RiserError `TARGET_NAME`, `TARGET_ADDRESS`
 */
export function targetsOf(pairs: readonly TextPair[], asked: PortalAddress): DiscoveredTarget[] {
  const targets: { name: string; portals: TargetPortal[] }[] = [];
  for (const { key, value } of pairs) {
    if (key === 'TargetName') targets.push({ name: targetNameOf(value), portals: [] });
    else if (key === 'TargetAddress') targets.at(-1)?.portals.push(parseTargetAddress(value));
  }
  return targets.map(({ name, portals }) => ({
    name,
    portals: portals.length > 0 ? portals : [{ ...asked, portalGroupTag: null }],
  }));
}

function targetNameOf(text: string): string {
  const name = receiveIscsiName(text);
  if (name !== null) return name;
  const shown = JSON.stringify(text.slice(0, 64));
  throw new RiserError('TARGET_NAME', `the portal tells ${shown} as the name of a target, which is none`, {
    by: 'peer',
    costs: 'session',
  });
}

/**
 * `host[:port][,tag]`, IPv6 in brackets (RFC 7143 13.8).
 *
 * @throws RiserError `TARGET_ADDRESS`
 */
export function parseTargetAddress(text: string): TargetPortal {
  const match = /^(\[[\w:.%-]+\]|[^:,[\]\s\p{C}]+)(?::(\d{1,5}))?(?:,(\d{1,5}))?$/u.exec(text);
  const port = match?.[2] === undefined ? ISCSI_PORT : Number(match[2]);
  if (match === null || port < 1 || port > 65535) {
    const shown = JSON.stringify(text.slice(0, 64));
    throw new RiserError('TARGET_ADDRESS', `the target tells ${shown} as its address, which is none`, {
      by: 'peer',
      costs: 'session',
    });
  }
  const host = match[1]!.replace(/^\[|\]$/g, '');
  return { host, port, portalGroupTag: match[3] === undefined ? null : Number(match[3]) };
}
