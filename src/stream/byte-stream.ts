/**
 * A connected byte stream as a protocol sees it: pull bytes when told that there are some, hand over a
 * queue of bytes to send. Implemented by {@link NodeStream} on Node's sockets and, where foreign
 * functions are available, by {@link PolledStream} on the socket's descriptor.
 *
 * `Owner` is whatever wants to know when the last of its bytes are gone.
 */

import type { Memory, ScatterList } from '../util/memory.js';
import type { SendQueue } from './send-queue.js';

/**
 * Bytes of a message that are still to come, from which on they are read straight to their place. Fewer come along with what is
 * behind them: a copy costs less than a read of their own.
 */
export const DIRECT_FROM = 8192;

export interface ByteStreamEvents<Owner> {
  /** There is something to read: call `read` until it returns less than was asked for. */
  readable(): void;
  /** The last byte of `owner` has been taken by the kernel, or never will be. */
  released(owner: Owner): void;
  /** The stream has ended; null for an orderly end by either side. Called once. */
  closed(error: Error | null): void;
}

export interface ByteStream<Owner extends object> {
  /**
   * Who reads. It may change at any time, also within `readable` or while paused: the new one is told of whatever the old one
   * has not read.
   */
  events: ByteStreamEvents<Owner>;
  /** It has ended: what is released from now on has not left. */
  readonly isClosed: boolean;
  /** What is to be sent. Fill it, then call `flush`. */
  readonly queue: SendQueue<Owner>;
  /** The next byte, which stays to be read; -1 when there is none now. For whoever decides who is to read. */
  peekByte(): number;
  /** Bytes put into `region` at `offset`, at most `length`; 0 when there are none now. */
  read(region: Memory, offset: number, length: number): number;
  /** The same into the parts of `list`, one after the other. */
  readList(list: ScatterList): number;
  /** Send as much of the queue as goes; the rest follows by itself. */
  flush(): void;
  /** The same, but it may wait until other answers that are about to be queued can go along. */
  flushSoon(): void;
  /**
   * Stop reading: `read` gives nothing and `readable` does not come until {@link resume}. For a reader that
   * cannot take what its peer sends; TCP then holds the peer back.
   */
  pause(): void;
  /** `readable` comes later, never from within this call. */
  resume(): void;
  /** Close once the queue is sent. */
  end(): void;
  /** Close at once. */
  destroy(error: Error | null): void;
}
