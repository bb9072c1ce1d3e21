/** TCP under software iWARP: dialling, and what is known of a connection. */

import type { Socket } from 'node:net';
import { type ByteStream, dial, openStream } from '../../stream/index.js';
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
export async function dialStream<Owner extends object>(
  host: string,
  port: number,
  timeout: number,
  signal: AbortSignal | null,
): Promise<{ stream: ByteStream<Owner>; info: StreamInfo }> {
  const socket = await dial(host, port, timeout, signal, (cause) =>
    cause === null
      ? failure('RDMA_TIMEOUT', `${host} port ${port} does not answer within ${timeout / 1000} s`, null)
      : failure('RDMA_UNREACHABLE', `cannot connect to ${host} port ${port}: ${cause.message}`, cause),
  );
  return { stream: openStream<Owner>(socket), info: infoOf(socket) };
}

function failure(code: string, message: string, cause: unknown): RiserError {
  return new RiserError(code, message, {
    by: 'peer',
    costs: 'connection',
    cause,
    remedy: 'Check address and port, and that an RDMA server is listening there.',
  });
}
