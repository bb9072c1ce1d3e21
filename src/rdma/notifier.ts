/**
 * Tells listeners of what happened, never from within a call of theirs: at the end of the input that brought it,
 * or soon after a call of theirs that caused it. What a listener throws is thrown later, and alone: neither the others nor
 * whoever handles the input suffer from it.
 */

/** Something that has news for a listener. */
export interface Notified {
  notify(): void;
}

export class Notifier {
  readonly #soon: (run: () => void) => void;
  // Two arrays that take turns and never shrink: emptied by their length they would be allocated anew each time.
  #waiting: (Notified | null)[] = [];
  #handing: (Notified | null)[] = [];
  #count = 0;
  #depth = 0;
  #isScheduled = false;
  readonly #run = (): void => {
    this.#isScheduled = false;
    this.enter();
    this.leave();
  };

  /** `soon` runs a function after the current call, and before anything else comes in. */
  constructor(soon: (run: () => void) => void) {
    this.#soon = soon;
  }

  add(notified: Notified): void {
    this.#waiting[this.#count++] = notified;
    if (this.#depth > 0 || this.#isScheduled) return;
    this.#isScheduled = true;
    this.#soon(this.#run);
  }

  /** Input is being handled. */
  enter(): void {
    this.#depth++;
  }

  /** A part of it has been: tell what it brought, and what the listeners' answers bring in turn. */
  tell(): void {
    // Input within a listener's call: the outer one tells.
    if (this.#depth > 1) return;
    while (this.#count > 0) {
      const handing = this.#waiting;
      const count = this.#count;
      this.#waiting = this.#handing;
      this.#handing = handing;
      this.#count = 0;
      for (let i = 0; i < count; i++) {
        const notified = handing[i]!;
        handing[i] = null;
        try {
          notified.notify();
        } catch (error) {
          this.#soon(() => {
            throw error;
          });
        }
      }
    }
  }

  /** All of it has been, and was told. */
  leave(): void {
    this.tell();
    this.#depth--;
  }
}
