/** Makes TCP connections to portals. */

import { connect, type Socket } from 'node:net';
import { RiserError } from '../util/errors.js';
import type { PortalAddress } from './url.js';

/**
 * A connected socket.
 *
 * @throws RiserError `CONNECT` when there is nobody, or nobody answers within `timeoutMs` milliseconds; the
 * signal's reason when it is aborted
 */
export function dial(
  { host, port }: PortalAddress,
  timeoutMs: number,
  signal: AbortSignal | null,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const fail = (error: Error): void => {
      settle();
      socket.destroy();
      reject(error);
    };
    const onError = (cause: NodeJS.ErrnoException): void => {
      fail(refused(`cannot connect to ${host} port ${port}: ${reasonOf(cause)}`, cause));
    };
    const onAbort = (): void => {
      fail(signal!.reason as Error);
    };
    const timer = setTimeout(() => {
      fail(refused(`${host} port ${port} does not answer within ${timeoutMs / 1000} s`, null));
    }, timeoutMs);
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.removeAllListeners();
      // Whatever still comes of it is of no interest.
      socket.on('error', () => undefined);
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      settle();
      socket.removeAllListeners('error');
      resolve(socket);
    });
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
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
