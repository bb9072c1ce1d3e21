/** TransportIDs of iSCSI initiators: their names in parameter data (SPC-4 7.6.4.6). */

import { getU16, putU16 } from '../util/fields.js';

/** Byte 0: the protocol, and whether an ISID follows the name. */
const ISCSI_DEVICE = 0x05;
const ISCSI_PORT = 0x45;
const HEADER = 4;
/** A name is at most 223 bytes; `,i,0x`, the ISID and the NUL come behind it. */
const LONGEST = 244;
const SHORTEST = 20;

/** Whom a TransportID names: one initiator port, or all ports of an initiator device. */
export interface TransportIdName {
  readonly name: string;
  readonly isPort: boolean;
}

/** The TransportID of an initiator port: `iqn.1993-08.org.debian:01:abc,i,0x00023d000000`. */
export function encodeTransportId(initiatorPort: string): Buffer {
  const name = Buffer.from(initiatorPort, 'utf8');
  // A NUL at least, up to a multiple of four (SPC-4 7.6.4.6).
  const length = Math.max(SHORTEST, (name.length + 4) & ~3);
  const id = Buffer.alloc(HEADER + length);
  id[0] = ISCSI_PORT;
  putU16(id, 2, length);
  name.copy(id, HEADER);
  return id;
}

/** Bytes of the TransportID at `offset`, were it one: nothing is checked but that its header is there; 0 where it is not. */
export function transportIdLength(bytes: Uint8Array, offset: number): number {
  return bytes.length - offset < HEADER ? 0 : HEADER + getU16(bytes, offset + 2);
}

/** Whom the TransportID names that `bytes` are; null when they are none of iSCSI's. */
export function decodeTransportId(bytes: Buffer): TransportIdName | null {
  const length = bytes.length - HEADER;
  if (length < SHORTEST || length > LONGEST || length % 4 !== 0 || getU16(bytes, 2) !== length) return null;
  const isPort = bytes[0] === ISCSI_PORT;
  if (!isPort && bytes[0] !== ISCSI_DEVICE) return null;
  const end = bytes.indexOf(0, HEADER);
  if (end <= HEADER || bytes.subarray(end).some((byte) => byte !== 0)) return null;
  const name = normalized(bytes.toString('utf8', HEADER, end), isPort);
  return name === null ? null : { name, isPort };
}

/** As nexuses are named: the ISID with small digits behind `,i,0x`. */
function normalized(name: string, isPort: boolean): string | null {
  if (!isPort) return name.includes(',') ? null : name;
  const parts = /^([^,]+),i,0[xX]([0-9a-fA-F]{12})$/.exec(name);
  return parts === null ? null : `${parts[1]!},i,0x${parts[2]!.toLowerCase()}`;
}
