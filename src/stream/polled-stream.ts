/**
 * {@link ByteStream} on a socket's descriptor: `recv` and `sendmsg` straight between the kernel and
 * the protocol's memory, without an allocation. Asleep, the socket is Node's and wakes us by its
 * first bytes; awake, Node does not read from it and the {@link Poller} asks.
 */

import type { Socket } from 'node:net';
import { Memory } from '../util/memory.js';
import { IoVector } from '../util/posix/iovec.js';
import type { Libc } from '../util/posix/libc.js';
import { NodeStream } from './node-stream.js';
import { type Polled, type Poller, TrafficMeter } from './poller.js';

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EAGAIN = 11;
const EINTR = 4;

/** One `struct msghdr` and its vector, shared by all streams: sendmsg does not keep them. */
const vector = new IoVector(512);
const msghdr = Memory.allocate(56);
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
msghdr.view.setBigUint64(MSG_IOV, BigInt(vector.address), true);

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

  constructor(socket: Socket, handle: TcpHandle, libc: Libc, poller: Poller) {
    super(socket);
    this.#handle = handle;
    this.fd = handle.fd;
    this.#libc = libc;
    this.#poller = poller;
  }

  override read(region: Memory, offset: number, length: number): number {
    if (this.hasChunk) return super.read(region, offset, length);
    if (!this.#isAwake || this.isClosed || this.isHalted) return 0;
    const n = this.#libc.recv(this.fd, region.address + offset, length, MSG_DONTWAIT);
    if (n > 0) return n;
    if (n === 0) this.destroy(null);
    else this.#check('recv');
    return 0;
  }

  override flush(): void {
    if (!this.isNodeWriting && !this.isClosed) this.#send();
    if (this.isNodeWriting || !this.#isAwake) this.giveToNode();
    this.checkCongestion();
  }

  override flushSoon(): void {
    // Awake, the poller's next turn sends what all completions until then have queued.
    if (!this.#isAwake && !this.isClosed) this.#wake();
    if (!this.#isAwake || this.isNodeWriting) this.flush();
  }

  get isSending(): boolean {
    return this.queue.count > 0 && !this.isNodeWriting;
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
    this.giveToNode();
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
      msghdr.view.setUint32(MSG_IOVLEN, queue.fillVector(vector), true);
      const sent = this.#libc.sendmsg(this.fd, msghdr.address, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0) {
        this.#check('sendmsg');
        return;
      }
      this.consume(sent);
    }
  }

  /** A call failed: no matter if it only would have waited, else the connection is broken. */
  #check(call: string): void {
    const errno = this.#libc.errno();
    if (errno === EAGAIN || errno === EINTR) return;
    this.destroy(new Error(`${call} failed with errno ${errno}`));
  }
}
