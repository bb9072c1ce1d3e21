/**
 * What arrives on a connection in its transmission phase: headers through a buffer, so that one read of the
 * socket brings many, and data straight to where it belongs as soon as the buffer is used up.
 */

import type { ByteStream } from '../stream/index.js';
import { copyBytes, Memory, type ScatterList } from '../util/memory.js';

const BUFFER = 64 * 1024;
/** Fewer bytes than this are not worth a read of their own: what is behind them comes along. */
const DIRECT = 8 * 1024;

export class Receiver {
  readonly #stream: ByteStream<object>;
  readonly #memory = Memory.allocate(BUFFER);
  #start = 0;
  #end = 0;

  constructor(stream: ByteStream<object>) {
    this.#stream = stream;
  }

  /** Move the next `length` bytes (few) to the start of `target`; false, and nothing moved, if not all have come. */
  take(target: Uint8Array, length: number): boolean {
    while (this.#end - this.#start < length) {
      if (!this.#fill()) return false;
    }
    copyBytes(this.#memory.bytes, this.#start, target, 0, length);
    this.#start += length;
    return true;
  }

  /** Move up to `length` bytes to `list` at `position`. Returns how many; fewer when no more have come. */
  moveInto(list: ScatterList, position: number, length: number): number {
    let moved = 0;
    while (moved < length) {
      const left = length - moved;
      const buffered = Math.min(this.#end - this.#start, left);
      if (buffered > 0) {
        list.writeFrom(position + moved, this.#memory, this.#start, buffered);
        this.#start += buffered;
        moved += buffered;
      } else if (left < DIRECT) {
        if (!this.#fill()) break;
      } else {
        const got = this.#readDirectly(list, position + moved, left);
        if (got === 0) break;
        moved += got;
      }
    }
    return moved;
  }

  /** Drop up to `length` bytes. Returns how many; fewer when no more have come. */
  skip(length: number): number {
    let skipped = 0;
    while (skipped < length) {
      if (this.#end === this.#start && !this.#fill()) break;
      const part = Math.min(this.#end - this.#start, length - skipped);
      this.#start += part;
      skipped += part;
    }
    return skipped;
  }

  #fill(): boolean {
    if (this.#start > 0) {
      this.#memory.bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const got = this.#stream.read(this.#memory, this.#end, BUFFER - this.#end);
    this.#end += got;
    return got > 0;
  }

  /** One read into the segment at `position`. */
  #readDirectly(list: ScatterList, position: number, length: number): number {
    for (let i = 0; i < list.count; i++) {
      const have = list.lengths[i]!;
      if (position < have) {
        const part = Math.min(have - position, length);
        return this.#stream.read(list.regions[i]!, list.offsets[i]! + position, part);
      }
      position -= have;
    }
    return 0;
  }
}
