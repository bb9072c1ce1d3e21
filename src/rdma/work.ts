/**
 * The records by which work is posted and completions are polled. All belong to the caller, who fills in and
 * uses the same ones again: a provider copies out of them what it needs before the call returns, so that posting
 * and polling allocate nothing. The names and meanings are those of libibverbs (ibv_post_send(3), ibv_poll_cq(3)).
 */

import type { MemoryRegion, MemoryWindow } from './verbs.js';

/**
 * A gather or scatter list: parts of registered memory, in order. Parallel arrays; read entries below `count`
 * only. All regions of one list are of the queue pair's protection domain.
 */
export class SgeList {
  count = 0;
  /** Sum of all lengths, bytes. */
  length = 0;
  readonly regions: MemoryRegion[] = [];
  /** Offsets in the region's memory, bytes. */
  readonly offsets: number[] = [];
  readonly lengths: number[] = [];

  /** Forget all parts; the arrays keep their capacity. */
  clear(): this {
    this.count = 0;
    this.length = 0;
    return this;
  }

  /** Append `length` bytes of `region` that start at `offset`. An empty part is not added. */
  add(region: MemoryRegion, offset: number, length: number): this {
    if (length === 0) return this;
    const i = this.count++;
    this.regions[i] = region;
    this.offsets[i] = offset;
    this.lengths[i] = length;
    this.length += length;
    return this;
  }
}

/** What a send queue is asked to do. */
export const SendOpcode = {
  SEND: 0,
  SEND_WITH_IMMEDIATE: 1,
  /** Send, and invalidate `invalidateKey` at the peer before it sees the message. */
  SEND_WITH_INVALIDATE: 2,
  RDMA_WRITE: 3,
  RDMA_WRITE_WITH_IMMEDIATE: 4,
  RDMA_READ: 5,
  /**
   * Add `operand` to the 64-bit number at `remoteAddress`, which is aligned to 8 bytes and in its machine's byte order; its
   * value before comes to the list, which has 8 bytes. It is atomic towards others of the same device.
   */
  ATOMIC_FETCH_ADD: 6,
  /** The same with `operand` put in place of `compare`, if that is there. */
  ATOMIC_COMPARE_SWAP: 7,
  /** Make `window` a window on `bindRegion`. */
  BIND_WINDOW: 8,
  /** End the validity of `invalidateKey`, that of a bound window of the same domain; a region's key is not ended so. */
  LOCAL_INVALIDATE: 9,
} as const;
export type SendOpcode = (typeof SendOpcode)[keyof typeof SendOpcode];

export function isAtomic(opcode: SendOpcode): boolean {
  return opcode === SendOpcode.ATOMIC_FETCH_ADD || opcode === SendOpcode.ATOMIC_COMPARE_SWAP;
}

/** Bits of {@link SendRequest.flags}. */
export const SendFlag = {
  /** A success gives a completion, too; failures always do, flushed work among them. */
  SIGNALED: 1,
  /** Begin only when all RDMA Reads and atomics posted before are complete. */
  FENCE: 2,
  /** The peer's completion counts as solicited. */
  SOLICITED: 4,
  /**
   * For SEND, SEND_WITH_INVALIDATE and RDMA_WRITE of at most `maxInlineData` bytes: what is sent is copied before the call returns, so
   * that the memory may be used for something else at once (IBV_SEND_INLINE).
   */
  INLINE: 8,
} as const;

/** One work request for a send queue. */
export class SendRequest {
  /** Comes back in the completion: an integer from 0 to 2^53 - 1. */
  id = 0;
  opcode: SendOpcode = SendOpcode.SEND;
  /** Of {@link SendFlag}. */
  flags: number = SendFlag.SIGNALED;
  /** What is sent or written; for RDMA_READ and atomics, where the data comes to. */
  readonly sges = new SgeList();
  /** Of the peer's memory, for RDMA and atomics: 64 bits as two words, since a peer's addresses may be any. */
  remoteAddressHigh = 0;
  remoteAddressLow = 0;
  /** The peer's key (STag), 32 bits unsigned. */
  remoteKey = 0;
  /** 32 bits unsigned, for the opcodes with immediate. */
  immediate = 0;
  /** The key to invalidate, 32 bits unsigned. */
  invalidateKey = 0;
  /** 64 bits unsigned, for atomics. */
  compare = 0n;
  operand = 0n;
  /** For BIND_WINDOW: the window, and the part of a region that it is to grant. */
  window: MemoryWindow | null = null;
  bindRegion: MemoryRegion | null = null;
  bindOffset = 0;
  bindLength = 0;
  /** Of {@link AccessFlag}; only the remote rights. */
  bindAccess = 0;

  /** Set the peer's address from a whole number below 2^53, such as {@link MemoryRegion.address} plus an offset. */
  setRemoteAddress(address: number): void {
    this.remoteAddressHigh = Math.floor(address / 0x1_0000_0000);
    this.remoteAddressLow = address >>> 0;
  }
}

/** One work request for a receive queue, or a shared one. */
export class ReceiveRequest {
  /** Comes back in the completion: an integer from 0 to 2^53 - 1. */
  id = 0;
  readonly sges = new SgeList();
}

/**
 * How a work request ended (ibv_poll_cq(3)). All but SUCCESS end the connection: what was posted behind is flushed, and
 * `ConnectionEvents.disconnected` follows.
 */
export const CompletionStatus = {
  SUCCESS: 0,
  /** A message was longer than the memory that was posted for it. */
  LOCAL_LENGTH_ERROR: 1,
  /** The queue pair cannot do that. */
  LOCAL_QP_OPERATION_ERROR: 2,
  /** A part of the list is not of registered memory of the right protection domain and rights. */
  LOCAL_PROTECTION_ERROR: 4,
  /** The queue pair went to the error state before it was done. */
  FLUSH_ERROR: 5,
  WINDOW_BIND_ERROR: 6,
  /** The peer's answer was not what had been asked for. */
  BAD_RESPONSE_ERROR: 7,
  LOCAL_ACCESS_ERROR: 8,
  /** The peer did not understand the request. */
  REMOTE_INVALID_REQUEST_ERROR: 9,
  /** The peer does not grant that access. */
  REMOTE_ACCESS_ERROR: 10,
  REMOTE_OPERATION_ERROR: 11,
  /** The peer does not answer. */
  RETRY_EXCEEDED_ERROR: 12,
  /** The peer had no receive posted for too long. */
  RNR_RETRY_EXCEEDED_ERROR: 13,
  REMOTE_ABORTED_ERROR: 16,
  FATAL_ERROR: 19,
  RESPONSE_TIMEOUT_ERROR: 20,
  GENERAL_ERROR: 21,
} as const;
export type CompletionStatus = (typeof CompletionStatus)[keyof typeof CompletionStatus];

/** What a completion is of. */
export const CompletionOpcode = {
  SEND: 0,
  RDMA_WRITE: 1,
  RDMA_READ: 2,
  ATOMIC_COMPARE_SWAP: 3,
  ATOMIC_FETCH_ADD: 4,
  BIND_WINDOW: 5,
  LOCAL_INVALIDATE: 6,
  RECEIVE: 128,
  /** A receive that a peer's RDMA Write with immediate took. */
  RECEIVE_RDMA_WITH_IMMEDIATE: 129,
} as const;
export type CompletionOpcode = (typeof CompletionOpcode)[keyof typeof CompletionOpcode];

/** What the completion of a send request is of. */
export const COMPLETION_OF: Record<SendOpcode, CompletionOpcode> = {
  [SendOpcode.SEND]: CompletionOpcode.SEND,
  [SendOpcode.SEND_WITH_IMMEDIATE]: CompletionOpcode.SEND,
  [SendOpcode.SEND_WITH_INVALIDATE]: CompletionOpcode.SEND,
  [SendOpcode.RDMA_WRITE]: CompletionOpcode.RDMA_WRITE,
  [SendOpcode.RDMA_WRITE_WITH_IMMEDIATE]: CompletionOpcode.RDMA_WRITE,
  [SendOpcode.RDMA_READ]: CompletionOpcode.RDMA_READ,
  [SendOpcode.ATOMIC_FETCH_ADD]: CompletionOpcode.ATOMIC_FETCH_ADD,
  [SendOpcode.ATOMIC_COMPARE_SWAP]: CompletionOpcode.ATOMIC_COMPARE_SWAP,
  [SendOpcode.BIND_WINDOW]: CompletionOpcode.BIND_WINDOW,
  [SendOpcode.LOCAL_INVALIDATE]: CompletionOpcode.LOCAL_INVALIDATE,
};

/** Bits of {@link WorkCompletion.flags}. */
export const CompletionFlag = {
  WITH_IMMEDIATE: 1,
  /** The peer invalidated `invalidatedKey`. */
  WITH_INVALIDATE: 2,
} as const;

/**
 * One completion. After a status other than SUCCESS only `id`, `status` and `queuePairNumber` mean anything, as in `ibv_wc`:
 * not even `opcode` tells a failed receive from a failed send. Who polls both from one queue tells them apart by `id`.
 */
export class WorkCompletion {
  id = 0;
  status: CompletionStatus = CompletionStatus.SUCCESS;
  opcode: CompletionOpcode = CompletionOpcode.SEND;
  /** Of {@link CompletionFlag}. */
  flags = 0;
  /** Bytes received or read; of other work, and of RECEIVE_RDMA_WITH_IMMEDIATE on iWARP, it means nothing. */
  byteLength = 0;
  queuePairNumber = 0;
  /** 32 bits unsigned. */
  immediate = 0;
  invalidatedKey = 0;

  /** Become a copy of `other`. */
  set(other: WorkCompletion): void {
    this.id = other.id;
    this.status = other.status;
    this.opcode = other.opcode;
    this.flags = other.flags;
    this.byteLength = other.byteLength;
    this.queuePairNumber = other.queuePairNumber;
    this.immediate = other.immediate;
    this.invalidatedKey = other.invalidatedKey;
  }
}

/** Records to poll into: as many completions at most come out of one call. */
export function completionRecords(count: number): WorkCompletion[] {
  return Array.from({ length: count }, () => new WorkCompletion());
}
