/** The iSER header, 28 bytes in front of everything that a Send carries (RFC 7145 9). */

import { putU16, u16, u8 } from '../../util/fields.js';
import type { Memory } from '../../util/memory.js';
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
export function putControlHeader({ view }: Memory, at: number, remote: RemoteBuffers | null): void {
  const hasWrite = remote !== null && remote.writeKey !== 0;
  const hasRead = remote !== null && remote.readKey !== 0;
  const flags = (hasWrite ? IserFlag.WRITE_STAG : 0) | (hasRead ? IserFlag.READ_STAG : 0);
  view.setUint32(at, ((IserOpcode.CONTROL << 4) | flags) << 24);
  view.setUint32(at + 4, hasWrite ? remote.writeKey : 0);
  view.setUint32(at + 8, hasWrite ? remote.writeHigh : 0);
  view.setUint32(at + 12, hasWrite ? remote.writeLow : 0);
  view.setUint32(at + 16, hasRead ? remote.readKey : 0);
  view.setUint32(at + 20, hasRead ? remote.readHigh : 0);
  view.setUint32(at + 24, hasRead ? remote.readLow : 0);
}

/** What the header of a control-type PDU advertises; false when it contradicts itself: a key of 0 names no memory. */
export function getControlHeader({ view }: Memory, at: number, remote: RemoteBuffers): boolean {
  const flags = view.getUint8(at);
  const hasWrite = (flags & IserFlag.WRITE_STAG) !== 0;
  const hasRead = (flags & IserFlag.READ_STAG) !== 0;
  remote.writeKey = hasWrite ? view.getUint32(at + 4) : 0;
  remote.writeHigh = hasWrite ? view.getUint32(at + 8) : 0;
  remote.writeLow = hasWrite ? view.getUint32(at + 12) : 0;
  remote.readKey = hasRead ? view.getUint32(at + 16) : 0;
  remote.readHigh = hasRead ? view.getUint32(at + 20) : 0;
  remote.readLow = hasRead ? view.getUint32(at + 24) : 0;
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
