/** ULPDUs of iWARP, right or wrong: every field as a test wants it (RFC 5041 4, RFC 5040 4). */

import {
  DdpQueue,
  RdmapOpcode,
  READ_REQUEST_HEADER,
  ReadRequestHeader,
  TAGGED_HEADER,
  TaggedHeader,
  UNTAGGED_HEADER,
  UntaggedHeader,
} from '../../src/rdma/iwarp/headers.js';
import type { TerminateReason } from '../../src/rdma/iwarp/terminate.js';

const NOTHING = Buffer.alloc(0);

interface CommonFields {
  opcode?: number;
  last?: boolean;
  ddpVersion?: number;
  rdmapVersion?: number;
  payload?: Buffer;
}

export interface TaggedFields extends CommonFields {
  stag: number;
  offset: number | bigint;
}

export interface UntaggedFields extends CommonFields {
  queue?: number;
  /** MSN and MO. */
  number?: number;
  messageOffset?: number;
  invalidate?: number;
}

export interface ReadFields {
  number?: number;
  messageOffset?: number;
  sinkStag?: number;
  sinkOffset?: bigint;
  length: number;
  sourceStag: number;
  sourceOffset: number | bigint;
}

function control(bytes: Buffer, isTagged: boolean, fields: CommonFields, opcode: number): void {
  const { last = true, ddpVersion = 1, rdmapVersion = 1 } = fields;
  bytes[0] = (isTagged ? 0x80 : 0) | (last ? 0x40 : 0) | ddpVersion;
  bytes[1] = (rdmapVersion << 6) | opcode;
}

/** An RDMA Write, if no opcode says otherwise. */
export function tagged(fields: TaggedFields): Buffer {
  const { opcode = RdmapOpcode.WRITE, stag, offset, payload = NOTHING } = fields;
  const bytes = Buffer.concat([Buffer.alloc(TAGGED_HEADER), payload]);
  control(bytes, true, fields, opcode);
  TaggedHeader.stag.set(bytes, stag);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(offset)), 6);
  return bytes;
}

/** A Send, if no opcode says otherwise. */
export function untagged(fields: UntaggedFields = {}): Buffer {
  const { opcode = RdmapOpcode.SEND, payload = NOTHING } = fields;
  const { queue = DdpQueue.SEND, number = 1, messageOffset = 0, invalidate = 0 } = fields;
  const bytes = Buffer.concat([Buffer.alloc(UNTAGGED_HEADER), payload]);
  control(bytes, false, fields, opcode);
  UntaggedHeader.invalidateStag.set(bytes, invalidate);
  UntaggedHeader.queueNumber.set(bytes, queue);
  UntaggedHeader.messageSequenceNumber.set(bytes, number);
  UntaggedHeader.messageOffset.set(bytes, messageOffset);
  return bytes;
}

export function readRequest(fields: ReadFields): Buffer {
  const { number = 1, messageOffset = 0, sinkStag = 0x5157, sinkOffset = 0n } = fields;
  const bytes = untagged({
    opcode: RdmapOpcode.READ_REQUEST,
    queue: DdpQueue.READ_REQUEST,
    number,
    messageOffset,
    payload: Buffer.alloc(READ_REQUEST_HEADER - UNTAGGED_HEADER),
  });
  ReadRequestHeader.sinkStag.set(bytes, sinkStag);
  bytes.writeBigUInt64BE(sinkOffset, 22);
  ReadRequestHeader.readMessageSize.set(bytes, fields.length);
  ReadRequestHeader.sourceStag.set(bytes, fields.sourceStag);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(fields.sourceOffset)), 38);
  return bytes;
}

export function readResponse(fields: TaggedFields): Buffer {
  return tagged({ opcode: RdmapOpcode.READ_RESPONSE, ...fields });
}

/**
 * A Terminate Message, byte for byte as RFC 5040 4.8 has it. `quoted`: the ULPDU that was wrong; null where Figure 10
 * has nothing quoted. `withRead`: the Read Request's own header is quoted, too.
 */
export function terminateMessage(
  { layer, type, code }: Omit<TerminateReason, 'text'>,
  quoted: Buffer | null,
  withRead = false,
): Buffer {
  const terminateControl = Buffer.from([(layer << 4) | type, code, 0, 0]);
  const parts = [terminateControl];
  if (quoted !== null) {
    // M and D, and R.
    terminateControl[2] = withRead ? 0xe0 : 0xc0;
    const isTagged = (quoted[0]! & 0x80) !== 0;
    const header = isTagged ? TAGGED_HEADER : withRead ? READ_REQUEST_HEADER : UNTAGGED_HEADER;
    parts.push(Buffer.from([quoted.length >>> 8, quoted.length]), Buffer.from(quoted.subarray(0, header)));
  }
  return untagged({
    opcode: RdmapOpcode.TERMINATE,
    queue: DdpQueue.TERMINATE,
    payload: Buffer.concat(parts),
  });
}
