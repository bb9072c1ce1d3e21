/** Attributes in Tag-Length-Value format, and the table of those that Riser uses (RFC 4171 5.3, 6.1). */

import { getU32, getU64, putU32, putU64 } from '../../util/fields.js';
import { formatAddress, parseAddress } from './addresses.js';
import { malformed } from './malformed.js';

/** One attribute of a message, with its padding; of no length where it asks for a value, or says that there is none. */
export interface Attribute {
  readonly tag: number;
  readonly value: Uint8Array;
}

/** A row of the table: an attribute's tag and the format of its value. */
export interface AttributeType<T> {
  readonly tag: number;
  readonly name: string;
  encode(value: T): Uint8Array;
  /** @throws RiserError `ISNS_MALFORMED` */
  decode(value: Uint8Array): T;
}

/** Separates the Message Key from the Operating Attributes (RFC 4171 5.6.3). */
export const DELIMITER = 0;

// RFC 4171 6.1
export const EID = text(1, 'Entity Identifier', 256);
export const ENTITY_PROTOCOL = u32(2, 'Entity Protocol');
export const TIMESTAMP = u64(4, 'Timestamp');
export const REGISTRATION_PERIOD = u32(6, 'Registration Period');
export const PORTAL_ADDRESS = ip(16, 'Portal IP Address');
export const PORTAL_PORT = u32(17, 'Portal TCP/UDP Port');
export const ESI_INTERVAL = u32(19, 'ESI Interval');
export const ESI_PORT = u32(20, 'ESI Port');
export const ISCSI_NAME = text(32, 'iSCSI Name', 224);
export const ISCSI_NODE_TYPE = u32(33, 'iSCSI Node Type');
export const ISCSI_ALIAS = text(34, 'iSCSI Alias', 256);
export const PG_ISCSI_NAME = text(48, 'PG iSCSI Name', 224);
export const PG_ADDRESS = ip(49, 'PG Portal IP Addr');
export const PG_PORT = u32(50, 'PG Portal TCP/UDP Port');
export const PG_TAG = u32(51, 'PG Tag');

/** iSCSI as a value of {@link ENTITY_PROTOCOL} (RFC 4171 6.2.2). */
export const PROTOCOL_ISCSI = 2;

/** Bits of {@link ISCSI_NODE_TYPE} (RFC 4171 6.4.2). */
export const NodeType = { TARGET: 1, INITIATOR: 2 } as const;

/** In the values of ports: it is one of UDP, not TCP (RFC 4171 6.3.2). */
export const UDP = 0x1_0000;

/** Bytes of a tag and a length. */
const HEADER = 8;

/** An attribute with a value. */
export function attribute<T>(type: AttributeType<T>, value: T): Attribute {
  return { tag: type.tag, value: type.encode(value) };
}

/** An attribute without a value: one that is asked for. */
export function blank({ tag }: AttributeType<unknown>): Attribute {
  return { tag, value: new Uint8Array(0) };
}

/**
 * The value of the first attribute of a type; null if there is none, or none with a value.
 *
 * @throws RiserError `ISNS_MALFORMED`
 */
export function find<T>(attributes: readonly Attribute[], type: AttributeType<T>): T | null {
  const found = attributes.find(({ tag, value }) => tag === type.tag && value.length > 0);
  return found === undefined ? null : type.decode(found.value);
}

/** The bytes of attributes, one after the other. */
export function encodeAttributes(attributes: readonly Attribute[]): Uint8Array {
  const bytes = new Uint8Array(attributes.reduce((sum, { value }) => sum + HEADER + value.length, 0));
  let offset = 0;
  for (const { tag, value } of attributes) {
    putU32(bytes, offset, tag);
    putU32(bytes, offset + 4, value.length);
    bytes.set(value, offset + HEADER);
    offset += HEADER + value.length;
  }
  return bytes;
}

/**
 * The attributes in `bytes`, whose values stay parts of it.
 *
 * @throws RiserError `ISNS_MALFORMED`
 */
export function decodeAttributes(bytes: Uint8Array): Attribute[] {
  const attributes: Attribute[] = [];
  for (let offset = 0; offset < bytes.length;) {
    if (bytes.length - offset < HEADER) throw malformed('ends within the header of an attribute');
    const tag = getU32(bytes, offset);
    const length = getU32(bytes, offset + 4);
    offset += HEADER;
    if (length > bytes.length - offset) throw malformed(`has an attribute ${tag} that is longer than it`);
    if (length % 4 !== 0) throw malformed(`has an attribute ${tag} of ${length} bytes, which is not padded`);
    attributes.push({ tag, value: bytes.subarray(offset, offset + length) });
    offset += length;
  }
  return attributes;
}

/** UTF-8 that a NUL ends, padded with more of them (RFC 4171 5.3.1, 6.1); `limit`: bytes with all of them. */
function text(tag: number, name: string, limit: number): AttributeType<string> {
  return {
    tag,
    name,
    encode(value) {
      const utf8 = Buffer.from(value);
      const length = (utf8.length + 4) & ~3;
      if (length > limit) throw new RangeError(`${name} of more than ${limit - 1} bytes: ${value}`);
      const bytes = new Uint8Array(length);
      bytes.set(utf8);
      return bytes;
    },
    decode(value) {
      const end = value.indexOf(0);
      if (end < 0) throw malformed(`has no end in its ${name}`);
      if (value.length > limit) throw malformed(`has ${value.length} bytes of ${name}`);
      const decoded = Buffer.from(value.buffer, value.byteOffset, end).toString();
      if (decoded.includes('\ufffd')) throw malformed(`has no UTF-8 in its ${name}`);
      return decoded;
    },
  };
}

function u32(tag: number, name: string): AttributeType<number> {
  return {
    tag,
    name,
    encode(value) {
      const bytes = new Uint8Array(4);
      putU32(bytes, 0, value);
      return bytes;
    },
    decode: (value) => getU32(ofLength(value, 4, name), 0),
  };
}

function u64(tag: number, name: string): AttributeType<number> {
  return {
    tag,
    name,
    encode(value) {
      const bytes = new Uint8Array(8);
      putU64(bytes, 0, value);
      return bytes;
    },
    decode: (value) => getU64(ofLength(value, 8, name), 0),
  };
}

function ip(tag: number, name: string): AttributeType<string> {
  return {
    tag,
    name,
    encode(value) {
      const bytes = parseAddress(value);
      if (bytes === null) throw new RangeError(`${name}: ${value}`);
      return bytes;
    },
    decode: (value) => formatAddress(ofLength(value, 16, name)),
  };
}

function ofLength(value: Uint8Array, length: number, name: string): Uint8Array {
  if (value.length !== length) throw malformed(`has ${value.length} bytes of ${name}`);
  return value;
}
