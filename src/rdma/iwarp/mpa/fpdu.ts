/** The frames of Full Operation (RFC 5044 4): ULPDU_Length, the ULPDU, padding to 4 bytes, CRC. */

/** Bytes of ULPDU_Length. */
export const LENGTH_FIELD = 2;
export const CRC_LENGTH = 4;

/** The longest ULPDU to send (RFC 5044 3). What is received may be as long as its length field can say. */
export const MAX_ULPDU = 64768;
/** MULPDU is never less, so that a DDP header has room (RFC 5044 3). */
export const MIN_MULPDU = 128;

/** A marker is at every 512th byte of the stream of Full Operation, beginning with the first (RFC 5044 4.3). */
export const MARKER_INTERVAL = 512;
export const MARKER_LENGTH = 4;
/** FPDUPTR in a marker: its lower 16 bits, of which the lowest two count as zero (RFC 5044 4.2). */
export const FPDUPTR_MASK = 0xfffc;

/** Whether full operation uses CRCs, and whether this direction of it has markers. */
export interface FpduOptions {
  crc: boolean;
  markers: boolean;
}

/** Zero bytes behind a ULPDU, 0 to 3. */
export function paddingOf(ulpduLength: number): number {
  return -(LENGTH_FIELD + ulpduLength) & 3;
}

/** Bytes of the FPDU around a ULPDU, without markers. */
export function fpduLength(ulpduLength: number): number {
  return LENGTH_FIELD + ulpduLength + paddingOf(ulpduLength) + CRC_LENGTH;
}

/** MULPDU for an effective maximum segment size (RFC 5044 4.5), within the limits of RFC 5044 3. */
export function mulpduFor(emss: number, markers: boolean): number {
  const markerBytes = markers ? MARKER_LENGTH * Math.ceil(emss / MARKER_INTERVAL) : 0;
  const mulpdu = emss - (LENGTH_FIELD + CRC_LENGTH + markerBytes + (emss % 4));
  return Math.max(MIN_MULPDU, Math.min(mulpdu, MAX_ULPDU));
}
