/**
 * The NBD protocol's numbers and message formats, for both roles. Names are those of the specification,
 * doc/proto.md of https://github.com/NetworkBlockDevice/nbd, without their `NBD_` prefix; all numbers are
 * big-endian.
 */

import { u16, u32, u64 } from '../util/fields.js';

/** The port that IANA has reserved for NBD. */
export const DEFAULT_PORT = 10809;

/** The longest string: an export name, a metadata query, an error message. Bytes. */
export const MAXIMUM_STRING = 4096;

/** What a request may carry when no size constraints are told, and what this server takes. Bytes. */
export const DEFAULT_MAXIMUM_PAYLOAD = 32 << 20;

// ---- handshake ----

/** `NBDMAGIC`, `IHAVEOPT`, and the magic of option replies, each as two 32-bit halves. */
export const INIT_PASSWD = { high: 0x4e42444d, low: 0x41474943 } as const;
export const IHAVEOPT = { high: 0x49484156, low: 0x454f5054 } as const;
export const OPTION_REPLY_MAGIC = { high: 0x0003e889, low: 0x045565a9 } as const;

/** What the server begins with. */
export const Greeting = {
  passwordHigh: u32(0),
  passwordLow: u32(4),
  magicHigh: u32(8),
  magicLow: u32(12),
  flags: u16(16),
} as const;
export const GREETING_LENGTH = 18;

/** Handshake flags, and the client flags of the same meaning. */
export const HandshakeFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

export const OptionHeader = { magicHigh: u32(0), magicLow: u32(4), option: u32(8), length: u32(12) } as const;
export const OPTION_HEADER_LENGTH = 16;

export const Option = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const;

export const OptionReply = {
  magicHigh: u32(0),
  magicLow: u32(4),
  option: u32(8),
  type: u32(12),
  length: u32(16),
} as const;
export const OPTION_REPLY_LENGTH = 20;

export const ReplyType = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_POLICY: 0x8000_0002,
  ERR_INVALID: 0x8000_0003,
  ERR_PLATFORM: 0x8000_0004,
  ERR_TLS_REQD: 0x8000_0005,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_SHUTDOWN: 0x8000_0007,
  ERR_BLOCK_SIZE_REQD: 0x8000_0008,
  ERR_TOO_BIG: 0x8000_0009,
} as const;

/** Whether an option reply's type tells a failure. */
export const isErrorReply = (type: number): boolean => type >= 0x8000_0000;

export const Info = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

/** Information about an export; behind its 16-bit type. */
export const InfoExport = { type: u16(0), size: u64(2), flags: u16(10) } as const;
export const INFO_EXPORT_LENGTH = 12;
export const InfoBlockSize = { type: u16(0), minimum: u32(2), preferred: u32(6), maximum: u32(10) } as const;
export const INFO_BLOCK_SIZE_LENGTH = 14;

/** The answer to EXPORT_NAME; the client may have waived the zeroes behind it. */
export const ExportNameReply = { size: u64(0), flags: u16(8) } as const;
export const EXPORT_NAME_REPLY_LENGTH = 10;
export const EXPORT_NAME_ZEROES = 124;

export const TransmissionFlag = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  ROTATIONAL: 1 << 4,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
} as const;

/** The metadata context that tells holes, the namespace that it is in, and its states. */
export const BASE_ALLOCATION = 'base:allocation';
export const BASE_NAMESPACE = 'base:';
export const State = { HOLE: 1, ZERO: 2 } as const;

// ---- transmission ----

export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** A request. Its 64-bit cookie is opaque to the server, so both halves travel apart. */
export const Request = {
  magic: u32(0),
  flags: u16(4),
  type: u16(6),
  cookieHigh: u32(8),
  cookieLow: u32(12),
  offset: u64(16),
  length: u32(24),
} as const;
export const REQUEST_LENGTH = 28;

export const Cmd = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;

export const CmdFlag = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16 } as const;

export const SimpleReply = { magic: u32(0), error: u32(4), cookieHigh: u32(8), cookieLow: u32(12) } as const;
export const SIMPLE_REPLY_LENGTH = 16;

/** The header of a chunk of a structured reply. */
export const Chunk = {
  magic: u32(0),
  flags: u16(4),
  type: u16(6),
  cookieHigh: u32(8),
  cookieLow: u32(12),
  length: u32(16),
} as const;
export const CHUNK_LENGTH = 20;

export const ChunkFlag = { DONE: 1 } as const;

export const ChunkType = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;

/** Whether a chunk tells a failure, of whatever kind. */
export const isErrorChunk = (type: number): boolean => (type & 0x8000) !== 0;

/** Payloads of chunks: what stands in front of the data, the message, the descriptors. */
export const OffsetData = { offset: u64(0) } as const;
export const OFFSET_DATA_LENGTH = 8;
export const OffsetHole = { offset: u64(0), length: u32(8) } as const;
export const OFFSET_HOLE_LENGTH = 12;
export const ErrorChunk = { error: u32(0), messageLength: u16(4) } as const;
export const ERROR_CHUNK_LENGTH = 6;
export const BlockStatusChunk = { contextId: u32(0) } as const;
export const BLOCK_STATUS_LENGTH = 4;
export const StatusDescriptor = { length: u32(0), flags: u32(4) } as const;
export const STATUS_DESCRIPTOR_LENGTH = 8;
/** A server should send no more of them in one chunk. */
export const MAXIMUM_STATUS_DESCRIPTORS = 1 << 20;

/** Error values of replies. */
export const ErrorCode = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

/** `ENOSPC`, or `error 12345`. */
export function describeError(code: number): string {
  return Object.entries(ErrorCode).find(([, value]) => value === code)?.[0] ?? `error ${code}`;
}

/** `ERR_POLICY`, or its number in hexadecimal. */
export function describeReplyType(type: number): string {
  return Object.entries(ReplyType).find(([, value]) => value === type)?.[0] ?? `0x${type.toString(16)}`;
}
