/** For tests of the Datamover over TCP: a connection without a network. */

import assert from 'node:assert/strict';
import { copyBytes, type Memory, type ScatterList } from '../../../util/memory.js';
import type { DataTransfer } from '../../datamover.js';
import type { ByteStream, ByteStreamEvents } from '../byte-stream.js';
import { SendQueue } from '../../../stream/index.js';

/** A byte stream whose other end is a function; delivers in the portions it is told to. */
export class MemoryStream implements ByteStream {
  events!: ByteStreamEvents;
  readonly queue = new SendQueue<DataTransfer>();
  receive: (bytes: Buffer) => void = () => undefined;
  #incoming: Buffer = Buffer.alloc(0);
  isClosed = false;

  read(region: Memory, offset: number, length: number): number {
    const part = Math.min(length, this.#incoming.length);
    copyBytes(this.#incoming, 0, region.bytes, offset, part);
    this.#incoming = this.#incoming.subarray(part);
    return part;
  }

  readList(list: ScatterList): number {
    let total = 0;
    for (let i = 0; i < list.count; i++)
      total += this.read(list.regions[i]!, list.offsets[i]!, list.lengths[i]!);
    return total;
  }

  deliver(bytes: Buffer): void {
    this.#incoming = Buffer.concat([this.#incoming, bytes]);
    while (this.#incoming.length > 0 && !this.isClosed) {
      const before = this.#incoming.length;
      this.events.readable();
      assert.ok(this.#incoming.length < before || this.isClosed, 'input is left lying');
    }
  }

  flush(): void {
    if (this.queue.count === 0) return;
    const all = Buffer.concat(this.queue.views(0));
    this.queue.consume(all.length, (owner) => {
      this.events.released(owner);
    });
    this.receive(all);
  }

  flushSoon(): void {
    this.flush();
  }

  end(): void {
    this.flush();
    this.destroy(null);
  }

  destroy(error: Error | null): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.queue.clear((owner) => {
      this.events.released(owner);
    });
    this.events.closed(error);
  }
}
