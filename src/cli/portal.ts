/** Portals as people write them: `127.0.0.1:3260`, `[::1]:3260`. */

import { isIP, isIPv6 } from 'node:net';
import { usageError } from './failure.js';

/** The port that IANA assigned to iSCSI (RFC 7143 13). */
export const ISCSI_PORT = 3260;

/** Where a server listens. */
export interface Portal {
  /** An IPv4 or IPv6 address, without brackets. */
  address: string;
  /** 0 lets the system choose one. */
  port: number;
}

/** Where a server listens unless told: on this machine only, because nobody is authenticated unless told. */
export const DEFAULT_PORTAL: Portal = { address: '127.0.0.1', port: ISCSI_PORT };

const REMEDY = 'Write ADDRESS or ADDRESS:PORT, an IPv6 address in brackets: 192.0.2.1:3260, [::1]:3260.';
const PORTAL = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/;

/**
 * A portal from its text; without a port it is 3260.
 *
 * @throws RiserError `USAGE`
 */
export function parsePortal(text: string): Portal {
  if (isIPv6(text)) return { address: text, port: ISCSI_PORT };
  const match = PORTAL.exec(text);
  const address = match?.[1] ?? match?.[2] ?? '';
  if (isIP(address) === 0) throw usageError(`"${text}" is not a portal`, REMEDY);
  if (match?.[1] !== undefined && !isIPv6(address)) throw usageError(`"${text}" is not a portal`, REMEDY);
  const port = Number(match?.[3] ?? ISCSI_PORT);
  if (port > 65535) throw usageError(`"${text}" is not a portal: ports end at 65535`, REMEDY);
  return { address, port };
}

export function formatPortal({ address, port }: Portal): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Whether only programs of this machine reach it. */
export function isLoopback({ address }: Portal): boolean {
  return address.startsWith('127.') || address === '::1';
}
