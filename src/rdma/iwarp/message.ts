/** What a queue pair puts on the wire: one DDP message, FPDU by FPDU. */

import type { ScatterList } from '../../util/memory.js';
import type { CompletionStatus } from '../work.js';
import {
  type DdpQueue,
  putTaggedHeader,
  putUntaggedHeader,
  type RdmapOpcode,
  TAGGED_HEADER,
  UNTAGGED_HEADER,
} from './headers.js';
import type { FpduWriter } from './mpa/fpdu-writer.js';

/** Its FPDUs belong to it in the stream's queue; when the last of them is gone, it is over. */
export abstract class Message {
  /** Payload bytes that are in FPDUs. */
  protected position = 0;
  #queued = 0;
  #isWhole = false;

  /** Queue its next FPDU; true when that was the last. */
  writeSegment(writer: FpduWriter<Message>): boolean {
    this.#queued++;
    const isLast = this.segment(writer);
    this.#isWhole = isLast;
    return isLast;
  }

  /** The kernel has taken an FPDU of it. */
  segmentReleased(): void {
    if (--this.#queued === 0 && this.#isWhole) {
      this.#isWhole = false;
      this.position = 0;
      this.sent();
    }
  }

  /**
   * Whether its next FPDU may be made: not with LOCAL_PROTECTION_ERROR when its own memory is not to be used any more,
   * REMOTE_ACCESS_ERROR when the memory that the peer asked for is not granted any more.
   */
  abstract check(): CompletionStatus;
  protected abstract segment(writer: FpduWriter<Message>): boolean;
  /** All of it has left. */
  protected abstract sent(): void;

  /** Write the next bytes of `list` to the peer's memory; `high`, `low` and `key` are those of the message's first byte. */
  protected tagged(
    writer: FpduWriter<Message>,
    opcode: RdmapOpcode,
    list: ScatterList | null,
    from: number,
    length: number,
    key: number,
    high: number,
    low: number,
  ): boolean {
    const part = Math.min(length - this.position, writer.maxUlpdu - TAGGED_HEADER);
    const isLast = this.position + part === length;
    writer.begin(TAGGED_HEADER);
    const sum = low + this.position;
    const carried = sum > 0xffff_ffff ? high + 1 : high;
    putTaggedHeader(writer.region.view, writer.offset, opcode, isLast, key, carried, sum);
    writer.finish(list, from + this.position, part, this);
    this.position += part;
    return isLast;
  }

  /** Send the next bytes of `list` to one of the peer's queues. */
  protected untagged(
    writer: FpduWriter<Message>,
    opcode: RdmapOpcode,
    queue: DdpQueue,
    sequenceNumber: number,
    invalidateStag: number,
    list: ScatterList,
  ): boolean {
    const part = Math.min(list.length - this.position, writer.maxUlpdu - UNTAGGED_HEADER);
    const isLast = this.position + part === list.length;
    writer.begin(UNTAGGED_HEADER);
    putUntaggedHeader(
      writer.region.view,
      writer.offset,
      opcode,
      isLast,
      queue,
      sequenceNumber,
      this.position,
      invalidateStag,
    );
    writer.finish(list, this.position, part, this);
    this.position += part;
    return isLast;
  }
}
