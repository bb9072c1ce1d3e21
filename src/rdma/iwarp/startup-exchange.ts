/** Moves the frames of MPA's startup over a stream, within a time. */

import type { ByteStream, ByteStreamEvents } from '../../stream/index.js';
import { RiserError } from '../../util/errors.js';
import { copyBytes, Memory } from '../../util/memory.js';
import type { Message } from './message.js';

/** The side's state machine: {@link MpaInitiator} or {@link MpaResponder}. */
export interface StartupMachine {
  readonly error: Error | null;
  handleBytes(bytes: Uint8Array): number;
}

/** A frame has at most 20 bytes and 512 of private data (RFC 5044 7.1.1). */
const FRAME_ROOM = 532;

export class StartupExchange implements ByteStreamEvents<Message> {
  readonly stream: ByteStream<Message>;
  readonly #machine: StartupMachine;
  readonly #isComplete: () => boolean;
  readonly #completed: () => void;
  readonly #failed: (error: Error) => void;
  readonly #memory = Memory.allocate(FRAME_ROOM);
  readonly #timer: NodeJS.Timeout;
  #isOver = false;
  /** The stream is gone. */
  isClosed = false;

  /**
   * Takes the stream over, paused or not; what has come and was not read is the first that counts. Of `completed` and
   * `failed` one is called, once, never from within this call. `timeout`: milliseconds.
   */
  constructor(
    stream: ByteStream<Message>,
    machine: StartupMachine,
    isComplete: () => boolean,
    timeout: number,
    completed: () => void,
    failed: (error: Error) => void,
  ) {
    this.stream = stream;
    this.#machine = machine;
    this.#isComplete = isComplete;
    this.#completed = completed;
    this.#failed = failed;
    this.#timer = setTimeout(() => {
      stream.destroy(
        new RiserError('RDMA_TIMEOUT', `the peer did not finish MPA's startup within ${timeout / 1000} s`, {
          by: 'peer',
          costs: 'connection',
        }),
      );
    }, timeout);
    stream.events = this;
    stream.resume();
    // It may have told its end to whoever had it before.
    if (stream.isClosed) {
      queueMicrotask(() => {
        this.closed(null);
      });
    }
  }

  send(frame: Uint8Array): void {
    sendFrame(this.stream, frame);
  }

  readable(): void {
    while (!this.#isOver) {
      const n = this.stream.read(this.#memory, 0, FRAME_ROOM);
      if (n === 0) return;
      const taken = this.#machine.handleBytes(this.#memory.bytes.subarray(0, n));
      if (this.#machine.error !== null) this.stream.destroy(this.#machine.error);
      else if (taken < n) this.stream.destroy(tooEarly());
      else if (this.#isComplete()) {
        this.#settle();
        // What comes next is for whoever takes over.
        this.stream.pause();
        this.#completed();
      }
    }
  }

  released(): void {
    // Frames belong to nobody.
  }

  closed(error: Error | null): void {
    this.isClosed = true;
    if (this.#isOver) return;
    this.#settle();
    this.#failed(error ?? closedEarly());
  }

  #settle(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}

export function sendFrame(stream: ByteStream<Message>, frame: Uint8Array): void {
  const { queue } = stream;
  queue.reserve(frame.length);
  copyBytes(frame, 0, queue.region.bytes, queue.offset, frame.length);
  stream.flush();
}

/** Neither side may send anything between its frame and the other's (RFC 5044 7.1.2). */
function tooEarly(): RiserError {
  return new RiserError('RDMA_VIOLATION', "the peer sent more before MPA's startup was over", {
    by: 'peer',
    costs: 'connection',
  });
}

/** `cause`: null where it closed in good order. */
export function closedEarly(cause: unknown = null): RiserError {
  return new RiserError('RDMA_CLOSED', "the peer closed the connection in MPA's startup", {
    by: 'peer',
    costs: 'connection',
    cause,
    remedy: 'Check that it speaks iWARP on this port.',
  });
}
