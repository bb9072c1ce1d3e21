/** iSNS servers as people write them: `192.0.2.9`, `isns.example.com:3205`, `[::1]:3205`, and URLs of them. */

import { isIPv6 } from 'node:net';
import { ISNS_PORT, type ServerAddress } from '../isns/index.js';
import { usageError } from './failure.js';

const REMEDY =
  'Write HOST or HOST:PORT, an IPv6 address in brackets: isns.example.com, 192.0.2.9:3205, [::1]:3205.';
const SERVER = /^(?:\[([^\]]+)\]|([^\s:/@[\]]+))(?::(\d{1,5}))?$/;
const SCHEME = /^isns:\/\//i;

/** Whether `text` is meant to be a URL of an iSNS server, right or wrong. */
export function isIsnsUrl(text: string): boolean {
  return SCHEME.test(text);
}

/**
 * The server in `isns://HOST[:PORT]`.
 *
 * @throws RiserError `USAGE`
 */
export function parseIsnsUrl(text: string): ServerAddress {
  return parseIsnsServer(text.replace(SCHEME, '').replace(/\/$/, ''));
}

/**
 * The server in `HOST[:PORT]`; without a port it is 3205.
 *
 * @throws RiserError `USAGE`
 */
export function parseIsnsServer(text: string): ServerAddress {
  if (isIPv6(text)) return { host: text, port: ISNS_PORT };
  const match = SERVER.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? ISNS_PORT);
  const isServer =
    host !== undefined && (match?.[1] === undefined || isIPv6(host)) && port >= 1 && port <= 65535;
  if (!isServer) throw usageError(`"${text}" is not an iSNS server`, REMEDY);
  return { host, port };
}
