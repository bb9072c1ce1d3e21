/** TCP under software iWARP: where connections come from, and what is known of them. */

import type { Socket } from 'node:net';
import { type ByteStream, type ByteStreamEvents, dial, openStream } from '../../stream/index.js';
import { RiserError } from '../../util/errors.js';
import type { Message } from './message.js';
import { misuse } from '../misuse.js';

/** What iWARP has to know of a TCP connection. */
export interface StreamInfo {
  readonly localAddress: string;
  readonly remoteAddress: string;
  /** Both ends are on this machine. */
  readonly isLocal: boolean;
}

/** Of a socket that is connected. */
export function infoOf(socket: Socket): StreamInfo {
  const localAddress = socket.localAddress ?? '';
  const remoteAddress = socket.remoteAddress ?? '';
  return { localAddress, remoteAddress, isLocal: localAddress === remoteAddress };
}

/** A TCP connection, and what is known of it. */
export interface OpenStream {
  readonly stream: ByteStream<Message>;
  readonly info: StreamInfo;
}

/** Between two users of a stream; the second sees by itself that it has ended. */
const nobody: ByteStreamEvents<Message> = {
  readable: () => undefined,
  released: () => undefined,
  closed: () => undefined,
};

/** Where the active side's TCP connection comes from: of the two one is called, once. */
export interface StreamSource {
  /** `timeout`: milliseconds. */
  open(timeout: number, signal: AbortSignal | null): Promise<OpenStream>;
  /** It is not needed any more. */
  giveUp(): void;
}

/**
 * A connection that is made when it is needed.
 *
 * @throws RiserError from `open`: `RDMA_UNREACHABLE`, `RDMA_TIMEOUT` after `timeout` milliseconds; the signal's reason
 */
export function dialledStream(host: string, port: number): StreamSource {
  return {
    open: async (timeout, signal) => {
      const socket = await dial(host, port, timeout, signal, (cause) =>
        cause === null
          ? failure('RDMA_TIMEOUT', `${host} port ${port} does not answer within ${timeout / 1000} s`, null)
          : failure('RDMA_UNREACHABLE', `cannot connect to ${host} port ${port}: ${cause.message}`, cause),
      );
      const stream = openStream<Message>(socket);
      stream.events = nobody;
      return { stream, info: infoOf(socket) };
    },
    giveUp: () => undefined,
  };
}

/** A connection that is there, and is left alone until it is needed. */
export function givenStream<Owner extends object>(given: ByteStream<Owner>, info: StreamInfo): StreamSource {
  const stream = takenOver(given);
  stream.pause();
  stream.events = nobody;
  return {
    open: () => Promise.resolve({ stream, info }),
    giveUp: () => {
      stream.destroy(null);
    },
  };
}

/**
 * The same stream, for iWARP's messages as owners of what is queued.
 *
 * @throws RiserError `RDMA_MISUSE` when the one before waits to be told of what it has queued
 */
export function takenOver<Owner extends object>(stream: ByteStream<Owner>): ByteStream<Message> {
  if (stream.queue.hasOwners) throw misuse('a stream is handed over before what is queued has been released');
  // The kind of owners shows in the queue and in `events` only: the queue has none, and whoever takes it over sets `events`.
  return stream as unknown as ByteStream<Message>;
}

function failure(code: string, message: string, cause: unknown): RiserError {
  return new RiserError(code, message, {
    by: 'peer',
    costs: 'connection',
    cause,
    remedy: 'Check address and port, and that an RDMA server is listening there.',
  });
}
