/** TCP under software iWARP: dialling, and what is known of a connection. */

import { connect, type Socket } from 'node:net';
import { type ByteStream, openStream } from '../../stream/index.js';
import { RiserError } from '../../util/errors.js';

export interface StreamInfo {
  readonly localAddress: string;
  readonly remoteAddress: string;
  /** Both ends are on this machine. */
  readonly isLocal: boolean;
}

export function infoOf(socket: Socket): StreamInfo {
  const localAddress = socket.localAddress ?? '';
  const remoteAddress = socket.remoteAddress ?? '';
  return { localAddress, remoteAddress, isLocal: localAddress === remoteAddress };
}

/**
 * A connected stream.
 *
 * @throws RiserError `RDMA_UNREACHABLE`, `RDMA_TIMEOUT` after `timeout` milliseconds; the signal's reason
 */
export function dialStream<Owner extends object>(
  host: string,
  port: number,
  timeout: number,
  signal: AbortSignal | null,
): Promise<{ stream: ByteStream<Owner>; info: StreamInfo }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
      socket.removeAllListeners();
    };
    const fail = (error: Error): void => {
      settle();
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const aborted = (): void => {
      fail(signal!.reason as Error);
    };
    const timer = setTimeout(() => {
      fail(failure('RDMA_TIMEOUT', `${host} port ${port} does not answer within ${timeout / 1000} s`, null));
    }, timeout);
    socket.once('error', (cause) => {
      fail(failure('RDMA_UNREACHABLE', `cannot connect to ${host} port ${port}: ${cause.message}`, cause));
    });
    socket.once('connect', () => {
      settle();
      resolve({ stream: openStream<Owner>(socket), info: infoOf(socket) });
    });
    if (signal?.aborted === true) aborted();
    else signal?.addEventListener('abort', aborted, { once: true });
  });
}

function failure(code: string, message: string, cause: unknown): RiserError {
  return new RiserError(code, message, {
    by: 'peer',
    costs: 'connection',
    cause,
    remedy: 'Check address and port, and that an RDMA server is listening there.',
  });
}
