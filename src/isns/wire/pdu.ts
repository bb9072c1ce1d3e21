/** PDUs: the parts that messages are sent in (RFC 4171 5.1, 5.2). */

import { u16 } from '../../util/fields.js';
import { Flag, VERSION } from './codes.js';
import { malformed } from './malformed.js';
import type { Message } from './message.js';

/** RFC 4171 5 */
const HEADER = {
  version: u16(0),
  functionId: u16(2),
  length: u16(4),
  flags: u16(6),
  transactionId: u16(8),
  sequenceId: u16(10),
} as const;
const HEADER_BYTES = 12;

/** The most that a PDU carries: what fits its length, which is a multiple of 4 (RFC 4171 5.1.3). */
export const MAX_PDU_PAYLOAD = 65_532;

/** The PDUs of a message, one after the other. */
export function encodeMessage({ functionId, flags, transactionId, payload }: Message): Uint8Array {
  const pdus = Math.max(1, Math.ceil(payload.length / MAX_PDU_PAYLOAD));
  const bytes = new Uint8Array(pdus * HEADER_BYTES + payload.length);
  for (let i = 0; i < pdus; i++) {
    const part = payload.subarray(i * MAX_PDU_PAYLOAD, (i + 1) * MAX_PDU_PAYLOAD);
    const pdu = bytes.subarray(i * (HEADER_BYTES + MAX_PDU_PAYLOAD));
    HEADER.version.set(pdu, VERSION);
    HEADER.functionId.set(pdu, functionId);
    HEADER.length.set(pdu, part.length);
    HEADER.flags.set(pdu, flags | (i === 0 ? Flag.FIRST : 0) | (i === pdus - 1 ? Flag.LAST : 0));
    HEADER.transactionId.set(pdu, transactionId);
    HEADER.sequenceId.set(pdu, i);
    pdu.set(part, HEADER_BYTES);
  }
  return bytes;
}

/** Makes messages of the bytes of a connection. After it threw, the connection is of no use. */
export class MessageReader {
  readonly #limit: number;
  /** What there is of a PDU that is not whole. */
  #pending: Uint8Array = new Uint8Array(0);
  /** The first header of a message that is not whole. */
  #first: { functionId: number; flags: number; transactionId: number } | null = null;
  #parts: Uint8Array[] = [];
  #size = 0;

  /** `limit`: the longest payload of a message, bytes; it is looked at before any of a PDU's payload is kept. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * The messages that `bytes` complete.
   *
   * @throws RiserError `ISNS_MALFORMED`
   */
  push(bytes: Uint8Array): Message[] {
    const messages: Message[] = [];
    let rest = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    while (rest.length >= HEADER_BYTES) {
      this.#check(rest);
      const end = HEADER_BYTES + HEADER.length.get(rest);
      if (rest.length < end) break;
      const message = this.#take(rest.subarray(0, end));
      if (message !== null) messages.push(message);
      rest = rest.subarray(end);
    }
    this.#pending = new Uint8Array(rest);
    return messages;
  }

  /** Whether a PDU may follow what came before it. */
  #check(pdu: Uint8Array): void {
    const version = HEADER.version.get(pdu);
    if (version !== VERSION) throw malformed(`is of version ${version}, not ${VERSION}`);
    const length = HEADER.length.get(pdu);
    if (length % 4 !== 0) throw malformed(`has a PDU of ${length} bytes, which is no multiple of 4`);
    if (this.#size + length > this.#limit) throw malformed(`is longer than ${this.#limit} bytes`);
    const flags = HEADER.flags.get(pdu);
    if ((flags & Flag.AUTHENTICATION) !== 0)
      throw malformed('has an authentication block, which unicast messages should not have');
    if (length === 0 && (flags & Flag.LAST) === 0)
      throw malformed('has a PDU of nothing before its last one');
    const isFirst = (flags & Flag.FIRST) !== 0;
    if (isFirst !== (this.#first === null))
      throw malformed(isFirst ? 'begins before the last one ended' : 'has no first PDU');
    if (HEADER.sequenceId.get(pdu) !== this.#parts.length) throw malformed('has PDUs out of sequence');
    if (this.#first === null) return;
    const { functionId, transactionId } = this.#first;
    if (HEADER.functionId.get(pdu) !== functionId || HEADER.transactionId.get(pdu) !== transactionId)
      throw malformed('is mixed with another one');
  }

  /** The message that a PDU completes, or null. */
  #take(pdu: Uint8Array): Message | null {
    const flags = HEADER.flags.get(pdu);
    this.#first ??= {
      functionId: HEADER.functionId.get(pdu),
      flags: flags & ~(Flag.FIRST | Flag.LAST),
      transactionId: HEADER.transactionId.get(pdu),
    };
    this.#parts.push(new Uint8Array(pdu.subarray(HEADER_BYTES)));
    this.#size += pdu.length - HEADER_BYTES;
    if ((flags & Flag.LAST) === 0) return null;
    const message = { ...this.#first, payload: Buffer.concat(this.#parts) };
    this.#first = null;
    this.#parts = [];
    this.#size = 0;
    return message;
  }
}
