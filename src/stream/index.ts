/** Byte streams over sockets: the contract, and the best implementation that this machine offers. */

import type { Socket } from 'node:net';
import { cpus } from 'node:os';
import { libc } from '../util/posix/libc.js';
import type { ByteStream } from './byte-stream.js';
import { NodeStream } from './node-stream.js';
import { PolledStream, tcpHandleOf } from './polled-stream.js';
import { Poller } from './poller.js';

export { type ByteStream, type ByteStreamEvents, DIRECT_FROM } from './byte-stream.js';
export { dial } from './dial.js';
export { SendQueue } from './send-queue.js';

/**
 * All connections of the process take turns in one poller. What counts is whether a client can run beside
 * it: processors of the machine, not those that this process is pinned to.
 */
const poller = libc === null ? null : new Poller(libc, cpus().length > 1);

/** A stream on a connected socket, which it owns from now on. Set its `events` at once. */
export function openStream<Owner extends object>(socket: Socket): ByteStream<Owner> {
  if (libc === null || poller === null) return new NodeStream<Owner>(socket);
  const handle = tcpHandleOf(socket);
  return handle === null
    ? new NodeStream<Owner>(socket)
    : new PolledStream<Owner>(socket, handle, libc, poller);
}
