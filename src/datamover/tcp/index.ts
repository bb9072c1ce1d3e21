/** The Datamover over TCP, for either role. */

import type { Socket } from 'node:net';
import { openStream } from '../../stream/index.js';
import type {
  DatamoverEvents,
  InitiatorDatamover,
  TargetDatamover,
  TargetDatamoverEvents,
} from '../datamover.js';
import { InitiatorTcpDatamover } from './initiator-datamover.js';
import { TargetTcpDatamover } from './target-datamover.js';

/** The target's Datamover for a connection that was accepted. It owns the socket from now on. */
export function acceptTcp(socket: Socket, events: TargetDatamoverEvents): TargetDatamover {
  return new TargetTcpDatamover(openStream(socket), events);
}

/** The initiator's Datamover for a connection that was made. It owns the socket from now on. */
export function connectTcp(socket: Socket, events: DatamoverEvents): InitiatorDatamover {
  return new InitiatorTcpDatamover(openStream(socket), events);
}
