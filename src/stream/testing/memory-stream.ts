/** For tests: one end of a byte stream without a network. What is sent and when is its subclasses' business. */

import { copyBytes, type Memory, type ScatterList } from '../../util/memory.js';
import type { ByteStream, ByteStreamEvents } from '../byte-stream.js';
import { SendQueue } from '../send-queue.js';

export abstract class MemoryStream<Owner extends object> implements ByteStream<Owner> {
  events!: ByteStreamEvents<Owner>;
  readonly queue = new SendQueue<Owner>();
  isClosed = false;
  /** What has arrived and was not read. */
  protected incoming: Buffer = Buffer.alloc(0);
  protected readonly released = (owner: Owner): void => {
    this.events.released(owner);
  };

  abstract flush(): void;
  abstract end(): void;

  peekByte(): number {
    return this.incoming[0] ?? -1;
  }

  read(region: Memory, offset: number, length: number): number {
    const part = Math.min(length, this.incoming.length);
    copyBytes(this.incoming, 0, region.bytes, offset, part);
    this.incoming = this.incoming.subarray(part);
    return part;
  }

  readList(list: ScatterList): number {
    let total = 0;
    for (let i = 0; i < list.count; i++)
      total += this.read(list.regions[i]!, list.offsets[i]!, list.lengths[i]!);
    return total;
  }

  flushSoon(): void {
    this.flush();
  }

  pause(): void {
    throw new Error('nobody pauses here');
  }

  resume(): void {
    throw new Error('nobody pauses here');
  }

  destroy(error: Error | null): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.queue.clear(this.released);
    this.events.closed(error);
  }
}
