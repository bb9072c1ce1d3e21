/** The iSER header, 28 bytes in front of everything that a Send carries (RFC 7145 9). */

import { getU32, putU16, putU32, u16, u8 } from '../../util/fields.js';
import type { RemoteBuffers } from '../datamover.js';

export const ISER_HEADER_LENGTH = 28;

/** The first byte's upper half. */
export const IserOpcode = { CONTROL: 1, HELLO: 2, HELLO_REPLY: 3 } as const;

/** Bits of the first byte. */
const IserFlag = { WRITE_STAG: 0x08, READ_STAG: 0x04, REJECT: 0x01 } as const;

/** The one version there is, as maximum, minimum and current (RFC 7145 9.3). */
const VERSION = 10;

const Hello = { maxVersion: u8(1), depth: u16(2) };

export function iserOpcode(bytes: Uint8Array, at: number): number {
  return bytes[at]! >>> 4;
}

/** The header of a control-type PDU (RFC 7145 9.2). */
export function putControlHeader(bytes: Uint8Array, at: number, remote: RemoteBuffers | null): void {
  for (let i = 0; i < ISER_HEADER_LENGTH; i++) bytes[at + i] = 0;
  bytes[at] = IserOpcode.CONTROL << 4;
  if (remote === null) return;
  if (remote.writeKey !== 0) {
    bytes[at] |= IserFlag.WRITE_STAG;
    putU32(bytes, at + 4, remote.writeKey);
    putU32(bytes, at + 8, remote.writeHigh);
    putU32(bytes, at + 12, remote.writeLow);
  }
  if (remote.readKey !== 0) {
    bytes[at] |= IserFlag.READ_STAG;
    putU32(bytes, at + 16, remote.readKey);
    putU32(bytes, at + 20, remote.readHigh);
    putU32(bytes, at + 24, remote.readLow);
  }
}

/** What the header of a control-type PDU advertises; false when it contradicts itself: a key of 0 names no memory. */
export function getControlHeader(bytes: Uint8Array, at: number, remote: RemoteBuffers): boolean {
  const hasWrite = (bytes[at]! & IserFlag.WRITE_STAG) !== 0;
  const hasRead = (bytes[at]! & IserFlag.READ_STAG) !== 0;
  remote.writeKey = hasWrite ? getU32(bytes, at + 4) : 0;
  remote.writeHigh = hasWrite ? getU32(bytes, at + 8) : 0;
  remote.writeLow = hasWrite ? getU32(bytes, at + 12) : 0;
  remote.readKey = hasRead ? getU32(bytes, at + 16) : 0;
  remote.readHigh = hasRead ? getU32(bytes, at + 20) : 0;
  remote.readLow = hasRead ? getU32(bytes, at + 24) : 0;
  return hasWrite === (remote.writeKey !== 0) && hasRead === (remote.readKey !== 0);
}

/** The Hello Message of an initiator that serves `depth` RDMA Reads at a time (RFC 7145 9.3). */
export function helloMessage(depth: number): Buffer {
  const message = Buffer.alloc(ISER_HEADER_LENGTH);
  message[0] = IserOpcode.HELLO << 4;
  message[1] = (VERSION << 4) | VERSION;
  putU16(message, 2, depth);
  return message;
}

/** The depth that a Hello Message declares; null when its versions leave out the one that there is. */
export function readHello(message: Uint8Array): number | null {
  const versions = Hello.maxVersion.get(message);
  return versions >>> 4 < VERSION || (versions & 0xf) > VERSION ? null : Hello.depth.get(message);
}

/** The HelloReply Message of a target that has `depth` RDMA Reads under way at most (RFC 7145 9.4). */
export function helloReplyMessage(depth: number, isRejected: boolean): Buffer {
  const message = helloMessage(depth);
  message[0] = (IserOpcode.HELLO_REPLY << 4) | (isRejected ? IserFlag.REJECT : 0);
  return message;
}

/** Whether the target takes the connection. */
export function isHelloAccepted(message: Uint8Array): boolean {
  return (message[0]! & IserFlag.REJECT) === 0 && (Hello.maxVersion.get(message) & 0xf) === VERSION;
}
