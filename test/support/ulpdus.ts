/** ULPDUs of iWARP, right or wrong: every field as a test wants it (RFC 5041 4, RFC 5040 4). */

import {
  ATOMIC_REQUEST_HEADER,
  AtomicRequestHeader,
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
import { pattern } from './pattern.js';

const NOTHING = Buffer.alloc(0);
const SOME = pattern(60_000, 9);

/** A payload of `length` bytes, at most 60 000. */
export function bytes(length: number): Buffer {
  return SOME.subarray(0, length);
}

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

function control(ulpdu: Buffer, isTagged: boolean, fields: CommonFields, opcode: number): void {
  const { last = true, ddpVersion = 1, rdmapVersion = 1 } = fields;
  ulpdu[0] = (isTagged ? 0x80 : 0) | (last ? 0x40 : 0) | ddpVersion;
  ulpdu[1] = (rdmapVersion << 6) | opcode;
}

/** An RDMA Write, if no opcode says otherwise. */
export function tagged(fields: TaggedFields): Buffer {
  const { opcode = RdmapOpcode.WRITE, stag, offset, payload = NOTHING } = fields;
  const ulpdu = Buffer.concat([Buffer.alloc(TAGGED_HEADER), payload]);
  control(ulpdu, true, fields, opcode);
  TaggedHeader.stag.set(ulpdu, stag);
  ulpdu.writeBigUInt64BE(BigInt.asUintN(64, BigInt(offset)), 6);
  return ulpdu;
}

/** A Send, if no opcode says otherwise. */
export function untagged(fields: UntaggedFields = {}): Buffer {
  const { opcode = RdmapOpcode.SEND, payload = NOTHING } = fields;
  const { queue = DdpQueue.SEND, number = 1, messageOffset = 0, invalidate = 0 } = fields;
  const ulpdu = Buffer.concat([Buffer.alloc(UNTAGGED_HEADER), payload]);
  control(ulpdu, false, fields, opcode);
  UntaggedHeader.invalidateStag.set(ulpdu, invalidate);
  UntaggedHeader.queueNumber.set(ulpdu, queue);
  UntaggedHeader.messageSequenceNumber.set(ulpdu, number);
  UntaggedHeader.messageOffset.set(ulpdu, messageOffset);
  return ulpdu;
}

/** A message of the queue of requests, `length` bytes with its headers; what is behind DDP's is zero. */
function request(
  opcode: number,
  length: number,
  fields: Pick<UntaggedFields, 'number' | 'messageOffset'>,
): Buffer {
  const { number = 1, messageOffset = 0 } = fields;
  const payload = Buffer.alloc(length - UNTAGGED_HEADER);
  return untagged({ opcode, queue: DdpQueue.REQUEST, number, messageOffset, payload });
}

export function readRequest(fields: ReadFields): Buffer {
  const { sinkStag = 0x5157, sinkOffset = 0n } = fields;
  const ulpdu = request(RdmapOpcode.READ_REQUEST, READ_REQUEST_HEADER, fields);
  ReadRequestHeader.sinkStag.set(ulpdu, sinkStag);
  ulpdu.writeBigUInt64BE(sinkOffset, 22);
  ReadRequestHeader.readMessageSize.set(ulpdu, fields.length);
  ReadRequestHeader.sourceStag.set(ulpdu, fields.sourceStag);
  ulpdu.writeBigUInt64BE(BigInt.asUintN(64, BigInt(fields.sourceOffset)), 38);
  return ulpdu;
}

export interface AtomicFields {
  number?: number;
  messageOffset?: number;
  operation?: number;
  identifier?: number;
  stag: number;
  offset: number | bigint;
  data?: bigint;
  mask?: bigint;
  compare?: bigint;
  compareMask?: bigint;
}

/** A FetchAdd of 1, if nothing says otherwise (RFC 7306 5.2.1). */
export function atomicRequest(fields: AtomicFields): Buffer {
  const { operation = 0, identifier = 0x1de, data = 1n, mask = 0n } = fields;
  const { compare = 0n, compareMask = 0xffff_ffff_ffff_ffffn } = fields;
  const ulpdu = request(RdmapOpcode.ATOMIC_REQUEST, ATOMIC_REQUEST_HEADER, fields);
  AtomicRequestHeader.operation.set(ulpdu, operation);
  AtomicRequestHeader.requestIdentifier.set(ulpdu, identifier);
  AtomicRequestHeader.remoteStag.set(ulpdu, fields.stag);
  for (const [at, value] of [
    [30, BigInt.asUintN(64, BigInt(fields.offset))],
    [38, data],
    [46, mask],
    [54, compare],
    [62, compareMask],
  ] as const)
    ulpdu.writeBigUInt64BE(value, at);
  return ulpdu;
}

/** RFC 7306 5.2.2 */
export function atomicResponse(fields: { number?: number; identifier: number; original: bigint }): Buffer {
  const payload = Buffer.alloc(12);
  payload.writeUInt32BE(fields.identifier, 0);
  payload.writeBigUInt64BE(fields.original, 4);
  return untagged({
    opcode: RdmapOpcode.ATOMIC_RESPONSE,
    queue: DdpQueue.ATOMIC_RESPONSE,
    number: fields.number ?? 1,
    payload,
  });
}

/** RFC 7306 6.2 */
export function immediateData(fields: UntaggedFields & { data: bigint; isSolicited?: boolean }): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeBigUInt64BE(fields.data, 0);
  const opcode =
    fields.isSolicited === true
      ? RdmapOpcode.IMMEDIATE_DATA_WITH_SOLICITED_EVENT
      : RdmapOpcode.IMMEDIATE_DATA;
  return untagged({ opcode, payload, ...fields });
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
