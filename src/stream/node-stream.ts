/** {@link ByteStream} on Node's own sockets: works everywhere, costs an allocation for every chunk and write. */

import type { Socket } from 'node:net';
import { copyBytes, type Memory, type ScatterList } from '../util/memory.js';
import type { ByteStream, ByteStreamEvents } from './byte-stream.js';
import { SendQueue } from './send-queue.js';

/**
 * With more than this many bytes unsent nothing more is read: a peer that asks without reading the
 * answers is held back by TCP instead of filling our memory.
 */
const CONGESTED = 32 << 20;

/** How long a peer may go without reading any of the last bytes before an orderly close stops waiting, milliseconds. */
const END_GRACE_MS = 2000;

export class NodeStream<Owner extends object> implements ByteStream<Owner> {
  events!: ByteStreamEvents<Owner>;
  readonly queue = new SendQueue<Owner>();
  protected readonly socket: Socket;
  protected isEnding = false;
  #isFinished = false;
  #isCongested = false;
  #isPaused = false;
  #endWatch: NodeJS.Timeout | undefined;
  /** What Node read and nobody has pulled yet. */
  #chunk: Buffer | null = null;
  #chunkOffset = 0;
  /** Segments at the front of the queue that Node's socket has been given. */
  #given = 0;
  readonly #released = (owner: Owner): void => {
    this.events.released(owner);
  };

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => {
      this.#chunk = chunk;
      this.#chunkOffset = 0;
      this.#drain();
    });
    socket.on('error', (error) => {
      this.finish(error);
    });
    socket.on('close', () => {
      this.finish(null);
    });
  }

  /**
   * Node closes the descriptor at the moment it destroys the socket, long before it says so by 'close', and
   * the next connection may get the same number.
   */
  get isClosed(): boolean {
    return this.#isFinished || this.socket.destroyed;
  }

  peekByte(): number {
    return this.#chunk === null || this.isHalted || this.isClosed ? -1 : this.#chunk[this.#chunkOffset]!;
  }

  read(region: Memory, offset: number, length: number): number {
    const chunk = this.#chunk;
    if (chunk === null || this.isHalted || this.isClosed) return 0;
    const part = Math.min(length, chunk.length - this.#chunkOffset);
    copyBytes(chunk, this.#chunkOffset, region.bytes, offset, part);
    this.#chunkOffset += part;
    if (this.#chunkOffset === chunk.length) this.#chunk = null;
    return part;
  }

  readList(list: ScatterList): number {
    let total = 0;
    for (let i = 0; i < list.count; i++) {
      const n = this.read(list.regions[i]!, list.offsets[i]!, list.lengths[i]!);
      total += n;
      if (n < list.lengths[i]!) break;
    }
    return total;
  }

  flush(): void {
    this.giveToNode();
    this.checkCongestion();
  }

  flushSoon(): void {
    this.flush();
  }

  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.pauseReading();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#readOnSoon();
  }

  end(): void {
    if (this.isClosed || this.isEnding) return;
    this.isEnding = true;
    this.giveToNode();
    this.socket.end();
    this.#watchEnd();
  }

  /** A socket's own timeout would begin anew with each byte that still comes in. */
  #watchEnd(): void {
    let before = this.#unsent;
    this.#endWatch = setInterval(() => {
      const unsent = this.#unsent;
      if (unsent === before) this.socket.destroy();
      before = unsent;
    }, END_GRACE_MS).unref();
  }

  get #unsent(): number {
    // What the kernel has taken of a write is to be seen in Node's handle only.
    const handle = (this.socket as { _handle?: { writeQueueSize?: number } | null })._handle;
    return this.queue.bytes + (handle?.writeQueueSize ?? 0);
  }

  destroy(error: Error | null): void {
    this.socket.destroy();
    this.finish(error);
  }

  /** Whether nothing is read, because the peer does not read or because the reader wants nothing. */
  protected get isHalted(): boolean {
    return this.#isCongested || this.#isPaused;
  }

  /** Whether bytes that Node read are still to be pulled. */
  protected get hasChunk(): boolean {
    return this.#chunk !== null;
  }

  /** Whether Node's socket is writing: then nobody else may write to the descriptor. */
  protected get isNodeWriting(): boolean {
    return this.#given > 0;
  }

  protected onReadable(): void {
    this.events.readable();
  }

  /** Have Node send what is queued and not yet given to it, at most so many segments; {@link nodeHasWritten} then. */
  protected giveToNode(most = Infinity): void {
    const views = this.queue.views(this.#given, most);
    const last = views.length - 1;
    if (last < 0 || this.isClosed) return;
    this.socket.cork();
    let bytes = 0;
    for (let i = 0; i < last; i++) {
      bytes += views[i]!.length;
      this.socket.write(views[i]!);
    }
    bytes += views[last]!.length;
    this.#given += views.length;
    this.socket.write(views[last]!, (error) => {
      if (error) return; // 'error' and 'close' follow
      this.#given -= views.length;
      this.consume(bytes);
      if (this.#given === 0 && !this.isEnding) this.nodeHasWritten();
    });
    this.socket.uncork();
  }

  /** Node has sent all that it was given; what was queued meanwhile waits for somebody to send it. */
  protected nodeHasWritten(): void {
    this.giveToNode();
  }

  /** The next chunk would take this one's place. */
  #drain(): void {
    while (this.#chunk !== null && !this.isHalted && !this.isClosed) this.onReadable();
  }

  protected consume(bytes: number): void {
    this.queue.consume(bytes, this.#released);
    if (this.#isCongested && this.queue.bytes <= CONGESTED / 2) {
      this.#isCongested = false;
      this.#readOnSoon();
    }
  }

  #readOnSoon(): void {
    setImmediate(() => {
      this.#drain();
      if (!this.isHalted) this.resumeReading();
    });
  }

  protected checkCongestion(): void {
    if (this.#isCongested || this.queue.bytes <= CONGESTED) return;
    this.#isCongested = true;
    this.pauseReading();
  }

  protected pauseReading(): void {
    this.socket.pause();
  }

  protected resumeReading(): void {
    this.socket.resume();
  }

  /** The one place where the stream ends. */
  protected finish(error: Error | null): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    clearInterval(this.#endWatch);
    this.queue.clear(this.#released);
    this.#given = 0;
    this.events.closed(error);
  }
}
