/** What the server answers, written into the queue of a stream: simple replies and structured ones. */

import { BlockOp } from '../../block/device.js';
import type { SendQueue } from '../../stream/index.js';
import {
  BLOCK_STATUS_LENGTH,
  BlockStatusChunk,
  Chunk,
  CHUNK_LENGTH,
  ChunkFlag,
  ChunkType,
  ERROR_CHUNK_LENGTH,
  ErrorChunk,
  OFFSET_DATA_LENGTH,
  OffsetData,
  SIMPLE_REPLY_LENGTH,
  SIMPLE_REPLY_MAGIC,
  SimpleReply,
  State,
  STATUS_DESCRIPTOR_LENGTH,
  STRUCTURED_REPLY_MAGIC,
} from '../wire.js';
import { putU32 } from '../../util/fields.js';
import { ALLOCATION_CONTEXT } from './handshake.js';
import type { Job } from './job.js';

/** Fixed-length parts are composed here, and copied into the queue. */
const header = Buffer.alloc(CHUNK_LENGTH);
const simple = Buffer.alloc(SIMPLE_REPLY_LENGTH);
const offsetData = Buffer.alloc(OFFSET_DATA_LENGTH);
const blockStatus = Buffer.alloc(BLOCK_STATUS_LENGTH);
const errorChunk = Buffer.alloc(ERROR_CHUNK_LENGTH);

/** The answer to `job`, which the queue tells of as released when the last byte is gone. */
export function queueReply(queue: SendQueue<Job>, job: Job, structured: boolean): void {
  const reads = job.op === BlockOp.READ && job.error === 0 && job.length > 0;
  if (!structured) {
    SimpleReply.magic.set(simple, SIMPLE_REPLY_MAGIC);
    SimpleReply.error.set(simple, job.error);
    SimpleReply.cookieHigh.set(simple, job.cookieHigh);
    SimpleReply.cookieLow.set(simple, job.cookieLow);
    queue.reserve(SIMPLE_REPLY_LENGTH, reads ? null : job);
    simple.copy(queue.region.bytes, queue.offset);
    if (reads) queue.pushList(job.data, 0, job.length, job);
  } else if (job.error !== 0) {
    queueError(queue, job);
  } else if (reads) {
    reserveChunk(queue, job, ChunkType.OFFSET_DATA, OFFSET_DATA_LENGTH, job.length);
    OffsetData.offset.set(offsetData, job.offset);
    offsetData.copy(queue.region.bytes, queue.offset + CHUNK_LENGTH);
    queue.pushList(job.data, 0, job.length, job);
  } else if (job.op === BlockOp.EXTENTS) {
    queueExtents(queue, job);
  } else {
    reserveChunk(queue, job, ChunkType.NONE, 0, 0);
  }
}

function queueError(queue: SendQueue<Job>, job: Job): void {
  const message = Buffer.from(job.message);
  reserveChunk(queue, job, ChunkType.ERROR, ERROR_CHUNK_LENGTH + message.length, 0);
  ErrorChunk.error.set(errorChunk, job.error);
  ErrorChunk.messageLength.set(errorChunk, message.length);
  const at = queue.offset + CHUNK_LENGTH;
  errorChunk.copy(queue.region.bytes, at);
  message.copy(queue.region.bytes, at + ERROR_CHUNK_LENGTH);
}

function queueExtents(queue: SendQueue<Job>, job: Job): void {
  const { extents } = job;
  const length = BLOCK_STATUS_LENGTH + extents.length * STATUS_DESCRIPTOR_LENGTH;
  reserveChunk(queue, job, ChunkType.BLOCK_STATUS, length, 0);
  const { bytes } = queue.region;
  let at = queue.offset + CHUNK_LENGTH;
  BlockStatusChunk.contextId.set(blockStatus, ALLOCATION_CONTEXT);
  blockStatus.copy(bytes, at);
  at += BLOCK_STATUS_LENGTH;
  for (const extent of extents) {
    putU32(bytes, at, extent.length);
    putU32(bytes, at + 4, extent.mapped ? 0 : State.HOLE | State.ZERO);
    at += STATUS_DESCRIPTOR_LENGTH;
  }
}

/**
 * Queue the header of the only chunk of a reply, with room for `here` more bytes; `behind` bytes follow in
 * segments of their own, the last of which owns the job.
 */
function reserveChunk(queue: SendQueue<Job>, job: Job, type: number, here: number, behind: number): void {
  Chunk.magic.set(header, STRUCTURED_REPLY_MAGIC);
  Chunk.flags.set(header, ChunkFlag.DONE);
  Chunk.type.set(header, type);
  Chunk.cookieHigh.set(header, job.cookieHigh);
  Chunk.cookieLow.set(header, job.cookieLow);
  Chunk.length.set(header, here + behind);
  queue.reserve(CHUNK_LENGTH + here, behind === 0 ? job : null);
  header.copy(queue.region.bytes, queue.offset);
}
