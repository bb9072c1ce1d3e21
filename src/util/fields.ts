/**
 * Named big-endian fields at fixed offsets: a wire format is declared once, as a record of these, and
 * codec and dump come from it. A field does not check bounds: the one length check is the parser's.
 * As constants of a module they cost what hand-written indexing costs.
 */

/** A field of a header that fits a number. */
export interface Field {
  readonly offset: number;
  /** Bytes. */
  readonly width: number;
  get(bytes: Uint8Array): number;
  set(bytes: Uint8Array, value: number): void;
}

class U8 implements Field {
  readonly width = 1;
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(bytes: Uint8Array): number {
    return bytes[this.offset]!;
  }
  set(bytes: Uint8Array, value: number): void {
    bytes[this.offset] = value;
  }
}

class U16 implements Field {
  readonly width = 2;
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(bytes: Uint8Array): number {
    return getU16(bytes, this.offset);
  }
  set(bytes: Uint8Array, value: number): void {
    putU16(bytes, this.offset, value);
  }
}

class U24 implements Field {
  readonly width = 3;
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(bytes: Uint8Array): number {
    const o = this.offset;
    return (bytes[o]! << 16) | (bytes[o + 1]! << 8) | bytes[o + 2]!;
  }
  set(bytes: Uint8Array, value: number): void {
    const o = this.offset;
    bytes[o] = value >>> 16;
    bytes[o + 1] = value >>> 8;
    bytes[o + 2] = value;
  }
}

class U32 implements Field {
  readonly width = 4;
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(bytes: Uint8Array): number {
    return getU32(bytes, this.offset);
  }
  set(bytes: Uint8Array, value: number): void {
    putU32(bytes, this.offset, value);
  }
}

/** Exact below 2^53, and above it no smaller than 2^53; see {@link getU64}. */
class U64 implements Field {
  readonly width = 8;
  readonly offset: number;
  constructor(offset: number) {
    this.offset = offset;
  }
  get(bytes: Uint8Array): number {
    return getU64(bytes, this.offset);
  }
  set(bytes: Uint8Array, value: number): void {
    putU64(bytes, this.offset, value);
  }
}

export const u8 = (offset: number): Field => new U8(offset);
export const u16 = (offset: number): Field => new U16(offset);
export const u24 = (offset: number): Field => new U24(offset);
export const u32 = (offset: number): Field => new U32(offset);
export const u64 = (offset: number): Field => new U64(offset);

export function getU16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset]! << 8) | bytes[offset + 1]!;
}

export function putU16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 8;
  bytes[offset + 1] = value;
}

export function getU32(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>>
    0
  );
}

export function putU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

/** A 64-bit field as a number; exact below 2^53, and above it no smaller than 2^53. */
export function getU64(bytes: Uint8Array, offset: number): number {
  return getU32(bytes, offset) * 0x1_0000_0000 + getU32(bytes, offset + 4);
}

/** `value` must be a whole number below 2^53. */
export function putU64(bytes: Uint8Array, offset: number, value: number): void {
  putU32(bytes, offset, Math.floor(value / 0x1_0000_0000));
  putU32(bytes, offset + 4, value >>> 0);
}
