/** FPDUs for tests: a plain encoder, word for word as RFC 5044 4 has it, and a handler that keeps what it gets. */

import { crc32c } from '../../../../util/crc32c.js';
import { Memory, ScatterList } from '../../../../util/memory.js';
import type { MpaError } from '../errors.js';
import type { FpduOptions } from '../fpdu.js';
import { type FpduReader, PLACEMENT_PREFIX, type UlpduHandler, type UlpduPlacement } from '../fpdu-reader.js';

/** The stream of Full Operation that carries `ulpdus`. */
export function encodeStream(ulpdus: readonly Buffer[], { crc, markers }: FpduOptions): Buffer {
  const words: Buffer[] = [];
  let position = 0;
  const put = (word: Buffer): void => {
    words.push(word);
    position += 4;
  };
  const putMarkerIfDue = (pointer: number): void => {
    if (!markers || position % 512 !== 0) return;
    put(Buffer.from([0, 0, pointer >>> 8, pointer & 0xff]));
  };
  for (const ulpdu of ulpdus) {
    const firstWord = words.length;
    putMarkerIfDue(0);
    const start = position;
    const content = Buffer.alloc((2 + ulpdu.length + 3) & ~3);
    content.writeUInt16BE(ulpdu.length);
    ulpdu.copy(content, 2);
    for (let at = 0; at < content.length; at += 4) {
      if (at > 0) putMarkerIfDue(position - start);
      put(content.subarray(at, at + 4));
    }
    putMarkerIfDue(position - start);
    const covered = Buffer.concat(words.slice(firstWord));
    const trailer = Buffer.alloc(4);
    if (crc) trailer.writeUInt32LE(crc32c(covered));
    put(trailer);
  }
  return Buffer.concat(words);
}

/** `length` bytes that differ from place to place and from `seed` to seed. */
export function patterned(length: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 7 + (i >>> 8) * 13 + seed * 31) & 0xff;
  return bytes;
}

/** Keeps ULPDUs; takes long ones by placement if it is told a header length. */
export class Collector implements UlpduHandler {
  readonly ulpdus: Buffer[] = [];
  error: MpaError | null = null;
  placements = 0;
  batches = 0;
  /** Called with each ULPDU's number. */
  onUlpdu: (count: number) => void = () => undefined;
  readonly #headerLength: number | null;
  #header = Buffer.alloc(0);
  #list = new ScatterList();

  /** `headerLength`: up to PLACEMENT_PREFIX; null: no placement. */
  constructor(headerLength: number | null = null) {
    this.#headerLength = headerLength;
  }

  ulpdu(region: Memory, offset: number, length: number): void {
    this.#keep(Buffer.from(region.bytes.subarray(offset, offset + length)));
  }

  beginPlacement(region: Memory, offset: number, available: number, length: number): UlpduPlacement | null {
    const headerLength = this.#headerLength;
    if (headerLength === null) return null;
    if (available < PLACEMENT_PREFIX || available >= length) throw new Error(`asked with ${available} bytes`);
    this.placements++;
    this.#header = Buffer.from(region.bytes.subarray(offset, offset + headerLength));
    this.#list = new ScatterList();
    // In several parts, with a gap between them that must stay as it is.
    for (let left = length - headerLength; left > 0;) {
      const part = Math.min(left, 3000);
      this.#list.add(Memory.allocate(part + 2), 1, part);
      left -= part;
    }
    return { headerLength, list: this.#list };
  }

  placed(): void {
    for (let i = 0; i < this.#list.count; i++) {
      const { bytes } = this.#list.regions[i]!;
      if (bytes[0] !== 0 || bytes.at(-1) !== 0) throw new Error('bytes beside the placement were written');
    }
    this.#keep(Buffer.concat([this.#header, this.#list.toBuffer()]));
  }

  batchEnded(): void {
    this.batches++;
  }

  violation(error: MpaError): void {
    if (this.error !== null) throw new Error('a second violation');
    this.error = error;
  }

  #keep(ulpdu: Buffer): void {
    if (this.error !== null) throw new Error('a ULPDU after a violation');
    this.ulpdus.push(ulpdu);
    this.onUlpdu(this.ulpdus.length);
  }
}

/** Events until the source is empty. */
export function drain(reader: FpduReader, source: { isEmpty: boolean }, events = 100_000): void {
  for (let i = 0; !source.isEmpty; i++) {
    if (i === events) throw new Error('the reader does not read');
    reader.readable();
  }
  reader.readable();
  reader.readable();
}
