/** Makes TCP connections to portals. */

import type { Socket } from 'node:net';
import { dial } from '../stream/index.js';
import { RiserError } from '../util/errors.js';
import type { PortalAddress } from './url.js';

/**
 * A connected socket.
 *
 * @throws RiserError `CONNECT` when there is nobody, or nobody answers within `timeoutMs` milliseconds; the
 * signal's reason when it is aborted
 */
export function dialPortal(
  { host, port }: PortalAddress,
  timeoutMs: number,
  signal: AbortSignal | null,
): Promise<Socket> {
  return dial(host, port, timeoutMs, signal, (cause) => {
    if (cause === null)
      return refused(`${host} port ${port} does not answer within ${timeoutMs / 1000} s`, null);
    return refused(`cannot connect to ${host} port ${port}: ${reasonOf(cause)}`, cause);
  });
}

function refused(message: string, cause: unknown): RiserError {
  return new RiserError('CONNECT', message, {
    by: 'peer',
    costs: 'session',
    cause,
    remedy: 'Check address and port (3260 unless told otherwise), and that the target is running.',
  });
}

function reasonOf(cause: NodeJS.ErrnoException): string {
  switch (cause.code) {
    case 'ECONNREFUSED':
      return 'nobody listens there';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'there is no such host';
    default:
      return cause.message === '' ? (cause.code ?? 'unknown error') : cause.message;
  }
}
