/**
 * A connected byte stream as the TCP Datamover sees it: pull bytes when told that there are some,
 * hand over a queue of bytes to send. Implemented by {@link NodeStream} on Node's sockets and, where
 * foreign functions are available, by {@link PolledStream} on the socket's descriptor.
 */

import type { Memory } from '../../util/memory.js';
import type { DataTransfer } from '../datamover.js';
import type { SendQueue } from './send-queue.js';

export interface ByteStreamEvents {
  /** There is something to read: call `read` until it returns less than was asked for. */
  readable(): void;
  /** A transfer's last byte has been taken by the kernel, or never will be. */
  released(owner: DataTransfer): void;
  /** The stream has ended; null for an orderly end by either side. Called once. */
  closed(error: Error | null): void;
}

export interface ByteStream {
  events: ByteStreamEvents;
  /** What is to be sent. Fill it, then call `flush`. */
  readonly queue: SendQueue;
  /** Bytes put into `region` at `offset`, at most `length`; 0 when there are none now. */
  read(region: Memory, offset: number, length: number): number;
  /** Send as much of the queue as goes; the rest follows by itself. */
  flush(): void;
  /** The same, but it may wait until other answers that are about to be queued can go along. */
  flushSoon(): void;
  /** Close once the queue is sent. */
  end(): void;
  /** Close at once. */
  destroy(error: Error | null): void;
}
