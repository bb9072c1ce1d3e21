/**
 * The text of Login and Text PDUs: key=value pairs, each ended by a null byte (RFC 7143 6.1).
 *
 * Text that does not fit one PDU is continued with the C bit: {@link TextAssembler} puts together what
 * arrives in parts, {@link TextSplitter} cuts what leaves.
 */

/** One key=value pair, decoded. */
export interface TextPair {
  readonly key: string;
  readonly value: string;
}

/** The most text one negotiation may bring, bytes (RFC 7143 6.1: 64 KiB where long items are expected). */
export const TEXT_LIMIT = 65536;
/** The most pairs one text may bring: several times the keys that exist. */
export const PAIR_LIMIT = 256;

/** Either the pairs in the order sent, or what is wrong with the text. */
export type ParsedText = { readonly pairs: readonly TextPair[] } | { readonly error: string };

/**
 * A standard-label (RFC 7143 6.1), and what registered keys need beyond it: `#` in X#NodeArchitecture, a small
 * first letter in iSCSIProtocolLevel.
 */
const KEY_NAME = /^[A-Za-z][A-Za-z0-9.+@_#-]{0,62}$/;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Parse one complete text; never throws.
 *
 * Null bytes beyond the one after each pair are skipped: some initiators count padding as text.
 */
export function parseText(bytes: Uint8Array, pairLimit = PAIR_LIMIT): ParsedText {
  if (bytes.length > TEXT_LIMIT) return { error: `text of ${bytes.length} bytes exceeds ${TEXT_LIMIT}` };
  const pairs: TextPair[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] === 0) {
      at++;
      continue;
    }
    const end = bytes.indexOf(0, at);
    // RFC 7143 6.1: every pair, the last one too, MUST be followed by one null.
    if (end < 0) return { error: 'last key=value pair is not terminated by a null byte' };
    if (pairs.length === pairLimit) return { error: `more than ${pairLimit} key=value pairs` };
    const pair = parsePair(bytes.subarray(at, end));
    if (typeof pair === 'string') return { error: pair };
    pairs.push(pair);
    at = end + 1;
  }
  return { pairs };
}

function parsePair(bytes: Uint8Array): TextPair | string {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return 'text is not UTF-8';
  }
  const equals = text.indexOf('=');
  if (equals < 0) return `${quote(text)} has no "="`;
  const key = text.slice(0, equals);
  if (!KEY_NAME.test(key)) return `${quote(key)} is no key name`;
  return { key, value: text.slice(equals + 1) };
}

/** Encode pairs as the text of a PDU. Keys and values must not contain null characters. */
export function buildText(pairs: readonly TextPair[]): Buffer {
  return Buffer.from(pairs.map(({ key, value }) => `${key}=${value}\0`).join(''), 'utf8');
}

/** What a peer sent, made safe and short enough for a log line. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}...` : text);
}

/** Collects a text that arrives in several PDUs, up to {@link TEXT_LIMIT} bytes. */
export class TextAssembler {
  #parts: Buffer[] = [];
  #length = 0;

  /** Keep a copy of `part`; false, and nothing kept, if the whole would be longer than the limit. */
  append(part: Uint8Array): boolean {
    if (this.#length + part.length > TEXT_LIMIT) return false;
    if (part.length > 0) this.#parts.push(Buffer.from(part));
    this.#length += part.length;
    return true;
  }

  /** The whole text; the assembler is empty afterwards. */
  take(): Buffer {
    const text = Buffer.concat(this.#parts, this.#length);
    this.#parts = [];
    this.#length = 0;
    return text;
  }
}

/** Cuts a text into the data segments of successive PDUs. */
export class TextSplitter {
  #text: Buffer = Buffer.alloc(0);

  /** Start sending `text`; what was left of an earlier one is dropped. */
  start(text: Buffer): void {
    this.#text = text;
  }

  /** Whether a part is still to be sent. */
  get pending(): boolean {
    return this.#text.length > 0;
  }

  /** The next part, at most `limit` bytes (at least 1); empty when nothing is left. */
  next(limit: number): Buffer {
    const part = this.#text.subarray(0, limit);
    this.#text = this.#text.subarray(part.length);
    return part;
  }
}
