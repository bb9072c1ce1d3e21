/**
 * Makes the FPDUs that leave (RFC 5044 4): length field and header in the queue's slab, the payload where
 * it lies, padding and CRC in the slab again.
 */

import type { SendQueue } from '../../../stream/send-queue.js';
import { crc32c, crc32cOfList } from '../../../util/crc32c.js';
import { putU32 } from '../../../util/fields.js';
import { copyBytes, Memory, type ScatterList } from '../../../util/memory.js';
import { misuse } from './errors.js';
import {
  CRC_LENGTH,
  type FpduOptions,
  LENGTH_FIELD,
  MARKER_INTERVAL,
  MARKER_LENGTH,
  MAX_ULPDU,
  paddingOf,
} from './fpdu.js';

/** A payload of so many bytes is copied behind its header: that costs less than a part of its own in a gathered write. */
export const COPIED = 192;

/**
 * A writer on the queue of a connection in Full Operation. `Owner` as in {@link SendQueue}.
 *
 * @example
 * writer.begin(14);
 * putTaggedHeader(writer.region.view, writer.offset);
 * writer.finish(payload, 0, payload.length, owner);
 */
export class FpduWriter<Owner extends object> {
  /** MULPDU, the longest ULPDU that fits a segment: see `mulpduFor`. The caller keeps to it; up to 64768. */
  maxUlpdu = MAX_ULPDU;
  /** Where {@link begin} wants the header. */
  region: Memory;
  offset = 0;
  readonly #queue: SendQueue<Owner>;
  readonly #crc: boolean;
  readonly #markers: MarkedOutput<Owner> | null;
  #headerLength = 0;

  constructor(queue: SendQueue<Owner>, { crc, markers }: FpduOptions) {
    this.#queue = queue;
    this.#crc = crc;
    this.#markers = markers ? new MarkedOutput(queue) : null;
    this.region = queue.region;
  }

  /** Payloads of up to {@link COPIED} bytes are: with markers none is. */
  get copiesShort(): boolean {
    return this.#markers === null;
  }

  /** Begin an FPDU: put the first `headerLength` bytes of its ULPDU at `offset` of `region`, then {@link finish}. */
  begin(headerLength: number): void {
    this.#headerLength = headerLength;
    const queue = this.#queue;
    if (this.#markers !== null) {
      this.region = this.#markers.header(LENGTH_FIELD + headerLength);
      this.offset = LENGTH_FIELD;
      return;
    }
    queue.reserve(LENGTH_FIELD + headerLength);
    this.region = queue.region;
    this.offset = queue.offset + LENGTH_FIELD;
  }

  /**
   * The ULPDU's other bytes: `length` of `payload` from `skip` on, which stay there until `owner` is released; it is
   * released by the FPDU's last byte.
   *
   * @throws RiserError `MPA_MISUSE`: the ULPDU is longer than 64768 bytes; the connection is spoiled
   */
  finish(payload: ScatterList | null, skip: number, length: number, owner: Owner | null): void {
    const headerLength = this.#headerLength;
    const ulpduLength = headerLength + length;
    if (ulpduLength > MAX_ULPDU) throw misuse(`a ULPDU of ${ulpduLength} bytes; ${MAX_ULPDU} are the most`);
    const { bytes, view } = this.region;
    const start = this.offset - LENGTH_FIELD;
    view.setUint16(start, ulpduLength);
    const padding = paddingOf(ulpduLength);
    if (this.#markers !== null) {
      const from = LENGTH_FIELD + headerLength;
      this.#markers.finish(from, payload, skip, length, padding, this.#crc, owner);
      return;
    }
    let crc = 0;
    if (this.#crc) {
      crc = crc32c(bytes, 0, start, start + LENGTH_FIELD + headerLength);
      if (payload !== null && length > 0) crc = crc32cOfList(payload, crc, skip, length);
    }
    const queue = this.#queue;
    const copied = length <= COPIED ? length : 0;
    if (length > copied) queue.pushList(payload!, skip, length, null);
    queue.reserve(copied + padding + CRC_LENGTH, owner);
    const tail = queue.region;
    if (copied > 0) payload!.readTo(skip, queue.region, queue.offset, copied);
    const at = queue.offset + copied;
    const end = at + padding;
    tail.view.setUint32(at, 0);
    // Padding counts for the CRC (RFC 5044 4.4).
    if (this.#crc && padding > 0) crc = crc32c(tail.bytes, crc, at, end);
    putCrc(tail, end, crc);
  }
}

/** Without CRCs the field is there and may be anything (RFC 5044 4.1): here 0. In the manner of iSCSI, little-endian. */
function putCrc({ view }: Memory, offset: number, crc: number): void {
  view.setUint32(offset, crc, true);
}

/** A DDP header and whatever comes with it; longer ones get memory of their own. */
const FIRST_HEADER_ROOM = 256;
const zeroes = Memory.allocate(4);

/**
 * FPDUs with a marker at every 512th byte of the stream (RFC 5044 4.3). The payload is not copied here either, but
 * cut into the parts between markers. Few peers ask for this: clarity first.
 */
class MarkedOutput<Owner extends object> {
  readonly #queue: SendQueue<Owner>;
  /** Length field and header wait here, as markers may fall into them. */
  #header = Memory.allocate(FIRST_HEADER_ROOM);
  /** Bytes since the last marker began; a marker is due at {@link MARKER_INTERVAL}, and before the first FPDU. */
  #sinceMarker = MARKER_INTERVAL;
  /** Bytes since the FPDU's length field, markers too: what the next marker would point back. */
  #sinceStart = 0;
  #crc = 0;

  constructor(queue: SendQueue<Owner>) {
    this.#queue = queue;
  }

  header(length: number): Memory {
    if (length > this.#header.length) this.#header = Memory.allocate(length);
    return this.#header;
  }

  finish(
    headerLength: number,
    payload: ScatterList | null,
    skip: number,
    length: number,
    padding: number,
    hasCrc: boolean,
    owner: Owner | null,
  ): void {
    this.#crc = 0;
    // A marker between FPDUs belongs to the second; its FPDUPTR is 0.
    this.#sinceStart = 0;
    this.#mark();
    this.#sinceStart = 0;
    for (let done = 0; done < headerLength;) done += this.#emitHeader(done, headerLength - done);
    if (payload !== null) {
      for (let done = 0; done < length;) done += this.#emitPayload(payload, skip + done, length - done);
    }
    // The stream is aligned to 4 bytes at markers and behind the padding: neither padding nor CRC are cut.
    this.#emit(zeroes, 0, padding);
    // A marker between padding and CRC is part of the CRC (RFC 5044 4.4).
    this.#mark();
    this.#queue.reserve(CRC_LENGTH, owner);
    putCrc(this.#queue.region, this.#queue.offset, hasCrc ? this.#crc : 0);
    this.#sinceMarker += CRC_LENGTH;
  }

  #emitHeader(from: number, length: number): number {
    this.#mark();
    const part = Math.min(length, MARKER_INTERVAL - this.#sinceMarker);
    this.#queue.reserve(part);
    copyBytes(this.#header.bytes, from, this.#queue.region.bytes, this.#queue.offset, part);
    this.#count(this.#queue.region, this.#queue.offset, part);
    return part;
  }

  #emitPayload(payload: ScatterList, skip: number, length: number): number {
    this.#mark();
    const part = Math.min(length, MARKER_INTERVAL - this.#sinceMarker);
    this.#queue.pushList(payload, skip, part, null);
    this.#crc = crc32cOfList(payload, this.#crc, skip, part);
    this.#advance(part);
    return part;
  }

  #emit(region: Memory, offset: number, length: number): void {
    if (length === 0) return;
    this.#mark();
    this.#queue.push(region, offset, length, null);
    this.#count(region, offset, length);
  }

  /** Put a marker if one is due here. */
  #mark(): void {
    if (this.#sinceMarker < MARKER_INTERVAL) return;
    this.#queue.reserve(MARKER_LENGTH);
    const { region, offset } = this.#queue;
    putU32(region.bytes, offset, this.#sinceStart);
    this.#sinceMarker = 0;
    this.#count(region, offset, MARKER_LENGTH);
  }

  #count(region: Memory, offset: number, length: number): void {
    this.#crc = crc32c(region.bytes, this.#crc, offset, offset + length);
    this.#advance(length);
  }

  #advance(length: number): void {
    this.#sinceMarker += length;
    this.#sinceStart += length;
  }
}
