/**
 * {@link ByteStream} on a socket's descriptor: `recv` and `sendmsg` straight between the kernel and
 * the protocol's memory, without an allocation. Asleep, the socket is Node's and wakes us by its
 * first bytes; awake, Node does not read from it and the {@link Poller} asks.
 */

import type { Socket } from 'node:net';
import { Memory, type ScatterList } from '../util/memory.js';
import { IoVector } from '../util/posix/iovec.js';
import type { Libc } from '../util/posix/libc.js';
import { NodeStream } from './node-stream.js';
import { type Polled, type Poller, TrafficMeter } from './poller.js';

const MSG_PEEK = 0x02;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EAGAIN = 11;
const EINTR = 4;

const MSG_IOV = 16;
const MSG_IOVLEN = 24;

/** A `struct msghdr` and its vector, shared by all streams: the calls do not keep them. */
class Message {
  readonly vector: IoVector;
  readonly #msghdr = Memory.allocate(56);

  constructor(capacity: number) {
    this.vector = new IoVector(capacity);
    this.#msghdr.view.setBigUint64(MSG_IOV, BigInt(this.vector.address), true);
    this.entries = capacity;
  }

  get address(): number {
    return this.#msghdr.address;
  }

  /** How many entries of the vector count. */
  set entries(count: number) {
    this.#msghdr.view.setUint32(MSG_IOVLEN, count, true);
  }
}

const outgoing = new Message(512);
const incoming = new Message(64);
const peeked = Memory.allocate(1);

/** The part of Node's TCP handle that is used here; undocumented, so its presence is checked. */
interface TcpHandle {
  fd: number;
  readStart(): number;
  readStop(): number;
}

/** The handle of an accepted socket, or null if this Node does not have what is needed. */
export function tcpHandleOf(socket: Socket): TcpHandle | null {
  const handle = (socket as unknown as { _handle?: Partial<TcpHandle> })._handle;
  if (handle === undefined || typeof handle.fd !== 'number' || handle.fd < 0) return null;
  if (typeof handle.readStart !== 'function' || typeof handle.readStop !== 'function') return null;
  return handle as TcpHandle;
}

export class PolledStream<Owner extends object> extends NodeStream<Owner> implements Polled {
  readonly #libc: Libc;
  readonly #poller: Poller;
  readonly #handle: TcpHandle;
  readonly fd: number;
  readonly #meter = new TrafficMeter();
  #isAwake = false;
  /** What is queued was flushed, and not all of it has left. */
  #isDue = false;

  constructor(socket: Socket, handle: TcpHandle, libc: Libc, poller: Poller) {
    super(socket);
    this.#handle = handle;
    this.fd = handle.fd;
    this.#libc = libc;
    this.#poller = poller;
  }

  override peekByte(): number {
    if (this.hasChunk) return super.peekByte();
    if (!this.#isAwake || this.isClosed || this.isHalted) return -1;
    const n = this.#received(this.#libc.recv(this.fd, peeked.address, 1, MSG_PEEK | MSG_DONTWAIT));
    return n === 0 ? -1 : peeked.bytes[0]!;
  }

  override read(region: Memory, offset: number, length: number): number {
    if (this.hasChunk) return super.read(region, offset, length);
    if (!this.#isAwake || this.isClosed || this.isHalted) return 0;
    return this.#received(this.#libc.recv(this.fd, region.address + offset, length, MSG_DONTWAIT));
  }

  override readList(list: ScatterList): number {
    if (this.hasChunk) return super.readList(list);
    if (!this.#isAwake || this.isClosed || this.isHalted) return 0;
    incoming.entries = incoming.vector.fill(list, 0, list.length);
    return this.#received(this.#libc.recvmsg(this.fd, incoming.address, MSG_DONTWAIT));
  }

  #received(n: number): number {
    if (n > 0) return n;
    if (n === 0) this.destroy(null);
    else this.#check('receiving');
    return 0;
  }

  override flush(): void {
    this.#isDue = true;
    if (!this.isNodeWriting && !this.isClosed) {
      this.#send();
      if (!this.#isAwake) this.#awaitRoom();
    }
    this.checkCongestion();
  }

  protected override nodeHasWritten(): void {
    this.flush();
  }

  /** Asleep, Node has to tell when the socket can be written to again: it does by writing one segment, and the others follow. */
  #awaitRoom(): void {
    if (!this.isNodeWriting) this.giveToNode(1);
  }

  override flushSoon(): void {
    this.#isDue = true;
    // Awake, the poller's next turn sends what all completions until then have queued.
    if (!this.#isAwake && !this.isClosed) this.#wake();
    if (!this.#isAwake || this.isNodeWriting) this.flush();
  }

  get isSending(): boolean {
    return this.#isDue && this.queue.count > 0 && !this.isNodeWriting;
  }

  get isReading(): boolean {
    return !this.isHalted;
  }

  poll(): void {
    if (this.isSending) this.#send();
    if (!this.isClosed) this.events.readable();
  }

  sleep(): void {
    this.#isAwake = false;
    this.#awaitRoom();
    if (!this.isHalted) this.resumeReading();
  }

  protected override onReadable(): void {
    if (!this.#isAwake) this.#wake();
    this.events.readable();
  }

  #wake(): void {
    this.#isAwake = this.#poller.wake(this, this.#meter);
    if (this.#isAwake) this.pauseReading();
  }

  /** `reading` stays true: while it is false, Node's socket starts to read again on its own after each chunk. */
  protected override pauseReading(): void {
    this.#handle.readStop();
  }

  protected override resumeReading(): void {
    if (this.#isAwake || this.isClosed) return;
    this.#handle.readStart();
  }

  #send(): void {
    const queue = this.queue;
    while (queue.count > 0) {
      outgoing.entries = queue.fillVector(outgoing.vector);
      const sent = this.#libc.sendmsg(this.fd, outgoing.address, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0) {
        this.#check('sending');
        return;
      }
      this.consume(sent);
    }
    this.#isDue = false;
  }

  /** A call failed: no matter if it only would have waited, else the connection is broken. */
  #check(doing: string): void {
    const errno = this.#libc.errno();
    if (errno === EAGAIN || errno === EINTR) return;
    this.destroy(new Error(`${doing} failed with errno ${errno}`));
  }
}
