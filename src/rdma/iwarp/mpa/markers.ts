/**
 * Markers among the bytes of a received FPDU (RFC 5044 4.3). All functions are told of an FPDU's `length` bytes at `start`,
 * length field to CRC and markers included, and `sinceMarker`: bytes from the last marker's first byte to `start`, 4 to 508.
 */

import { getU16 } from '../../../util/fields.js';
import { FPDUPTR_MASK, MARKER_INTERVAL, MARKER_LENGTH } from './fpdu.js';

const BETWEEN_MARKERS = MARKER_INTERVAL - MARKER_LENGTH;

/** Bytes of an FPDU together with the markers in it; `unmarked`: without them. */
export function markedLength(sinceMarker: number, unmarked: number): number {
  const behindFirst = unmarked - (MARKER_INTERVAL - sinceMarker);
  return behindFirst <= 0 ? unmarked : unmarked + MARKER_LENGTH * Math.ceil(behindFirst / BETWEEN_MARKERS);
}

/** Whether all markers point to `start`. */
export function markersAgree(bytes: Uint8Array, start: number, sinceMarker: number, length: number): boolean {
  for (let at = MARKER_INTERVAL - sinceMarker; at < length; at += MARKER_INTERVAL) {
    if (((getU16(bytes, start + at + 2) ^ at) & FPDUPTR_MASK) !== 0) return false;
  }
  return true;
}

/** Move the bytes behind each marker to the front, so that the ULPDU is in one piece. */
export function removeMarkers(bytes: Uint8Array, start: number, sinceMarker: number, length: number): void {
  let to = start + MARKER_INTERVAL - sinceMarker;
  for (let at = MARKER_INTERVAL - sinceMarker; at < length; at += MARKER_INTERVAL) {
    const from = start + at + MARKER_LENGTH;
    const part = Math.min(BETWEEN_MARKERS, length - at - MARKER_LENGTH);
    bytes.copyWithin(to, from, from + part);
    to += part;
  }
}
