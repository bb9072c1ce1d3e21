/**
 * A handshake as a generator: it yields how many bytes it needs next and gets them, at once or when they
 * have come. Written down like a conversation, it has no socket, timer or promise in it.
 */

import { Memory } from '../util/memory.js';
import type { ByteStream } from '../stream/index.js';

/** Yields numbers of bytes, at most {@link LONGEST}; what it gets for one is valid until it yields the next. */
export type Dialogue<Result> = Generator<number, Result, Buffer>;

/** The most bytes to ask for at once: an option with a name and some queries in it. */
export const LONGEST = 16 * 1024;

/** Carries on one dialogue over a stream. */
export class DialogueRunner<Result> {
  readonly #stream: ByteStream<object>;
  readonly #dialogue: Dialogue<Result>;
  readonly #ended: (result: Result) => void;
  readonly #buffer = Memory.allocate(LONGEST);
  #wanted = 0;
  #have = 0;
  #isOver = false;

  /**
   * `ended` gets the result, from within {@link readable} or this call. What the dialogue throws comes out
   * of both. Bytes behind the last one that the dialogue asked for stay in the stream.
   */
  constructor(stream: ByteStream<object>, dialogue: Dialogue<Result>, ended: (result: Result) => void) {
    this.#stream = stream;
    this.#dialogue = dialogue;
    this.#ended = ended;
    this.#proceed(dialogue.next());
  }

  /** Take what the stream has. */
  readable(): void {
    while (!this.#isOver) {
      const left = this.#wanted - this.#have;
      const got = left === 0 ? 0 : this.#stream.read(this.#buffer, this.#have, left);
      this.#have += got;
      if (got < left) {
        if (got === 0) return;
      } else {
        const bytes = this.#buffer.bytes.subarray(0, this.#wanted);
        this.#have = 0;
        this.#proceed(this.#dialogue.next(bytes));
      }
    }
  }

  #proceed(step: IteratorResult<number, Result>): void {
    if (step.done === true) {
      this.#isOver = true;
      this.#ended(step.value);
    } else {
      this.#wanted = step.value;
    }
  }
}
