/**
 * The headers of DDP (RFC 5041 4) and RDMAP (RFC 5040 4, RFC 7306), which share their first bytes: offsets count from the
 * first byte of the ULPDU.
 */

import { u16, u32, u64, u8 } from '../../util/fields.js';

/** Byte 0: tagged or not, last segment of its message or not, and the version of DDP (RFC 5041 4.1). */
export const DdpFlag = { TAGGED: 0x80, LAST: 0x40 } as const;
export const DDP_VERSION = 1;
const DDP_VERSION_MASK = 0x03;
/** Byte 1: the version of RDMAP in its highest two bits, the opcode in its lowest four (RFC 5040 4.1). */
export const RDMAP_VERSION = 1;
const RDMAP_VERSION_SHIFT = 6;
const RDMAP_OPCODE_MASK = 0x0f;

/** RFC 5040 4.1, Figure 4; RFC 7306 4.1, Figure 2 */
export const RdmapOpcode = {
  WRITE: 0,
  READ_REQUEST: 1,
  READ_RESPONSE: 2,
  SEND: 3,
  SEND_WITH_INVALIDATE: 4,
  SEND_WITH_SOLICITED_EVENT: 5,
  SEND_WITH_SOLICITED_EVENT_AND_INVALIDATE: 6,
  TERMINATE: 7,
  IMMEDIATE_DATA: 8,
  IMMEDIATE_DATA_WITH_SOLICITED_EVENT: 9,
  ATOMIC_REQUEST: 10,
  ATOMIC_RESPONSE: 11,
} as const;
export type RdmapOpcode = (typeof RdmapOpcode)[keyof typeof RdmapOpcode];

/**
 * DDP queues of untagged messages (RFC 5040 4.1, Figure 4; RFC 7306 4.1, Figure 2). Immediate data goes to that of the Sends,
 * Atomic Requests to that of the Read Requests.
 */
export const DdpQueue = { SEND: 0, REQUEST: 1, TERMINATE: 2, ATOMIC_RESPONSE: 3 } as const;
export type DdpQueue = (typeof DdpQueue)[keyof typeof DdpQueue];

const common = { ddpControl: u8(0), rdmapControl: u8(1) };

/** Tagged: Writes and Read Responses (RFC 5041 4.2). */
export const TaggedHeader = { ...common, stag: u32(2), taggedOffset: u64(6) };
export const TAGGED_HEADER = 14;

/** Untagged: all others (RFC 5041 4.3). */
export const UntaggedHeader = {
  ...common,
  /** Of the Sends with Invalidate; zero in others (RFC 5040 4.1). */
  invalidateStag: u32(2),
  queueNumber: u32(6),
  messageSequenceNumber: u32(10),
  messageOffset: u32(14),
};
export const UNTAGGED_HEADER = 18;

/** RFC 5040 4.4, behind the untagged header. */
export const ReadRequestHeader = {
  ...UntaggedHeader,
  sinkStag: u32(18),
  sinkTaggedOffset: u64(22),
  readMessageSize: u32(30),
  sourceStag: u32(34),
  sourceTaggedOffset: u64(38),
};
export const READ_REQUEST_HEADER = 46;
/** The part of it that RDMAP adds (RFC 5040 4.8 calls it the RDMA header). */
export const READ_REQUEST_PAYLOAD = READ_REQUEST_HEADER - UNTAGGED_HEADER;

/** RFC 7306 5.2.1, behind the untagged header. The numbers are of 64 bits, all of which count. */
export const AtomicRequestHeader = {
  ...UntaggedHeader,
  /** In its lowest four bits. */
  operation: u32(18),
  requestIdentifier: u32(22),
  remoteStag: u32(26),
  remoteTaggedOffset: u64(30),
  addOrSwapData: u64(38),
  addOrSwapMask: u64(46),
  compareData: u64(54),
  compareMask: u64(62),
};
export const ATOMIC_REQUEST_HEADER = 70;

/** RFC 7306 5.2.2, behind the untagged header. */
export const AtomicResponseHeader = {
  ...UntaggedHeader,
  requestIdentifier: u32(18),
  originalData: u64(22),
};
export const ATOMIC_RESPONSE_HEADER = 30;

/** RFC 7306 6.2, behind the untagged header: 8 bytes. */
export const IMMEDIATE_DATA_HEADER = UNTAGGED_HEADER + 8;

/** RFC 5040 4.8, behind the untagged header; what of the terminated message it quotes comes behind. */
export const TerminateHeader = {
  ...UntaggedHeader,
  /** Layer in the high half, error type in the low one. */
  layerAndType: u8(18),
  errorCode: u8(19),
  headerControl: u8(20),
  ddpSegmentLength: u16(22),
};
/** Without a quotation. */
export const TERMINATE_HEADER = 22;
/** Where the quoted DDP header is. */
export const TERMINATED_DDP_HEADER = 24;

/** Bits of {@link TerminateHeader}'s `headerControl` (RFC 5040 4.8, HdrCt). */
export const TerminateFlag = { SEGMENT_LENGTH: 0x80, DDP_HEADER: 0x40, RDMA_HEADER: 0x20 } as const;

/** The control fields of DDP and RDMAP, 16 bits, that every segment begins with. */
export function controlOf(ddpFlags: number, opcode: RdmapOpcode): number {
  return ((ddpFlags | DDP_VERSION) << 8) | (RDMAP_VERSION << RDMAP_VERSION_SHIFT) | opcode;
}

/** Write the header of a tagged segment to `view` from `at` on; the offset is given as two words. */
export function putTaggedHeader(
  view: DataView,
  at: number,
  opcode: RdmapOpcode,
  isLast: boolean,
  stag: number,
  offsetHigh: number,
  offsetLow: number,
): void {
  view.setUint16(at, controlOf(DdpFlag.TAGGED | (isLast ? DdpFlag.LAST : 0), opcode));
  view.setUint32(at + TaggedHeader.stag.offset, stag);
  view.setUint32(at + TaggedHeader.taggedOffset.offset, offsetHigh);
  view.setUint32(at + TaggedHeader.taggedOffset.offset + 4, offsetLow);
}

/** Write the header of an untagged segment to `view` from `at` on. */
export function putUntaggedHeader(
  view: DataView,
  at: number,
  opcode: RdmapOpcode,
  isLast: boolean,
  queue: DdpQueue,
  sequenceNumber: number,
  messageOffset: number,
  invalidateStag: number,
): void {
  view.setUint16(at, controlOf(isLast ? DdpFlag.LAST : 0, opcode));
  view.setUint32(at + UntaggedHeader.invalidateStag.offset, invalidateStag);
  view.setUint32(at + UntaggedHeader.queueNumber.offset, queue);
  view.setUint32(at + UntaggedHeader.messageSequenceNumber.offset, sequenceNumber);
  view.setUint32(at + UntaggedHeader.messageOffset.offset, messageOffset);
}

export function ddpVersionOf(header: Uint8Array): number {
  return header[0]! & DDP_VERSION_MASK;
}

export function rdmapVersionOf(header: Uint8Array): number {
  return header[1]! >>> RDMAP_VERSION_SHIFT;
}

export function opcodeOf(header: Uint8Array): number {
  return header[1]! & RDMAP_OPCODE_MASK;
}
