/** Makes TCP connections. */

import { connect, type Socket } from 'node:net';

/**
 * A connected socket.
 *
 * @throws what `failure` makes of its cause, which is null when nobody answers within `timeoutMs` milliseconds; the
 * signal's reason when it is aborted
 */
export function dial(
  host: string,
  port: number,
  timeoutMs: number,
  signal: AbortSignal | null,
  failure: (cause: NodeJS.ErrnoException | null) => Error,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.removeAllListeners();
    };
    const fail = (error: Error): void => {
      settle();
      // Whatever still comes of it is of no interest.
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => {
      fail(signal!.reason as Error);
    };
    const timer = setTimeout(() => {
      fail(failure(null));
    }, timeoutMs);
    socket.once('error', (cause) => {
      fail(failure(cause));
    });
    socket.once('connect', () => {
      settle();
      resolve(socket);
    });
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
