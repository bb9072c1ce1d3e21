/** The Datamover over TCP. */

import type { Socket } from 'node:net';
import { openStream } from '../../stream/index.js';
import type { Datamover, DatamoverEvents } from '../datamover.js';
import { TcpDatamover } from './tcp-datamover.js';

/** A Datamover for an accepted connection. It owns the socket from now on. */
export function openTcpDatamover(socket: Socket, events: DatamoverEvents): Datamover {
  return new TcpDatamover(openStream(socket), events);
}
