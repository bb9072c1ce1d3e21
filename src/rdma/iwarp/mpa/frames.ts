/**
 * The MPA Request and Reply frames (RFC 5044 7.1.1), with the enhanced RDMA connection establishment data
 * of revision 2 in front of the private data (RFC 6581 6, 9).
 */

import { u16, u8 } from '../../../util/fields.js';
import { copyBytes } from '../../../util/memory.js';
import { misuse, MpaError, MpaErrorCode } from './errors.js';

export type FrameKind = 'request' | 'reply';
/** 1: RFC 5044. 2: RFC 6581. */
export type MpaRevision = 1 | 2;

const KEY_LENGTH = 16;
/** First bytes of a frame: who it is from (RFC 5044 7.1.1). */
const KEYS: Readonly<Record<FrameKind, Buffer>> = {
  request: Buffer.from('MPA ID Req Frame', 'latin1'),
  reply: Buffer.from('MPA ID Rep Frame', 'latin1'),
};

/** The fields behind the key. */
export const Frame = {
  flags: u8(16),
  revision: u8(17),
  /** PD_Length: bytes of private data, enhanced data included. */
  privateDataLength: u16(18),
} as const;
export const FRAME_HEADER_LENGTH = 20;
/** RFC 5044 7.1.1, RFC 6581 6: enhanced data included. */
export const MAX_PRIVATE_DATA = 512;

/** Bits of `Frame.flags`; the others are reserved: zero when sent, not checked when received. */
export const FrameFlag = {
  /** Markers are required by the sender of this frame, in the FPDUs sent to it. */
  MARKERS: 0x80,
  CRC: 0x40,
  /** Replies only. */
  REJECTED: 0x20,
  /** Revision 2 only, else reserved: the private data begins with enhanced data. */
  ENHANCED: 0x10,
} as const;

/** The enhanced data (RFC 6581 9): two control flags and a 14-bit depth in each word. */
export const Enhanced = {
  /** A, B, IRD. */
  inbound: u16(20),
  /** C, D, ORD. */
  outbound: u16(22),
} as const;
export const ENHANCED_LENGTH = 4;
const DEPTH_MASK = 0x3fff;
const FIRST_FLAG = 0x8000;
const SECOND_FLAG = 0x4000;

/** A depth that is left to the consumer, instead of being negotiated here (RFC 6581 9.1). */
export const NOT_NEGOTIATED = 0x3fff;

/**
 * Ready-to-receive indications: zero-length messages by which an initiator in the peer-to-peer model opens the
 * traffic (RFC 6581 9.2). `fpdu` is a Send.
 */
export const RTR_KINDS = ['fpdu', 'write', 'read'] as const;
export type RtrKind = (typeof RTR_KINDS)[number];

export interface EnhancedData {
  /** 0 to 0x3ffe, or {@link NOT_NEGOTIATED}. */
  ird: number;
  ord: number;
  /** Control flag A; its RTR indications are flags B, C and D. Null: the client-server model. */
  peerToPeer: readonly RtrKind[] | null;
}

export interface StartupFrame {
  revision: MpaRevision;
  markers: boolean;
  crc: boolean;
  /** Always false in a request: the bit is not checked there. */
  isRejected: boolean;
  /** Null: an unenhanced frame. */
  enhanced: EnhancedData | null;
  /** Of the consumer: at most 512 bytes, or 508 behind enhanced data. */
  privateData: Uint8Array;
}

/**
 * The bytes of a frame.
 *
 * @throws RiserError `MPA_MISUSE`: private data or a depth does not fit
 */
export function encodeFrame(kind: FrameKind, frame: StartupFrame): Buffer {
  const { enhanced, privateData } = frame;
  const enhancedLength = enhanced === null ? 0 : ENHANCED_LENGTH;
  const privateDataLength = enhancedLength + privateData.length;
  if (privateDataLength > MAX_PRIVATE_DATA) {
    const most = MAX_PRIVATE_DATA - enhancedLength;
    throw misuse(`${privateData.length} bytes of private data, but only ${most} fit a startup frame`);
  }
  const bytes = Buffer.alloc(FRAME_HEADER_LENGTH + privateDataLength);
  KEYS[kind].copy(bytes);
  Frame.flags.set(
    bytes,
    (frame.markers ? FrameFlag.MARKERS : 0) |
      (frame.crc ? FrameFlag.CRC : 0) |
      (frame.isRejected ? FrameFlag.REJECTED : 0) |
      (enhanced === null ? 0 : FrameFlag.ENHANCED),
  );
  Frame.revision.set(bytes, frame.revision);
  Frame.privateDataLength.set(bytes, privateDataLength);
  if (enhanced !== null) putEnhanced(bytes, enhanced);
  bytes.set(privateData, FRAME_HEADER_LENGTH + enhancedLength);
  return bytes;
}

function putEnhanced(bytes: Buffer, { ird, ord, peerToPeer }: EnhancedData): void {
  for (const depth of [ird, ord]) {
    if (!Number.isInteger(depth) || depth < 0 || depth > NOT_NEGOTIATED) {
      throw misuse(`${depth} is no depth of a queue of RDMA Reads: they go from 0 to ${NOT_NEGOTIATED - 1}`);
    }
  }
  // Without A the others are zero, too (RFC 6581 9.2).
  const rtr = peerToPeer ?? [];
  const a = peerToPeer === null ? 0 : FIRST_FLAG;
  const b = rtr.includes('fpdu') ? SECOND_FLAG : 0;
  const c = rtr.includes('write') ? FIRST_FLAG : 0;
  const d = rtr.includes('read') ? SECOND_FLAG : 0;
  Enhanced.inbound.set(bytes, a | b | ird);
  Enhanced.outbound.set(bytes, c | d | ord);
}

function getEnhanced(bytes: Buffer): EnhancedData {
  const inbound = Enhanced.inbound.get(bytes);
  const outbound = Enhanced.outbound.get(bytes);
  const rtr: RtrKind[] = [];
  if ((inbound & SECOND_FLAG) !== 0) rtr.push('fpdu');
  if ((outbound & FIRST_FLAG) !== 0) rtr.push('write');
  if ((outbound & SECOND_FLAG) !== 0) rtr.push('read');
  return {
    ird: inbound & DEPTH_MASK,
    ord: outbound & DEPTH_MASK,
    // If A is 0, the others MUST be ignored (RFC 6581 9.2).
    peerToPeer: (inbound & FIRST_FLAG) === 0 ? null : rtr,
  };
}

/** Collects one frame of the peer's, however its bytes are cut, and checks each part as soon as it is there. */
export class FrameReader {
  readonly #kind: FrameKind;
  readonly #bytes = Buffer.alloc(FRAME_HEADER_LENGTH + MAX_PRIVATE_DATA);
  #have = 0;
  /** The frame, once all of it is there; its private data is a copy. */
  frame: (StartupFrame & { privateData: Buffer }) | null = null;
  /** What is wrong with it; then nothing more is taken. */
  error: MpaError | null = null;

  constructor(kind: FrameKind) {
    this.#kind = kind;
  }

  /** Returns how many of `bytes` belong to the frame; with what follows Full Operation begins. */
  handleBytes(bytes: Uint8Array): number {
    if (this.frame !== null || this.error !== null) return 0;
    let taken = this.#take(bytes, 0, FRAME_HEADER_LENGTH);
    this.error = this.#checkKey();
    if (this.error !== null || this.#have < FRAME_HEADER_LENGTH) return taken;
    this.error = this.#checkHeader();
    if (this.error !== null) return taken;
    const length = FRAME_HEADER_LENGTH + Frame.privateDataLength.get(this.#bytes);
    taken += this.#take(bytes, taken, length);
    if (this.#have === length) this.frame = this.#parse(length);
    return taken;
  }

  /** Fill up to `until` bytes. */
  #take(bytes: Uint8Array, offset: number, until: number): number {
    const n = Math.max(0, Math.min(until - this.#have, bytes.length - offset));
    copyBytes(bytes, offset, this.#bytes, this.#have, n);
    this.#have += n;
    return n;
  }

  /** The part of the key that is here: who speaks another protocol need not send 20 bytes to be found out. */
  #checkKey(): MpaError | null {
    const length = Math.min(this.#have, KEY_LENGTH);
    const have = this.#bytes.subarray(0, length);
    if (have.equals(KEYS[this.#kind].subarray(0, length))) return null;
    // The difference between the frames MUST be used to find incorrect startups (RFC 5044 7.1.2, rule 8).
    const other = this.#kind === 'reply' ? 'request' : 'reply';
    if (have.equals(KEYS[other].subarray(0, length))) {
      return this.#kind === 'reply'
        ? invalid('MPA_BOTH_INITIATORS', 'sent an MPA Request where a Reply is due: both sides connect')
        : invalid('MPA_BOTH_RESPONDERS', 'sent an MPA Reply where a Request is due');
    }
    return invalid('MPA_KEY', 'does not speak MPA: the key of its startup frame is wrong');
  }

  #checkHeader(): MpaError | null {
    const revision = Frame.revision.get(this.#bytes);
    // Whoever cannot interoperate with a revision MUST close the connection (RFC 5044 7.1.1).
    if (revision !== 1 && revision !== 2) {
      return invalid('MPA_REVISION', `speaks MPA of revision ${revision}, and here it is 1 or 2`);
    }
    const length = Frame.privateDataLength.get(this.#bytes);
    if (length > MAX_PRIVATE_DATA) {
      return invalid('MPA_PRIVATE_DATA', `announced ${length} bytes of private data; 512 are the most`);
    }
    if (this.#isEnhanced && length < ENHANCED_LENGTH) {
      return invalid('MPA_PRIVATE_DATA', `announced ${length} bytes of private data for an enhanced frame`);
    }
    return null;
  }

  /** In revision 1 the bit is reserved, so not checked (RFC 6581 6). */
  get #isEnhanced(): boolean {
    return Frame.revision.get(this.#bytes) === 2 && this.#flag(FrameFlag.ENHANCED);
  }

  #flag(bit: number): boolean {
    return (Frame.flags.get(this.#bytes) & bit) !== 0;
  }

  #parse(length: number): StartupFrame & { privateData: Buffer } {
    const privateDataAt = FRAME_HEADER_LENGTH + (this.#isEnhanced ? ENHANCED_LENGTH : 0);
    return {
      revision: Frame.revision.get(this.#bytes) as MpaRevision,
      markers: this.#flag(FrameFlag.MARKERS),
      crc: this.#flag(FrameFlag.CRC),
      // Not checked on reception in a request (RFC 5044 7.1.1).
      isRejected: this.#kind === 'reply' && this.#flag(FrameFlag.REJECTED),
      enhanced: this.#isEnhanced ? getEnhanced(this.#bytes) : null,
      privateData: Buffer.from(this.#bytes.subarray(privateDataAt, length)),
    };
  }
}

function invalid(code: string, what: string): MpaError {
  return new MpaError(code, MpaErrorCode.INVALID_STARTUP_FRAME, what);
}
