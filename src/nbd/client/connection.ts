/**
 * One connection to a server in its transmission phase: sends {@link Part}s, and puts what comes back where
 * it belongs. Whatever a server sends is checked before a byte of it is stored; one that breaks the rules
 * ends the connection with an error `NBD_PROTOCOL`.
 */

import type { ByteStream, ByteStreamEvents } from '../../stream/index.js';
import { getU32 } from '../../util/fields.js';
import { violation } from '../errors.js';
import { Receiver } from '../receiver.js';
import {
  BLOCK_STATUS_LENGTH,
  BlockStatusChunk,
  Chunk,
  CHUNK_LENGTH,
  ChunkFlag,
  ChunkType,
  Cmd,
  ERROR_CHUNK_LENGTH,
  ErrorChunk,
  ErrorCode,
  isErrorChunk,
  MAXIMUM_STATUS_DESCRIPTORS,
  MAXIMUM_STRING,
  OFFSET_DATA_LENGTH,
  OFFSET_HOLE_LENGTH,
  OffsetData,
  OffsetHole,
  Request,
  REQUEST_LENGTH,
  REQUEST_MAGIC,
  SIMPLE_REPLY_LENGTH,
  SIMPLE_REPLY_MAGIC,
  SimpleReply,
  State,
  STATUS_DESCRIPTOR_LENGTH,
  StatusDescriptor,
  STRUCTURED_REPLY_MAGIC,
} from '../wire.js';
import type { Export } from './handshake.js';
import type { Part } from './part.js';

/** Requests in flight on one connection; servers work at some dozens at most. */
const MOST_IN_FLIGHT = 64;

/** A structured error has a message and perhaps some numbers behind it. */
const LONGEST_ERROR = ERROR_CHUNK_LENGTH + MAXIMUM_STRING + 64;

/** What comes next. */
const Phase = {
  /** The header of a simple reply, or the first part of that of a chunk. */
  REPLY: 0,
  /** The length of a chunk. */
  CHUNK: 1,
  /** What a chunk begins with. */
  FIXED: 2,
  DATA: 3,
  DESCRIPTORS: 4,
  MESSAGE: 5,
  ERROR_OFFSET: 6,
  SKIP: 7,
} as const;
type Phase = (typeof Phase)[keyof typeof Phase];

export interface ConnectionEvents {
  /** The reply to `part` is whole; see its `error`. */
  answered(connection: ClientConnection, part: Part): void;
  /** The connection is gone; {@link ClientConnection.takeBack} gives what was in flight. */
  lost(connection: ClientConnection, error: Error): void;
}

const request = Buffer.alloc(REQUEST_LENGTH);

export class ClientConnection implements ByteStreamEvents<Part> {
  readonly export: Export;
  /** Requests without an answer. */
  inFlight = 0;
  /** Whether the server has answered anything yet. */
  hasAnswered = false;
  readonly #stream: ByteStream<Part>;
  readonly #blockSize: number;
  readonly #events: ConnectionEvents;
  readonly #receiver: Receiver;
  readonly #slots: (Part | null)[] = new Array<Part | null>(MOST_IN_FLIGHT).fill(null);
  readonly #freeSlots: number[] = Array.from({ length: MOST_IN_FLIGHT }, (_, i) => i);
  #serial = 0;
  #isRetired = false;
  #isClosed = false;
  #error: Error | null = null;

  // ---- what is arriving ----
  #phase: Phase = Phase.REPLY;
  readonly #header = Buffer.alloc(CHUNK_LENGTH);
  readonly #scratch = Buffer.alloc(OFFSET_HOLE_LENGTH);
  readonly #message = Buffer.alloc(MAXIMUM_STRING);
  #part: Part | null = null;
  #isLast = false;
  #chunkType = 0;
  /** Bytes of the chunk, or of the data, that are still to come. */
  #left = 0;
  #messageLength = 0;
  /** Where in the part's data the next byte goes. */
  #position = 0;

  /** `stream` has come through the handshake with `found`; blocks have `blockSize` bytes. */
  constructor(stream: ByteStream<Part>, found: Export, blockSize: number, events: ConnectionEvents) {
    this.#stream = stream;
    this.export = found;
    this.#blockSize = blockSize;
    this.#events = events;
    this.#receiver = new Receiver(stream);
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
      while (!this.#isClosed && this.#proceed());
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

  // ---- what arrives ----

  /** Take the next thing that has come whole; false when there is none. */
  #proceed(): boolean {
    const receiver = this.#receiver;
    switch (this.#phase) {
      case Phase.REPLY:
        if (!receiver.take(this.#header, SIMPLE_REPLY_LENGTH)) return false;
        this.#takeReply();
        return true;
      case Phase.CHUNK:
        if (!receiver.take(this.#scratch, CHUNK_LENGTH - SIMPLE_REPLY_LENGTH)) return false;
        this.#takeChunk(getU32(this.#scratch, 0));
        return true;
      case Phase.FIXED:
        if (!receiver.take(this.#scratch, fixedLength(this.#chunkType))) return false;
        this.#left -= fixedLength(this.#chunkType);
        this.#takeFixed(this.#part!);
        return true;
      case Phase.DATA: {
        const moved = receiver.moveInto(this.#part!.data, this.#position, this.#left);
        this.#position += moved;
        this.#left -= moved;
        if (this.#left > 0) return false;
        this.#endChunk();
        return true;
      }
      case Phase.DESCRIPTORS:
        if (this.#left === 0) {
          this.#endChunk();
          return true;
        }
        if (!receiver.take(this.#scratch, STATUS_DESCRIPTOR_LENGTH)) return false;
        this.#left -= STATUS_DESCRIPTOR_LENGTH;
        this.#takeDescriptor(this.#part!);
        return true;
      case Phase.MESSAGE:
        if (!receiver.take(this.#message, this.#messageLength)) return false;
        this.#left -= this.#messageLength;
        this.#part!.message = this.#message.toString('utf8', 0, this.#messageLength);
        this.#phase = this.#chunkType === ChunkType.ERROR_OFFSET ? Phase.ERROR_OFFSET : Phase.SKIP;
        return true;
      case Phase.ERROR_OFFSET:
        if (!receiver.take(this.#scratch, OFFSET_DATA_LENGTH)) return false;
        this.#left -= OFFSET_DATA_LENGTH;
        this.#takeErrorOffset(this.#part!);
        return true;
      case Phase.SKIP:
        this.#left -= receiver.skip(this.#left);
        if (this.#left > 0) return false;
        this.#endChunk();
        return true;
    }
  }

  #takeReply(): void {
    const header = this.#header;
    const magic = SimpleReply.magic.get(header);
    if (magic !== SIMPLE_REPLY_MAGIC && magic !== STRUCTURED_REPLY_MAGIC) {
      throw violation('the server sends a reply without its magic');
    }
    const part = this.#find(SimpleReply.cookieHigh.get(header), SimpleReply.cookieLow.get(header));
    this.#part = part;
    if (magic === STRUCTURED_REPLY_MAGIC) {
      if (!this.export.structured) throw violation('the server sends structured replies that nobody wants');
      this.#isLast = (Chunk.flags.get(header) & ChunkFlag.DONE) !== 0;
      this.#chunkType = Chunk.type.get(header);
      this.#phase = Phase.CHUNK;
      return;
    }
    if (this.export.structured && (part.type === Cmd.READ || part.type === Cmd.BLOCK_STATUS)) {
      throw violation('the server sends a simple reply to a request that has none');
    }
    part.error = SimpleReply.error.get(header);
    this.#isLast = true;
    if (part.type === Cmd.READ && part.error === 0) {
      part.coverage.add(part.offset, part.offset + part.length);
      this.#position = part.position;
      this.#left = part.length;
      this.#phase = Phase.DATA;
    } else {
      this.#endChunk();
    }
  }

  #takeChunk(length: number): void {
    const part = this.#part!;
    const type = this.#chunkType;
    if (!isPossible(part, type, length, this.#isLast)) {
      throw violation(`the server sends a chunk of type ${type} with ${length} bytes where none can be`);
    }
    this.#left = length;
    if (type === ChunkType.NONE) this.#endChunk();
    else this.#phase = Phase.FIXED;
  }

  #takeFixed(part: Part): void {
    const bytes = this.#scratch;
    switch (this.#chunkType) {
      case ChunkType.OFFSET_DATA:
        this.#position = this.#place(part, OffsetData.offset.get(bytes), this.#left);
        this.#phase = Phase.DATA;
        break;
      case ChunkType.OFFSET_HOLE: {
        const length = OffsetHole.length.get(bytes);
        part.data.fill(0, this.#place(part, OffsetHole.offset.get(bytes), length), length);
        this.#endChunk();
        break;
      }
      case ChunkType.BLOCK_STATUS:
        if (BlockStatusChunk.contextId.get(bytes) !== this.export.allocationContext) {
          throw violation('the server tells of a metadata context that nobody selected');
        }
        if (part.told > part.offset) throw violation('the server tells the same extents twice');
        this.#phase = Phase.DESCRIPTORS;
        break;
      default:
        part.error = ErrorChunk.error.get(bytes);
        this.#messageLength = ErrorChunk.messageLength.get(bytes);
        if (part.error === 0) throw violation('the server sends an error that is none');
        if (
          this.#messageLength > MAXIMUM_STRING ||
          this.#messageLength >
            this.#left - (this.#chunkType === ChunkType.ERROR_OFFSET ? OFFSET_DATA_LENGTH : 0)
        ) {
          throw violation('the server sends a message longer than its chunk');
        }
        this.#phase = Phase.MESSAGE;
    }
  }

  /** Where content at `offset` of the medium goes, which has `length` bytes. */
  #place(part: Part, offset: number, length: number): number {
    const start = offset - part.offset;
    if (!(length > 0 && start >= 0 && start <= part.length && length <= part.length - start)) {
      throw violation('the server sends what nobody asked for');
    }
    if (!part.coverage.add(offset, offset + length)) throw violation('the server sends the same bytes twice');
    return part.position + start;
  }

  #takeDescriptor(part: Part): void {
    const length = StatusDescriptor.length.get(this.#scratch);
    if (length === 0) throw violation('the server tells an extent of no length');
    const flags = StatusDescriptor.flags.get(this.#scratch);
    const isHole = (flags & State.HOLE) !== 0 && (flags & State.ZERO) !== 0;
    part.describe(length, !isHole, this.#blockSize);
  }

  #takeErrorOffset(part: Part): void {
    const offset = OffsetData.offset.get(this.#scratch);
    if (offset < part.offset || offset >= part.offset + part.length) {
      throw violation('the server tells an error where nobody asked for anything');
    }
    part.errorOffset = offset - (offset % this.#blockSize);
    this.#phase = Phase.SKIP;
  }

  #endChunk(): void {
    this.#phase = Phase.REPLY;
    const part = this.#part!;
    this.#part = null;
    if (!this.#isLast) return;
    if (part.error === 0) {
      if (part.type === Cmd.READ && !part.coverage.covers(part.offset, part.offset + part.length)) {
        throw violation('the server leaves out bytes that were asked for');
      }
      if (part.type === Cmd.BLOCK_STATUS) {
        if (part.told === part.offset) throw violation('the server tells no extents');
        part.describeRest(this.#blockSize);
      }
    } else if (part.error === ErrorCode.ESHUTDOWN) {
      // To be asked again: the part stays in flight until the connection is lost, which is now.
      this.#queueRequest(Cmd.DISC, 0, 0, 0, 0, 0);
      this.#stream.flush();
      this.destroy(new Error('the server is shutting down'));
      return;
    }
    this.hasAnswered = true;
    part.isReplied = true;
    if (part.isSent) this.#end(part, SimpleReply.cookieLow.get(this.#header));
  }

  #end(part: Part, slot: number): void {
    this.#slots[slot] = null;
    this.#freeSlots.push(slot);
    this.inFlight--;
    this.#events.answered(this, part);
    if (this.#isRetired && this.inFlight === 0) this.disconnect();
  }

  #find(serial: number, slot: number): Part {
    const part = slot < MOST_IN_FLIGHT ? this.#slots[slot]! : null;
    if (part?.serial !== serial || part.isReplied) {
      throw violation('the server answers a request that nobody sent');
    }
    return part;
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

/** Whether a chunk of `type` with `length` bytes can belong to the reply to `part`. */
function isPossible(part: Part, type: number, length: number, isLast: boolean): boolean {
  switch (type) {
    case ChunkType.NONE:
      return length === 0 && isLast;
    case ChunkType.OFFSET_DATA:
      return (
        part.type === Cmd.READ && length > OFFSET_DATA_LENGTH && length - OFFSET_DATA_LENGTH <= part.length
      );
    case ChunkType.OFFSET_HOLE:
      return part.type === Cmd.READ && length === OFFSET_HOLE_LENGTH;
    case ChunkType.BLOCK_STATUS: {
      const descriptors = (length - BLOCK_STATUS_LENGTH) / STATUS_DESCRIPTOR_LENGTH;
      return (
        part.type === Cmd.BLOCK_STATUS &&
        Number.isInteger(descriptors) &&
        descriptors >= 1 &&
        descriptors <= MAXIMUM_STATUS_DESCRIPTORS
      );
    }
    case ChunkType.ERROR_OFFSET:
      return length >= ERROR_CHUNK_LENGTH + OFFSET_DATA_LENGTH && length <= LONGEST_ERROR;
    default:
      return isErrorChunk(type) && length >= ERROR_CHUNK_LENGTH && length <= LONGEST_ERROR;
  }
}

/** Bytes that a chunk of `type` begins with. */
function fixedLength(type: number): number {
  switch (type) {
    case ChunkType.OFFSET_DATA:
      return OFFSET_DATA_LENGTH;
    case ChunkType.OFFSET_HOLE:
      return OFFSET_HOLE_LENGTH;
    case ChunkType.BLOCK_STATUS:
      return BLOCK_STATUS_LENGTH;
    default:
      return ERROR_CHUNK_LENGTH;
  }
}
