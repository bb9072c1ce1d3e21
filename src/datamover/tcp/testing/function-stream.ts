/** For tests of the Datamover over TCP: a connection without a network. */

import assert from 'node:assert/strict';
import { MemoryStream } from '../../../stream/testing/memory-stream.js';
import type { DataTransfer } from '../../datamover.js';

/** A byte stream whose other end is a function; delivers in the portions it is told to. */
export class FunctionStream extends MemoryStream<DataTransfer> {
  receive: (bytes: Buffer) => void = () => undefined;

  deliver(bytes: Buffer): void {
    this.incoming = Buffer.concat([this.incoming, bytes]);
    while (this.incoming.length > 0 && !this.isClosed) {
      const before = this.incoming.length;
      this.events.readable();
      assert.ok(this.incoming.length < before || this.isClosed, 'input is left lying');
    }
  }

  flush(): void {
    if (this.queue.count === 0) return;
    const all = Buffer.concat(this.queue.views(0));
    this.queue.consume(all.length, this.released);
    this.leave(all);
  }

  protected leave(bytes: Buffer): void {
    this.receive(bytes);
  }

  /** Until everything has arrived that either end has sent: here it does so within the call. */
  settle(): Promise<void> {
    return Promise.resolve();
  }

  end(): void {
    this.flush();
    this.destroy(null);
  }
}

/** The same with a way between the ends: what is sent arrives in a later turn of the event loop. */
export class LateStream extends FunctionStream {
  #travelling = 0;

  override deliver(bytes: Buffer): void {
    this.#later(() => {
      super.deliver(bytes);
    });
  }

  protected override leave(bytes: Buffer): void {
    this.#later(() => {
      super.leave(bytes);
    });
  }

  override async settle(): Promise<void> {
    while (this.#travelling > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  #later(arrive: () => void): void {
    this.#travelling++;
    setImmediate(() => {
      this.#travelling--;
      arrive();
    });
  }
}
