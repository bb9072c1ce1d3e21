/** From an address to a connection in its transmission phase. */

import net from 'node:net';
import { openStream } from '../../stream/index.js';
import { RiserError } from '../../util/errors.js';
import { DialogueRunner } from '../dialogue.js';
import { violation } from '../errors.js';
import type { NbdAddress } from '../uri.js';
import { ClientConnection, type ConnectionEvents } from './connection.js';
import { negotiate, type Export } from './handshake.js';
import type { Part } from './part.js';

export interface ConnectOptions {
  address: NbdAddress;
  exportName: string;
  /** Milliseconds for all of it. */
  timeout: number;
  /** Looks at the export before the connection is used: gives the block size, or throws. */
  accept: (found: Export) => number;
  events: ConnectionEvents;
}

/**
 * @throws RiserError `NBD_UNREACHABLE` when nobody answers, `NBD_TIMEOUT`, `NBD_REFUSED`, `NBD_PROTOCOL`, and what
 *   `accept` throws
 */
export function connect(options: ConnectOptions): Promise<ClientConnection> {
  const { address, exportName, timeout, accept, events } = options;
  return new Promise((resolve, reject) => {
    const socket = net.connect(
      'socket' in address ? { path: address.socket } : { ...address, noDelay: true },
    );
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(error);
    };
    const timer = setTimeout(() => {
      fail(failure('NBD_TIMEOUT', `the server did not finish its handshake within ${timeout / 1000} s`));
    }, timeout);
    const unreachable = (error: Error): void => {
      fail(failure('NBD_UNREACHABLE', `the server cannot be reached: ${error.message}`, error));
    };
    socket.once('error', unreachable);
    socket.once('connect', () => {
      socket.off('error', unreachable);
      const stream = openStream<Part>(socket);
      const dialogue = negotiate(exportName, (bytes) => {
        stream.queue.reserve(bytes.length);
        stream.queue.region.bytes.set(bytes, stream.queue.offset);
        stream.flush();
      });
      const runner = new DialogueRunner(stream, dialogue, (found) => {
        const blockSize = accept(found);
        clearTimeout(timer);
        resolve(new ClientConnection(stream, found, blockSize, events));
      });
      stream.events = {
        readable: () => {
          try {
            runner.readable();
          } catch (error) {
            fail(error as Error);
          }
        },
        released: () => undefined,
        closed: (error) => {
          fail(error ?? violation('the server closed the connection during the handshake'));
        },
      };
    });
  });
}

function failure(code: string, message: string, cause?: Error): RiserError {
  return new RiserError(code, message, { by: 'peer', costs: 'connection', ...(cause && { cause }) });
}
