/**
 * NBD URIs (doc/uri.md of https://github.com/NetworkBlockDevice/nbd): `nbd://host[:port]/export`,
 * `nbd+unix:///export?socket=PATH`. Connections are not encrypted: `nbds` is refused.
 */

import { isIPv6 } from 'node:net';
import { RiserError } from '../util/errors.js';
import { DEFAULT_PORT, MAXIMUM_STRING } from './wire.js';

/** Where an NBD server listens. */
export type NbdAddress =
  | {
      /** Path of its Unix domain socket. */
      socket: string;
    }
  | {
      /** A name or an address; IPv6 without brackets. */
      host: string;
      port: number;
    };

/** An export, and where it is served. */
export interface NbdUri {
  address: NbdAddress;
  /** Empty for the default export. */
  exportName: string;
}

/** Whether `text` looks like an NBD URI, right or wrong, rather than like a file name. */
export function isNbdUri(text: string): boolean {
  return /^nbds?(\+[a-z]+)?:/i.test(text);
}

/** @throws RiserError `NBD_URI` */
export function parseNbdUri(text: string): NbdUri {
  const parts = /^([a-z+]+):(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?$/i.exec(text);
  if (parts === null) throw wrong(text, 'is not an NBD URI');
  const [, scheme = '', authority = '', path = '', query = ''] = parts;
  const exportName = decoded(text, path.replace(/^\//, ''));
  if (Buffer.byteLength(exportName) > MAXIMUM_STRING || exportName.includes('\0')) {
    throw wrong(text, 'names an impossible export');
  }
  const parameters = parametersOf(text, query);
  switch (scheme.toLowerCase()) {
    case 'nbd':
      if (parameters.size > 0) throw wrong(text, 'has a parameter that is not known');
      return { address: parseAuthority(text, authority), exportName };
    case 'nbd+unix': {
      const socket = parameters.get('socket');
      if (socket === undefined || socket === '') throw wrong(text, 'lacks the parameter socket');
      if (parameters.size > 1) throw wrong(text, 'has a parameter that is not known');
      if (authority !== '') throw wrong(text, 'has a host beside a Unix domain socket');
      return { address: { socket }, exportName };
    }
    case 'nbds':
    case 'nbds+unix':
      throw wrong(text, 'asks for TLS, which is not supported');
    default:
      throw wrong(text, 'has a scheme that is not known');
  }
}

export function formatNbdUri({ address, exportName }: NbdUri): string {
  const path = encodeURIComponent(exportName);
  if ('socket' in address) {
    return `nbd+unix:///${path}?socket=${address.socket.split('/').map(encodeURIComponent).join('/')}`;
  }
  const host = isIPv6(address.host) ? `[${address.host}]` : address.host;
  return `nbd://${host}${address.port === DEFAULT_PORT ? '' : `:${address.port}`}/${path}`;
}

function parseAuthority(text: string, authority: string): NbdAddress {
  const parts = /^(?:\[([0-9a-f:.]+)\]|([^:@[\]]+))(?::(\d{1,5}))?$/i.exec(authority);
  const host = parts?.[1] ?? parts?.[2];
  if (host === undefined) throw wrong(text, 'lacks a host');
  const port = parts?.[3] === undefined ? DEFAULT_PORT : Number(parts[3]);
  if (port < 1 || port > 65535) throw wrong(text, `has the impossible port ${port}`);
  if (parts?.[1] !== undefined && !isIPv6(host)) throw wrong(text, 'has no IPv6 address in its brackets');
  return { host: decoded(text, host), port };
}

function parametersOf(text: string, query: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const parameter of query === '' ? [] : query.split('&')) {
    const at = parameter.indexOf('=');
    if (at < 0) throw wrong(text, 'has a parameter without a value');
    parameters.set(decoded(text, parameter.slice(0, at)), decoded(text, parameter.slice(at + 1)));
  }
  return parameters;
}

function decoded(text: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw wrong(text, 'has a % that begins no character');
  }
}

function wrong(text: string, problem: string): RiserError {
  return new RiserError('NBD_URI', `${text} ${problem}`, {
    by: 'local',
    costs: 'process',
    remedy: 'Write nbd://host[:port]/export, or nbd+unix:///export?socket=PATH.',
  });
}
