/** The Datamover over TCP, for either role. */

import type { Socket } from 'node:net';
import { type ByteStream, openStream } from '../../stream/index.js';
import type { DatamoverEvents, DataTransfer, TargetDatamoverEvents } from '../datamover.js';
import { InitiatorTcpDatamover } from './initiator-datamover.js';
import { TargetTcpDatamover } from './target-datamover.js';

/** The target's Datamover for a connection that was accepted. It owns the stream from now on. */
export function acceptTcp(
  stream: ByteStream<DataTransfer>,
  events: TargetDatamoverEvents,
): TargetTcpDatamover {
  return new TargetTcpDatamover(stream, events);
}

/** The initiator's Datamover for a connection that was made. It owns the socket from now on. */
export function connectTcp(socket: Socket, events: DatamoverEvents): InitiatorTcpDatamover {
  return new InitiatorTcpDatamover(openStream(socket), events);
}
