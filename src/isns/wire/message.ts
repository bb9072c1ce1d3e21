/** Messages: what their PDUs carry together (RFC 4171 5.6, 5.7). */

import { getU32, putU32 } from '../../util/fields.js';
import { type Attribute, decodeAttributes, DELIMITER, encodeAttributes } from './attributes.js';
import { malformed } from './malformed.js';

/** A message, whole. */
export interface Message {
  readonly functionId: number;
  /** Those of `Flag` that hold for all of its PDUs. */
  readonly flags: number;
  /** 0 to 65535; a response has that of its request. */
  readonly transactionId: number;
  readonly payload: Uint8Array;
}

/** A registration or query (RFC 4171 5.6). */
export interface Request {
  /** Who asks: an iSCSI Name. */
  readonly source: Attribute;
  readonly key: readonly Attribute[];
  readonly operating: readonly Attribute[];
}

/** The answer to one (RFC 4171 5.7). */
export interface Response {
  readonly status: number;
  readonly key: readonly Attribute[];
  readonly operating: readonly Attribute[];
}

const DELIMITER_ATTRIBUTE: Attribute = { tag: DELIMITER, value: new Uint8Array(0) };
const STATUS_BYTES = 4;

export function encodeRequest({ source, key, operating }: Request): Uint8Array {
  return encodeAttributes([source, ...key, DELIMITER_ATTRIBUTE, ...operating]);
}

/** @throws RiserError `ISNS_MALFORMED` */
export function decodeRequest(payload: Uint8Array): Request {
  const [source, ...others] = decodeAttributes(payload);
  if (source === undefined || source.tag === DELIMITER) throw malformed('has no Source Attribute');
  return { source, ...split(others) };
}

export function encodeResponse({ status, key, operating }: Response): Uint8Array {
  return encodeStatus(status, [...key, DELIMITER_ATTRIBUTE, ...operating]);
}

/** @throws RiserError `ISNS_MALFORMED` */
export function decodeResponse(payload: Uint8Array): Response {
  if (payload.length < STATUS_BYTES) throw malformed('has no status code');
  const status = getU32(payload, 0);
  return { status, ...split(decodeAttributes(payload.subarray(STATUS_BYTES))) };
}

/** A response whose attributes have no delimiter: that to an ESI (RFC 4171 5.7.5.13). */
export function encodeStatus(status: number, attributes: readonly Attribute[]): Uint8Array {
  const tail = encodeAttributes(attributes);
  const payload = new Uint8Array(STATUS_BYTES + tail.length);
  putU32(payload, 0, status);
  payload.set(tail, STATUS_BYTES);
  return payload;
}

/** Message Key and Operating Attributes; all are of the key where nothing separates them. */
function split(attributes: Attribute[]): { key: Attribute[]; operating: Attribute[] } {
  const at = attributes.findIndex(({ tag }) => tag === DELIMITER);
  if (at < 0) return { key: attributes, operating: [] };
  return { key: attributes.slice(0, at), operating: attributes.slice(at + 1) };
}
