/**
 * Reads the replies of one connection, and puts what they bring where it belongs. Whatever a server sends is checked
 * before a byte of it is stored.
 */

import type { ByteStream } from '../../stream/index.js';
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
  isErrorChunk,
  MAXIMUM_STATUS_DESCRIPTORS,
  MAXIMUM_STRING,
  OFFSET_DATA_LENGTH,
  OFFSET_HOLE_LENGTH,
  OffsetData,
  OffsetHole,
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

/** The connection, which knows the requests. */
export interface ReplyOwner {
  /**
   * The part that a reply is for, by its cookie.
   *
   * @throws RiserError `NBD_PROTOCOL` when there is none
   */
  find(serial: number, slot: number): Part;
  /** The reply to `part` is whole, and has put its outcome there. */
  replied(part: Part, slot: number): void;
}

export class ReplyReader {
  readonly #receiver: Receiver;
  readonly #export: Export;
  readonly #blockSize: number;
  readonly #owner: ReplyOwner;
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

  constructor(stream: ByteStream<Part>, found: Export, blockSize: number, owner: ReplyOwner) {
    this.#receiver = new Receiver(stream);
    this.#export = found;
    this.#blockSize = blockSize;
    this.#owner = owner;
  }

  /**
   * Take the next thing that has come whole; false when there is none.
   *
   * @throws RiserError `NBD_PROTOCOL`
   */
  proceed(): boolean {
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
    const part = this.#owner.find(SimpleReply.cookieHigh.get(header), SimpleReply.cookieLow.get(header));
    this.#part = part;
    if (magic === STRUCTURED_REPLY_MAGIC) {
      if (!this.#export.structured) throw violation('the server sends structured replies that nobody wants');
      this.#isLast = (Chunk.flags.get(header) & ChunkFlag.DONE) !== 0;
      this.#chunkType = Chunk.type.get(header);
      this.#phase = Phase.CHUNK;
      return;
    }
    if (this.#export.structured && (part.type === Cmd.READ || part.type === Cmd.BLOCK_STATUS)) {
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
        if (BlockStatusChunk.contextId.get(bytes) !== this.#export.allocationContext) {
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
    }
    this.#owner.replied(part, SimpleReply.cookieLow.get(this.#header));
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
