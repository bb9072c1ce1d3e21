/**
 * One connection to a server in its transmission phase: sends {@link Part}s, and knows which of them have no answer
 * yet. A server that breaks the rules ends the connection with an error `NBD_PROTOCOL`.
 */

import type { ByteStream, ByteStreamEvents } from '../../stream/index.js';
import { violation } from '../errors.js';
import { Cmd, ErrorCode, Request, REQUEST_LENGTH, REQUEST_MAGIC } from '../wire.js';
import type { Export } from './handshake.js';
import type { Part } from './part.js';
import { type ReplyOwner, ReplyReader } from './reply-reader.js';

/** Requests in flight on one connection; servers work at some dozens at most. */
const MOST_IN_FLIGHT = 64;

export interface ConnectionEvents {
  /** The reply to `part` is whole; see its `error`. */
  answered(connection: ClientConnection, part: Part): void;
  /** The connection is gone; {@link ClientConnection.takeBack} gives what was in flight. */
  lost(connection: ClientConnection, error: Error): void;
}

const request = Buffer.alloc(REQUEST_LENGTH);

export class ClientConnection implements ByteStreamEvents<Part>, ReplyOwner {
  readonly export: Export;
  /** Requests without an answer. */
  inFlight = 0;
  /** Whether the server has answered anything yet. */
  hasAnswered = false;
  readonly #stream: ByteStream<Part>;
  readonly #events: ConnectionEvents;
  readonly #replies: ReplyReader;
  readonly #slots: (Part | null)[] = new Array<Part | null>(MOST_IN_FLIGHT).fill(null);
  readonly #freeSlots: number[] = Array.from({ length: MOST_IN_FLIGHT }, (_, i) => i);
  #serial = 0;
  #isRetired = false;
  #isClosed = false;
  #error: Error | null = null;

  /** `stream` has come through the handshake with `found`; blocks have `blockSize` bytes. */
  constructor(stream: ByteStream<Part>, found: Export, blockSize: number, events: ConnectionEvents) {
    this.#stream = stream;
    this.export = found;
    this.#events = events;
    this.#replies = new ReplyReader(stream, found, blockSize, this);
    stream.events = this;
  }

  get hasRoom(): boolean {
    return this.#freeSlots.length > 0;
  }

  /** Send a request; there must be room. */
  send(part: Part, now: number): void {
    const slot = this.#freeSlots.pop()!;
    this.#slots[slot] = part;
    this.inFlight++;
    this.#serial = (this.#serial + 1) >>> 0;
    part.prepare();
    part.serial = this.#serial;
    part.sentAt = now;
    this.#queueRequest(part.type, part.flags, part.serial, slot, part.offset, part.length);
    if (part.type === Cmd.WRITE) this.#stream.queue.pushList(part.data, part.position, part.length, part);
    this.#stream.flushSoon();
  }

  /** When the request that waits longest was sent; Infinity when none waits. */
  oldest(): number {
    let oldest = Infinity;
    for (const part of this.#slots) {
      if (part !== null && part.sentAt < oldest) oldest = part.sentAt;
    }
    return oldest;
  }

  /** Give up what is in flight, after the connection was lost. */
  takeBack(): Part[] {
    const parts: Part[] = [];
    this.#slots.forEach((part, slot) => {
      if (part === null) return;
      parts.push(part);
      this.#slots[slot] = null;
    });
    this.inFlight = 0;
    return parts;
  }

  /** Disconnect when the answers to what is in flight are there; nothing more is sent. */
  retire(): void {
    this.#isRetired = true;
    if (this.inFlight === 0) this.disconnect();
  }

  /** Say good-bye. */
  disconnect(): void {
    if (this.#isClosed) return;
    this.#queueRequest(Cmd.DISC, 0, 0, 0, 0, 0);
    this.#stream.end();
  }

  /** Break the connection off. */
  destroy(error: Error): void {
    this.#error ??= error;
    this.#stream.destroy(null);
  }

  // ---- called by the stream ----

  readable(): void {
    try {
      while (!this.#isClosed && this.#replies.proceed());
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  released(part: Part): void {
    part.isSent = true;
    if (!part.isReplied) return;
    // The answer was there before all of the data was gone. If the end of the connection is what released
    // the data, the part will be taken back.
    setImmediate(() => {
      if (!this.#isClosed) this.#end(part, this.#slots.indexOf(part));
    });
  }

  closed(error: Error | null): void {
    this.#isClosed = true;
    this.#events.lost(this, this.#error ?? error ?? new Error('the server closed the connection'));
  }

  // ---- called by the reader of replies ----

  /** @internal */
  find(serial: number, slot: number): Part {
    const part = slot < MOST_IN_FLIGHT ? this.#slots[slot]! : null;
    if (part?.serial !== serial || part.isReplied) {
      throw violation('the server answers a request that nobody sent');
    }
    return part;
  }

  /** @internal */
  replied(part: Part, slot: number): void {
    if (part.error === ErrorCode.ESHUTDOWN) {
      // To be asked again: the part stays in flight until the connection is lost, which is now.
      this.#queueRequest(Cmd.DISC, 0, 0, 0, 0, 0);
      this.#stream.flush();
      this.destroy(new Error('the server is shutting down'));
      return;
    }
    this.hasAnswered = true;
    part.isReplied = true;
    if (part.isSent) this.#end(part, slot);
  }

  #end(part: Part, slot: number): void {
    this.#slots[slot] = null;
    this.#freeSlots.push(slot);
    this.inFlight--;
    this.#events.answered(this, part);
    if (this.#isRetired && this.inFlight === 0) this.disconnect();
  }

  #queueRequest(
    type: number,
    flags: number,
    cookieHigh: number,
    cookieLow: number,
    offset: number,
    length: number,
  ): void {
    Request.magic.set(request, REQUEST_MAGIC);
    Request.flags.set(request, flags);
    Request.type.set(request, type);
    Request.cookieHigh.set(request, cookieHigh);
    Request.cookieLow.set(request, cookieLow);
    Request.offset.set(request, offset);
    Request.length.set(request, length);
    const { queue } = this.#stream;
    queue.reserve(REQUEST_LENGTH);
    request.copy(queue.region.bytes, queue.offset);
  }
}
