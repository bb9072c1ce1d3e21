/** The Datamover over TCP, on the best byte stream that this machine offers. */

import type { Socket } from 'node:net';
import { cpus } from 'node:os';
import { libc } from '../../util/posix/libc.js';
import type {
  DatamoverEvents,
  InitiatorDatamover,
  TargetDatamover,
  TargetDatamoverEvents,
} from '../datamover.js';
import type { ByteStream } from './byte-stream.js';
import { NodeStream } from './node-stream.js';
import { PolledStream, tcpHandleOf } from './polled-stream.js';
import { Poller } from './poller.js';
import { TargetTcpDatamover } from './target-datamover.js';
import { InitiatorTcpDatamover } from './initiator-datamover.js';

/**
 * All connections of the process take turns in one poller. What counts is whether a client can run beside
 * it: processors of the machine, not those that this process is pinned to.
 */
const poller = libc === null ? null : new Poller(libc, cpus().length > 1);

/** The target's Datamover for a connection that was accepted. It owns the socket from now on. */
export function acceptTcp(socket: Socket, events: TargetDatamoverEvents): TargetDatamover {
  return new TargetTcpDatamover(streamOf(socket), events);
}

/** The initiator's Datamover for a connection that was made. It owns the socket from now on. */
export function connectTcp(socket: Socket, events: DatamoverEvents): InitiatorDatamover {
  return new InitiatorTcpDatamover(streamOf(socket), events);
}

function streamOf(socket: Socket): ByteStream {
  if (libc === null || poller === null) return new NodeStream(socket);
  const handle = tcpHandleOf(socket);
  return handle === null ? new NodeStream(socket) : new PolledStream(socket, handle, libc, poller);
}
