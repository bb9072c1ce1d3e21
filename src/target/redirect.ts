/** Where the initiators of a target are sent instead (RFC 7143 11.13.5, Status-Class 1). */

import { isIP, isIPv6 } from 'node:net';
import { formatPortal, LoginStatus } from '../iscsi/index.js';
import { RiserError } from '../util/errors.js';

/** A target that has moved. */
export interface RedirectOptions {
  /** `HOST` or `HOST:PORT`; HOST is a name, an IPv4 address, or an IPv6 address in brackets. Default port: 3260. */
  to: string;
  /** Initiators may go there at once from then on; no by default: they ask here each time. */
  permanent?: boolean;
}

/** {@link RedirectOptions}, checked. */
export interface Redirect {
  readonly status: LoginStatus;
  /** The value of TargetAddress; a redirection has no portal group tag (RFC 7143 13.8). */
  readonly targetAddress: string;
}

const ADDRESS = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/;
const HOST_NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\.?$/i;
const ISCSI_PORT = 3260;

/** @throws RiserError `REDIRECT` */
export function parseRedirect({ to, permanent = false }: RedirectOptions): Redirect {
  const [, inBrackets, plain = '', digits] = ADDRESS.exec(to) ?? [];
  const host = inBrackets ?? plain;
  const port = Number(digits ?? ISCSI_PORT);
  // A link's address with its zone means nothing to another machine; 300.1.1.1 is a mistake, and no name.
  const isAddress = inBrackets === undefined ? isIP(host) === 4 : isIPv6(host) && !host.includes('%');
  const isName = inBrackets === undefined && HOST_NAME.test(host) && !/^[\d.]+$/.test(host);
  if ((!isAddress && !isName) || port < 1 || port > 65535)
    throw new RiserError('REDIRECT', `${JSON.stringify(to)} is neither HOST nor HOST:PORT`, {
      by: 'local',
      costs: 'task',
      remedy: 'Write storage.example.com, 192.0.2.7:3260 or [2001:db8::7]:3260.',
    });
  return {
    status: permanent ? LoginStatus.TARGET_MOVED_PERMANENTLY : LoginStatus.TARGET_MOVED_TEMPORARILY,
    targetAddress: formatPortal(host, port),
  };
}
