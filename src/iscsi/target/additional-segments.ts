/** The additional header segments of a SCSI Command (RFC 7143 11.2.2), looked at before anything is taken from them. */

import type { ControlPdu } from '../../datamover/datamover.js';
import { CDB_LENGTH } from '../wire/headers.js';
import { AhsType } from '../wire/opcodes.js';

/** AHSLength, AHSType, and a byte that AHSLength counts already. */
const HEADER_LENGTH = 3;
const TYPE_MASK = 0x3f;
/** SPC-4 4.2.3: the longest CDB there can be. */
const LONGEST_CDB = 260;
/** AHSLength of a Bidirectional Read Expected Data Transfer Length (RFC 7143 11.2.2.4). */
const BIDIRECTIONAL_LENGTH = 5;

/**
 * Whether every segment is of a type that there is, at most one of each, as long as its type may be, and inside
 * of what TotalAHSLength says.
 */
export function areAdditionalSegmentsSound(pdu: ControlPdu): boolean {
  const { bytes } = pdu.region;
  const end = pdu.ahsOffset + pdu.ahsLength;
  let seen = 0;
  for (let at = pdu.ahsOffset; at < end;) {
    const length = (bytes[at]! << 8) | bytes[at + 1]!;
    const type = bytes[at + 2]! & TYPE_MASK;
    if (at + HEADER_LENGTH + length > end || !isSound(type, length) || (seen & (1 << type)) !== 0)
      return false;
    seen |= 1 << type;
    at += (HEADER_LENGTH + length + 3) & ~3;
  }
  return true;
}

function isSound(type: number, length: number): boolean {
  // AHSLength counts a reserved byte besides the bytes of the CDB from the 17th on (RFC 7143 11.2.2.3).
  if (type === AhsType.EXTENDED_CDB) return length > 1 && length - 1 <= LONGEST_CDB - CDB_LENGTH;
  return type === AhsType.BIDIRECTIONAL_READ_LENGTH && length === BIDIRECTIONAL_LENGTH;
}
