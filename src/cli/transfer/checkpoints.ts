/** From time to time makes what was copied stable, and only then has it noted down. */

import type { BlockDevice } from '../../block/index.js';
import { flush } from './perform.js';

const INTERVAL_MS = 1000;

/** What is copied. */
interface Copied {
  /** Everything below is done. */
  readonly position: number;
  stop(): void;
}

export class Checkpoints {
  readonly #destination: BlockDevice;
  readonly #copied: Copied;
  readonly #record: (position: number) => Promise<void>;
  #timer: NodeJS.Timeout | null = null;
  #recorded = -1;
  /** The one under way, or the last. */
  #work: Promise<void> = Promise.resolve();
  #isWorking = false;
  #error: unknown = null;

  /** `record` notes a position below which everything is stable. */
  constructor(destination: BlockDevice, copied: Copied, record: (position: number) => Promise<void>) {
    this.#destination = destination;
    this.#copied = copied;
    this.#record = record;
  }

  start(): void {
    this.#timer = setInterval(() => {
      if (!this.#isWorking) this.#work = this.#checkpoint();
    }, INTERVAL_MS);
  }

  /**
   * The last one. Everything that was copied is stable when it resolves, with the position that was recorded.
   *
   * @throws when the destination could not make it stable, or the position could not be recorded, now or before
   */
  async stop(): Promise<number> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#work;
    if (this.#error === null) await this.#checkpoint();
    if (this.#error !== null) throw this.#error as Error;
    return this.#recorded;
  }

  async #checkpoint(): Promise<void> {
    this.#isWorking = true;
    try {
      // Before the flush: what completes during it need not be stable.
      const { position } = this.#copied;
      await flush(this.#destination);
      if (position > this.#recorded) await this.#record(position);
      this.#recorded = position;
    } catch (error) {
      // What a failed flush has lost, a later one does not bring back: no position is recorded any more.
      this.#error = error;
      if (this.#timer !== null) clearInterval(this.#timer);
      this.#copied.stop();
    } finally {
      this.#isWorking = false;
    }
  }
}
