/**
 * The Verbs contract: remote memory as applications know it from libibverbs and librdmacm, whether an adapter
 * moves the data or software does. iSER and the commands see only this; `iwarp/` implements it over TCP.
 *
 * Objects and words are those of libibverbs (ibv_* and rdma_* manual pages), their lifetimes too: what was made
 * from an object is closed before it. Three things differ, for JavaScript's sake:
 *
 * - Work is posted by {@link QueuePair.postSend}, but may wait until {@link QueuePair.flush}, so that a batch
 *   costs one call of the system, or of the device.
 * - An address of own memory is an integer below 2^53: a {@link MemoryRegion} says by which address a peer reaches
 *   it. A peer's addresses have 64 bits, which are given as two words of 32.
 * - What takes a round trip (resolving, connecting, accepting) is a promise. What may come at any time is a call
 *   of the interfaces named `...Events`; it never comes from within a call of this contract's.
 *
 * Misuse throws {@link RiserError} with the code `RDMA_MISUSE`: posting to a full queue or after `close`, closing what is still
 * in use, a list with too many entries. What is looked at when the work's turn has come (domain and rights of a region,
 * bounds of an entry) gives its completion a status instead. What an `...Events` method throws ends up as an
 * uncaught exception; others are told all the same.
 *
 * The end of a connection is the same with all providers, although adapters differ in it: work that fails ends the connection,
 * {@link ConnectionEvents.disconnected} is told of every end, once for each queue pair, and by then the completions of all
 * its work are in their queues, as far as these have room.
 */

import type { Memory } from '../util/memory.js';
import type { ReceiveRequest, SendRequest, WorkCompletion } from './work.js';

/** Rights to a memory region or window (ibv_reg_mr(3)); reading locally is always allowed. */
export const AccessFlag = {
  LOCAL_WRITE: 1,
  /** Requires LOCAL_WRITE. */
  REMOTE_WRITE: 2,
  REMOTE_READ: 4,
  /** Requires LOCAL_WRITE. */
  REMOTE_ATOMIC: 8,
  /** Windows may be bound to it. */
  WINDOW_BIND: 16,
} as const;

/** Whether an RDMA transport can be used here. */
export interface Probe {
  readonly isUsable: boolean;
  /** Why not, and what to do about it; or what it runs on. One sentence. */
  readonly reason: string;
}

/** A kind of RDMA: software iWARP, or whatever libibverbs finds. */
export interface RdmaProvider {
  /** As users name it: `iwarp`. */
  readonly name: string;
  probe(): Probe;
  /** The devices that are there now; what `open` takes. */
  devices(): Promise<readonly DeviceInfo[]>;
  /** @throws RiserError `RDMA_DEVICE_MISSING` */
  open(name: string, events?: DeviceEvents): Promise<RdmaDevice>;
}

/** A device as lists show it. */
export interface DeviceInfo {
  readonly name: string;
  /** `iWARP`, `RoCE`, `InfiniBand`. */
  readonly transport: string;
  /** `ACTIVE`, or what keeps it from it. */
  readonly state: string;
  /** Addresses that it serves; one that is local to a link with its interface: `fe80::1%eth0`. */
  readonly addresses: readonly string[];
  /** None where RDMA is software on TCP. */
  readonly ports?: readonly PortInfo[];
}

/** A port of a device (ibv_query_port(3)). */
export interface PortInfo {
  /** From 1. */
  readonly number: number;
  readonly state: string;
  /** Bytes of the path MTU that the link allows now; null on iWARP, where TCP cuts segments. */
  readonly activeMtu: number | null;
  /** None on iWARP, whose ends are IP addresses. */
  readonly gids: readonly GidInfo[];
}

/** An entry of a port's GID table (ibv_query_gid_table(3)). */
export interface GidInfo {
  readonly index: number;
  /** In the form of an IPv6 address. */
  readonly gid: string;
  /** `IB`, `RoCE v1`, `RoCE v2`. */
  readonly type: string;
  /** The IP address that it stands for; null if for none. */
  readonly address: string | null;
  readonly interface: string | null;
}

/** What a device has room for, and what it can do (ibv_query_device(3)). */
export interface DeviceAttributes {
  readonly maxSendRequests: number;
  readonly maxReceiveRequests: number;
  /** Entries of the scatter/gather list of one request. */
  readonly maxSges: number;
  /** Entries of the list of an RDMA Read request: 1 on iWARP adapters. */
  readonly maxReadSges: number;
  /** Bytes of one message. */
  readonly maxMessage: number;
  readonly maxCompletions: number;
  /** Bytes of one request that can be copied when it is posted (`INLINE`); 0: none. */
  readonly maxInlineData: number;
  /** RDMA Reads that one queue pair serves at a time (inbound), and has under way (outbound). */
  readonly maxResponderResources: number;
  readonly maxInitiatorDepth: number;
  /** Bytes of private data in a request to connect. */
  readonly maxPrivateData: number;
  readonly hasMemoryWindows: boolean;
  readonly hasSharedReceiveQueues: boolean;
  /** What is true here the peer has to have, too; nothing tells whether it does. */
  readonly hasAtomics: boolean;
  readonly hasWriteWithImmediate: boolean;
  readonly hasSendWithImmediate: boolean;
  readonly hasSendWithInvalidate: boolean;
  /** What finds no receive is sent again (InfiniBand's RNR NAK); where this is false it ends the connection (iWARP). */
  readonly hasRnrRetry: boolean;
  /** The memory that an RDMA Read's data comes to has to be registered with REMOTE_WRITE (iWARP adapters). */
  readonly readNeedsRemoteWrite: boolean;
}

/** What happens to a device as a whole (ibv_get_async_event(3)). */
export interface DeviceEvents {
  /** The device is gone, or useless from now on; its connections tell of their own end. */
  deviceFatal?(error: Error): void;
  portChanged?(isActive: boolean): void;
}

/** An open device. */
export interface RdmaDevice {
  readonly name: string;
  readonly attributes: DeviceAttributes;
  allocateProtectionDomain(): ProtectionDomain;
  /** A queue with room for `capacity` completions; `events` is told when it was armed. */
  createCompletionQueue(capacity: number, events?: CompletionEvents): CompletionQueue;
  /** Wait for requests to connect. @throws RiserError `ADDRESS_IN_USE` and the like */
  listen(options: ListenOptions, events: ListenerEvents): Promise<RdmaListener>;
  /** The active side's first step: find the way to a peer. @throws RiserError `RDMA_UNREACHABLE` */
  resolve(options: ResolveOptions): Promise<RdmaConnection>;
  close(): Promise<void>;
}

/** What may be used together: memory and queue pairs of one protection domain (ibv_alloc_pd(3)). */
export interface ProtectionDomain {
  /**
   * Register a whole memory without copying it. It must not be used otherwise while work that names it is posted.
   * `access`: of {@link AccessFlag}. Where adapters have it, its buffer can from then on not be transferred to another thread.
   */
  registerMemory(memory: Memory, access: number): MemoryRegion;
  /** Capability `hasMemoryWindows`: a window that grants nothing yet. */
  allocateWindow(): MemoryWindow;
  /** Capability `hasSharedReceiveQueues`. */
  createSharedReceiveQueue(maxReceiveRequests: number, maxSges: number): SharedReceiveQueue;
  close(): void;
}

/** Registered memory (ibv_reg_mr(3)). */
export interface MemoryRegion {
  readonly memory: Memory;
  readonly access: number;
  /** What a peer has to name to reach it; 0 without remote rights. 32 bits unsigned. */
  readonly remoteKey: number;
  /** The address by which a peer reaches byte 0; those of the others follow. */
  readonly address: number;
  /** From now on no peer and no posted work reaches the memory any more. */
  deregister(): void;
}

/** A part of a region that a peer may reach, granted and taken back by posted work (type 2B). */
export interface MemoryWindow {
  /** Changes with each binding; 0 before the first. */
  readonly remoteKey: number;
  close(): void;
}

/** Where the completions of any number of queue pairs end up (ibv_create_cq(3)). */
export interface CompletionQueue {
  readonly capacity: number;
  /** Move the oldest completions into `records`; how many. */
  poll(records: WorkCompletion[]): number;
  /**
   * Tell of the next completion that comes from now on, once; with `solicitedOnly`, of the next solicited
   * or failed one. What is already there does not count: poll again after arming.
   */
  arm(solicitedOnly?: boolean): void;
  /** From now on nobody is told of anything. */
  close(): void;
}

export interface CompletionEvents {
  /** It was armed, and a completion came. */
  completed(queue: CompletionQueue): void;
  /** More completions came than it has room for; its queue pairs end (IBV_EVENT_CQ_ERR). */
  overrun?(queue: CompletionQueue): void;
}

/** States of a queue pair. RTR and RTS of libibverbs are one here: the connection manager goes through both. */
export const QueuePairState = {
  /** Receives may be posted. */
  INIT: 0,
  /** Connected. */
  RTS: 1,
  /** What is posted, and what will be, is flushed. */
  ERROR: 2,
} as const;
export type QueuePairState = (typeof QueuePairState)[keyof typeof QueuePairState];

export interface QueuePairOptions {
  sendQueue: CompletionQueue;
  receiveQueue: CompletionQueue;
  /** Requests outstanding at a time, 1 to the device's limit. */
  maxSendRequests: number;
  maxReceiveRequests: number;
  /** Entries of a request's list. Default 1. */
  maxSges?: number;
  /** Bytes that may be posted `INLINE`. Default 0. */
  maxInlineData?: number;
  /** Receives are taken from there; then `postReceive` must not be called. */
  sharedReceiveQueue?: SharedReceiveQueue;
}

/** One end of a connection (ibv_create_qp(3)). The connection's `close` ends its life: then posting is misuse. */
export interface QueuePair {
  /** Unique on the device while it exists. */
  readonly number: number;
  readonly state: QueuePairState;
  /** Room left for send requests: a request takes it until its completion, or that of a later one, was polled. */
  readonly sendRoom: number;
  /** Once connected. May wait until {@link flush}. In the error state it is flushed: a completion, nothing sent. */
  postSend(request: SendRequest): void;
  postReceive(request: ReceiveRequest): void;
  /** Everything that was posted is on its way, as far as the peer lets it; the rest follows by itself. */
  flush(): void;
}

/** Receives that several queue pairs share (ibv_create_srq(3)). */
export interface SharedReceiveQueue {
  postReceive(request: ReceiveRequest): void;
  close(): void;
}

/** How the connection of one queue pair ended (RDMA_CM_EVENT_DISCONNECTED, and the errors of ibv_get_async_event(3)). */
export interface ConnectionEvents {
  /**
   * The connection is over: the queue pair is in the error state, and all that was posted to it is complete, done or flushed;
   * receives of a shared queue stay there. It is told exactly once, whoever ended it and however: by `disconnect`, by
   * `close` (soon after, not from within), by the peer, or by work that failed, whose completion comes before. With
   * libibverbs such work leaves the connection open on some transports: the provider then ends it.
   *
   * `error`: null when either side has disconnected or closed; else who ended it, and why. A peer that ends because of
   * a fault may not be able to say so: null does not mean that what was sent has been received.
   */
  disconnected(error: Error | null): void;
}

/**
 * What one side asks for, or agrees to (rdma_connect(3), rdma_accept(3)): depths from this side's view, in RDMA Reads and
 * atomics, up to the device's `maxResponderResources` and `maxInitiatorDepth`. Default: in `connect` the device's limits, in
 * `accept` what the peer asks for.
 */
export interface ConnectionParameters {
  /** At most `maxPrivateData` bytes. */
  privateData?: Uint8Array;
  /** Those of the peer that this side serves at a time (IRD); 0: the peer may not read. */
  responderResources?: number;
  /** Those that this side wants to have under way (ORD); it may get fewer. 0: this side does not read. */
  initiatorDepth?: number;
}

/**
 * What the peer asks for ({@link ListenerEvents.requested}), or what holds ({@link RdmaConnection.connect}). The depths are
 * named from the view of the side that is told, as rdma_get_cm_event(3) has them: the peer's `initiatorDepth` has
 * become this side's `responderResources`, and the other way round. They are within this device's limits.
 */
export interface Established {
  /** What the peer sent along, maybe padded by zeroes; empty if nothing. */
  readonly privateData: Buffer;
  /** RDMA Reads of the peer that this side serves at a time (IRD). */
  readonly responderResources: number;
  /** RDMA Reads that this side may have under way (ORD); of those posted the others wait, unless it is 0: then they fail. */
  readonly initiatorDepth: number;
}

export interface ListenOptions {
  /** An address of this machine; `::` and `0.0.0.0` for all. */
  address: string;
  /** 0: any free one. */
  port: number;
}

export interface ResolveOptions {
  host: string;
  port: number;
  /** Milliseconds for this and for connecting. Default 10 000. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface ListenerEvents {
  /**
   * Someone wants to connect: make a queue pair and accept, or reject; at once or later, though peers lose patience.
   * `parameters`: what it asks for. What `accept` is not told it takes from there.
   */
  requested(request: RdmaConnection, parameters: Established): void;
}

export interface RdmaListener {
  /** As `net.Server.address` has it. */
  readonly address: string;
  readonly port: number;
  /** No more requests; connections stay. */
  close(): Promise<void>;
}

/**
 * A connection from its resolving or its request on (rdma_create_id(3)): give it a queue pair, then `connect` on the side
 * that resolved, `accept` or `reject` on the side that was asked.
 */
export interface RdmaConnection {
  readonly device: RdmaDevice;
  /** An IP address without port. Maybe empty on the side that connects until it is connected. */
  readonly localAddress: string;
  /** Bytes of the path MTU, once connected; null on iWARP, where TCP cuts segments. */
  readonly pathMtu: number | null;
  /** The same of the peer: what the host's name was resolved to, or where the request came from. */
  readonly remoteAddress: string;
  /** Null before `createQueuePair`; there is one at most, and it stays. */
  readonly queuePair: QueuePair | null;
  /** Receives may be posted from now on, and had better be before connecting or accepting. */
  createQueuePair(domain: ProtectionDomain, options: QueuePairOptions, events: ConnectionEvents): QueuePair;
  /**
   * Once, on the side that resolved. What holds; from now on work may be posted.
   *
   * @throws RiserError `RDMA_REJECTED` with the peer's private data in `privateData`, `RDMA_UNREACHABLE`,
   *   `RDMA_TIMEOUT` after the time given to `resolve`, `RDMA_MISUSE` when it was ended meanwhile; the signal's reason. Then
   *   only `close` is left to do.
   */
  connect(parameters?: ConnectionParameters): Promise<Established>;
  /**
   * Once, on the side that was asked. Resolves when the connection stands, so that work may be posted; the peer's first
   * messages may come before.
   *
   * @throws RiserError `RDMA_CLOSED` when the peer has gone, `RDMA_TIMEOUT`, `RDMA_MISUSE`; then only `close` is left to do
   */
  accept(parameters?: ConnectionParameters): Promise<void>;
  /** Once, instead of `accept`; `close` is still due. */
  reject(privateData?: Uint8Array): void;
  /**
   * End it in good order (rdma_disconnect(3)); `disconnected` follows. Sends and RDMA Writes that were posted before are
   * sent first, for as long as the peer takes them: one that takes nothing for some seconds is left, and what was not
   * sent is flushed. RDMA Reads that are not answered by then, and what waits for them, may be flushed: wait for
   * their completions first. What is posted afterwards may be flushed, too. A connection that is being made is given up,
   * and its making fails. No matter if it is over already, or called again.
   */
  disconnect(): void;
  /**
   * End it at once, unless it is over, and let go of the queue pair (rdma_destroy_qp(3), rdma_destroy_id(3)): memory,
   * queues and domain may be closed right behind it. What was posted and has not left is not sent: for that call
   * `disconnect`, and wait for `disconnected`. Completions that are not polled yet may be lost. No matter if called
   * again. A request that is neither accepted nor rejected is turned away.
   */
  close(): void;
}
