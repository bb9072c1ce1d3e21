/**
 * Finds the FPDUs in what arrives, in batches: checks CRCs and markers, gives ULPDUs on, and receives long ones
 * straight to their place where neither CRC nor markers forbid it (RFC 5044 4, 6).
 */

import { type ByteStream, DIRECT_FROM } from '../../../stream/byte-stream.js';
import { crc32c } from '../../../util/crc32c.js';
import { getU16 } from '../../../util/fields.js';
import { Memory, ScatterList } from '../../../util/memory.js';
import { MpaError, MpaErrorCode } from './errors.js';
import {
  CRC_LENGTH,
  fpduLength,
  type FpduOptions,
  FPDUPTR_MASK,
  LENGTH_FIELD,
  MARKER_INTERVAL,
  MARKER_LENGTH,
} from './fpdu.js';
import { markedLength, markersAgree, removeMarkers } from './markers.js';

export interface UlpduHandler {
  /** A whole ULPDU, its CRC checked: `length` bytes, 0 to 65535, at `offset` of `region`, valid during the call only. */
  ulpdu(region: Memory, offset: number, length: number): void;
  /**
   * Without CRC and markers only: a long ULPDU of `length` bytes begins at `offset` of `region`, and `available` bytes of
   * it are here, {@link PLACEMENT_PREFIX} or more. Gives where those behind its header go; null to have it collected
   * and given to {@link ulpdu}.
   */
  beginPlacement(region: Memory, offset: number, available: number, length: number): UlpduPlacement | null;
  /** All of the FPDU has arrived, its ULPDU is in place. */
  placed(): void;
  /** All that one read brought has been given on; the next one may bring more. */
  batchEnded(): void;
  /**
   * The stream cannot be followed any further; nothing more comes (RFC 5044 8). The connection stays open for a
   * Terminate message with the error's code.
   */
  violation(error: MpaError): void;
}

/** Where a long ULPDU goes. Left alone until `placed`, or `dropPlacement`. */
export interface UlpduPlacement {
  /** Bytes of the ULPDU that go nowhere: at most those that were available. */
  readonly headerLength: number;
  /** The others, exactly: `length - headerLength` bytes. */
  readonly list: ScatterList;
}

/** Where the bytes come from: see {@link ByteStream}. */
export type FpduSource = Pick<ByteStream<object>, 'read' | 'readList'>;

/** Bytes of a ULPDU that are here, at least, when it is asked where it goes: the DDP header of what can be long (RFC 5041 4.3). */
export const PLACEMENT_PREFIX = 18;
/** What is read along with a placement's last bytes: what tells of the next FPDU, and not more than is quickly copied. */
const LEAST_AHEAD = LENGTH_FIELD + PLACEMENT_PREFIX;
const LONGEST_AHEAD = 4096;
/** The receive buffer has room for the longest FPDU with its markers, and for a batch behind it. */
const LONGEST_FPDU = markedLength(MARKER_LENGTH, fpduLength(0xffff)) + MARKER_LENGTH;
const BATCH = 64 * 1024;
/** Where long ULPDUs go straight to their place, what of them comes along with a batch is copied: those are shorter. */
const BATCH_BEFORE_PLACING = 48 * 1024;
const BATCH_AFTER_PLACING = 512;
/** Reads of one input event before others get their turn. */
const READS_PER_EVENT = 16;

export class FpduReader {
  readonly #source: FpduSource;
  readonly #handler: UlpduHandler;
  readonly #crc: boolean;
  readonly #markers: boolean;
  #isStopped = false;

  /** Received bytes `#start` .. `#end` of the buffer are not handled yet. FPDUs stay aligned to 4 bytes. */
  readonly #receive = Memory.allocate(LONGEST_FPDU + BATCH);
  #start = 0;
  #end = 0;
  /** With markers: bytes from the last marker's first byte to `#start`; a marker is due at MARKER_INTERVAL. */
  #sinceMarker = MARKER_INTERVAL;

  /** Bytes that a read may bring beyond the FPDU at `#start`; grows when short FPDUs fill it. */
  #batch = BATCH_AFTER_PLACING;
  readonly #longestBatch: number;

  /** A ULPDU that is being received to its place: where, how far, and what is missing. */
  #isPlacing = false;
  /** Null: it is dropped. */
  #target: ScatterList | null = null;
  #targetOffset = 0;
  #placeLeft = 0;
  #trailer = 0;
  readonly #placeList = new ScatterList();
  /** Bytes that came behind the last FPDU that was placed. */
  #sincePlacement = LONGEST_AHEAD;
  /**
   * So many are read along with a placement: those that came until the next one the time before last. As a rule messages are alike,
   * and have one or two FPDUs that are long.
   */
  #ahead = LEAST_AHEAD;
  #aheadNext = LEAST_AHEAD;
  /** The FPDU at `#start` is to be collected. */
  #isDeclined = false;

  constructor(source: FpduSource, { crc, markers }: FpduOptions, handler: UlpduHandler) {
    this.#source = source;
    this.#crc = crc;
    this.#markers = markers;
    this.#longestBatch = crc || markers ? BATCH : BATCH_BEFORE_PLACING;
    this.#handler = handler;
  }

  /** Nothing is given on any more, and no memory is written to. */
  stop(): void {
    this.#isStopped = true;
    this.#target = null;
  }

  /**
   * The memory of the placement under way is needed back: what else comes for it is dropped. `placed` follows all the
   * same.
   */
  dropPlacement(): void {
    this.#target = null;
  }

  /** Handle what the source has; if that is very much, another event brings the rest. */
  readable(): void {
    for (let reads = 0; reads < READS_PER_EVENT && !this.#isStopped; reads++) {
      if (this.#isPlacing) {
        if (!this.#readPlacement()) return;
        const isCollecting = this.#parse();
        this.#handler.batchEnded();
        if (!isCollecting) continue;
      }
      const room = Math.min(this.#receive.length - this.#end, this.#missing() + this.#batch);
      const n = this.#source.read(this.#receive, this.#end, room);
      if (n === 0) return;
      this.#end += n;
      this.#sincePlacement += n;
      const isCollecting = this.#parse();
      this.#handler.batchEnded();
      if (n === room && isCollecting) this.#batch = Math.min(this.#longestBatch, 2 * this.#batch);
      // The source has been emptied: let the answers leave before asking it again.
      if (n < room && isCollecting) return;
    }
  }

  /** Bytes that the FPDU at the front of the receive buffer lacks; markers are few enough to come with the batch. */
  #missing(): number {
    if (this.#end < LENGTH_FIELD) return 0;
    return Math.max(0, fpduLength(getU16(this.#receive.bytes, 0)) - this.#end);
  }

  /**
   * Handle all whole FPDUs in the receive buffer, then move what is left to its front. Returns whether what comes next
   * belongs behind it.
   */
  #parse(): boolean {
    while (!this.#isStopped) {
      const wasHandled = this.#markers ? this.#parseMarked() : this.#parseOne();
      if (!wasHandled) break;
    }
    const left = this.#end - this.#start;
    if (left > 0 && this.#start > 0) this.#receive.bytes.copyWithin(0, this.#start, this.#end);
    this.#start = 0;
    this.#end = left;
    return !this.#isPlacing && !this.#isStopped;
  }

  /** Handle the FPDU at `#start`; false when more bytes are needed. */
  #parseOne(): boolean {
    const start = this.#start;
    const have = this.#end - start;
    if (have < LENGTH_FIELD) return false;
    const length = getU16(this.#receive.bytes, start);
    const total = fpduLength(length);
    if (have < total) {
      const available = have - LENGTH_FIELD;
      const isLong = length - available >= DIRECT_FROM && available >= PLACEMENT_PREFIX;
      if (isLong && !this.#crc && !this.#isDeclined) this.#beginPlacement(available, length, total);
      return false;
    }
    this.#isDeclined = false;
    this.#start += total;
    if (!this.#checkCrc(start, total)) return false;
    this.#handler.ulpdu(this.#receive, start + LENGTH_FIELD, length);
    return true;
  }

  /** The same with markers, which are taken out. */
  #parseMarked(): boolean {
    // A marker between FPDUs belongs to the second (RFC 5044 4.3).
    const leading = this.#sinceMarker === MARKER_INTERVAL ? MARKER_LENGTH : 0;
    const start = this.#start;
    const first = start + leading;
    const have = this.#end - start;
    if (have < leading + LENGTH_FIELD) return false;
    const bytes = this.#receive.bytes;
    const length = getU16(bytes, first);
    const sinceMarker = leading > 0 ? MARKER_LENGTH : this.#sinceMarker;
    const marked = markedLength(sinceMarker, fpduLength(length));
    const total = leading + marked;
    if (have < total) return false;
    this.#start += total;
    // It covers the markers (RFC 5044 4.4).
    if (!this.#checkCrc(start, total)) return false;
    const leadingAgrees = leading === 0 || (getU16(bytes, start + 2) & FPDUPTR_MASK) === 0;
    if (!leadingAgrees || !markersAgree(bytes, first, sinceMarker, marked)) {
      this.#violation('MPA_MARKER', MpaErrorCode.MARKER, 'sent a marker that points to no FPDU');
      return false;
    }
    removeMarkers(bytes, first, sinceMarker, marked);
    this.#sinceMarker = ((sinceMarker + marked - 1) % MARKER_INTERVAL) + 1;
    this.#handler.ulpdu(this.#receive, first + LENGTH_FIELD, length);
    return true;
  }

  /** Without CRCs the field counts as valid whatever it holds (RFC 5044 7.1.1). */
  #checkCrc(start: number, total: number): boolean {
    if (!this.#crc) return true;
    const bytes = this.#receive.bytes;
    const end = start + total - CRC_LENGTH;
    if (bytes.readUInt32LE(end) === crc32c(bytes, 0, start, end)) return true;
    this.#violation('MPA_CRC', MpaErrorCode.CRC, 'sent an FPDU whose CRC does not match');
    return false;
  }

  #violation(code: string, mpaCode: MpaErrorCode, what: string): void {
    // After an error nothing more may be passed on (RFC 5044 8).
    this.stop();
    this.#handler.violation(new MpaError(code, mpaCode, what));
  }

  // ---- placement ----

  /** Take what is here of a long ULPDU; the rest is received where it belongs. */
  #beginPlacement(available: number, length: number, total: number): void {
    const at = this.#start + LENGTH_FIELD;
    const placement = this.#handler.beginPlacement(this.#receive, at, available, length);
    if (this.#isStopped) return;
    if (placement === null) {
      this.#isDeclined = true;
      return;
    }
    const { headerLength, list } = placement;
    const part = available - headerLength;
    list.writeFrom(0, this.#receive, at + headerLength, part);
    const between = this.#sincePlacement - available + PLACEMENT_PREFIX;
    this.#ahead = this.#aheadNext;
    this.#aheadNext = between <= LONGEST_AHEAD ? between : LEAST_AHEAD;
    this.#isPlacing = true;
    this.#batch = BATCH_AFTER_PLACING;
    this.#target = list;
    this.#targetOffset = part;
    this.#placeLeft = length - available;
    this.#trailer = total - LENGTH_FIELD - length;
    this.#start = this.#end;
  }

  /** Receive to its place; true when the FPDU is complete, padding and CRC and all. */
  #readPlacement(): boolean {
    while (this.#placeLeft > 0) {
      const n = this.#readPart();
      if (n === 0) return false;
      this.#targetOffset += n;
      this.#placeLeft -= n;
    }
    while (this.#end < this.#trailer) {
      const n = this.#source.read(this.#receive, this.#end, this.#trailer - this.#end);
      if (n === 0) return false;
      this.#end += n;
    }
    this.#start = this.#trailer;
    this.#sincePlacement = this.#end - this.#trailer;
    this.#isPlacing = false;
    this.#target = null;
    this.#handler.placed();
    return true;
  }

  #readPart(): number {
    const left = this.#placeLeft;
    if (this.#target === null)
      return this.#source.read(this.#receive, 0, Math.min(left, this.#receive.length));
    const list = this.#placeList;
    list.clear();
    list.addFrom(this.#target, this.#targetOffset, left);
    // What is short up to the next FPDU that is long comes along, and its first bytes: it can be asked at once where it goes.
    list.add(this.#receive, 0, this.#trailer + this.#ahead);
    const n = this.#source.readList(list);
    this.#end = Math.max(0, n - left);
    return n - this.#end;
  }
}
