/** Atomic operations (RFC 7306 5): their messages, and what they do to the memory. */

import { putU32 } from '../../util/fields.js';
import type { ScatterList } from '../../util/memory.js';
import { SendOpcode } from '../work.js';
import {
  ATOMIC_REQUEST_HEADER,
  ATOMIC_RESPONSE_HEADER,
  AtomicRequestHeader as Request,
  AtomicResponseHeader as Response,
  DdpQueue,
  putUntaggedHeader,
  RdmapOpcode,
} from './headers.js';
import type { Message } from './message.js';
import type { FpduWriter } from './mpa/fpdu-writer.js';
import type { SendWork } from './work-queue.js';

/** RFC 7306 5.2.1, Figure 5 */
export const AtomicOperation = { FETCH_ADD: 0, COMPARE_SWAP: 2 } as const;
const OPERATION_MASK = 0x0f;
const ALL_BITS = 0xffff_ffff_ffff_ffffn;
/** Bytes of the number that is worked on; its offset is a multiple of them. */
export const ATOMIC_LENGTH = 8;

// A number in the machine's own byte order, and its bytes.
const number = new BigUint64Array(1);
const numberBytes = new Uint8Array(number.buffer);

/** Whether a request is for an operation that exists. */
export function isKnownOperation(header: Buffer): boolean {
  const operation = Request.operation.get(header) & OPERATION_MASK;
  return operation === AtomicOperation.FETCH_ADD || operation === AtomicOperation.COMPARE_SWAP;
}

/** What an Atomic Request asks for; the fields of RFC 7306 5.2.1. */
export class AtomicRequest {
  operation = 0;
  requestIdentifier = 0;
  data = 0n;
  mask = 0n;
  compareData = 0n;
  compareMask = 0n;

  parse(header: Buffer): void {
    this.operation = Request.operation.get(header) & OPERATION_MASK;
    this.requestIdentifier = Request.requestIdentifier.get(header);
    this.data = header.readBigUInt64BE(Request.addOrSwapData.offset);
    this.mask = header.readBigUInt64BE(Request.addOrSwapMask.offset);
    this.compareData = header.readBigUInt64BE(Request.compareData.offset);
    this.compareMask = header.readBigUInt64BE(Request.compareMask.offset);
  }

  /** Work on the number at `at` of `list`, and give what it was before. Nothing else runs in between. */
  perform(list: ScatterList, at: number): bigint {
    list.read(at, numberBytes, 0, ATOMIC_LENGTH);
    const original = number[0]!;
    number[0] = this.operation === AtomicOperation.FETCH_ADD ? this.#sum(original) : this.#swapped(original);
    list.write(at, numberBytes, 0, ATOMIC_LENGTH);
    return original;
  }

  /** The mask has the highest bit of each field that is added by itself, what it carries being lost (RFC 7306 5.1.1). */
  #sum(original: bigint): bigint {
    const lower = ALL_BITS ^ this.mask;
    const sum = (original & lower) + (this.data & lower);
    return (sum ^ ((original ^ this.data) & this.mask)) & ALL_BITS;
  }

  /** RFC 7306 5.1.2 */
  #swapped(original: bigint): bigint {
    if (((this.compareData ^ original) & this.compareMask) !== 0n) return original;
    return (original & (ALL_BITS ^ this.mask)) | (this.data & this.mask);
  }
}

/** Where in its region, counted as the machine does, the number would be; a region's own start may be anywhere. */
export function isAligned(list: ScatterList, at: number): boolean {
  for (let i = 0; i < list.count; i++) {
    if (at < list.lengths[i]!)
      return (list.regions[i]!.bytes.byteOffset + list.offsets[i]! + at) % ATOMIC_LENGTH === 0;
    at -= list.lengths[i]!;
  }
  return false;
}

/** RFC 7306 5.2.1: unmasked, as verbs have them. */
export function writeAtomicRequest(
  writer: FpduWriter<Message>,
  work: SendWork,
  sequenceNumber: number,
  message: Message,
): void {
  writer.begin(ATOMIC_REQUEST_HEADER);
  const { bytes, view } = writer.region;
  const at = writer.offset;
  const isSwap = work.opcode === SendOpcode.ATOMIC_COMPARE_SWAP;
  const { REQUEST } = DdpQueue;
  putUntaggedHeader(view, at, RdmapOpcode.ATOMIC_REQUEST, true, REQUEST, sequenceNumber, 0, 0);
  const operation = isSwap ? AtomicOperation.COMPARE_SWAP : AtomicOperation.FETCH_ADD;
  putU32(bytes, at + Request.operation.offset, operation);
  putU32(bytes, at + Request.requestIdentifier.offset, work.sinkKey);
  putU32(bytes, at + Request.remoteStag.offset, work.remoteKey);
  putU32(bytes, at + Request.remoteTaggedOffset.offset, work.remoteAddressHigh);
  putU32(bytes, at + Request.remoteTaggedOffset.offset + 4, work.remoteAddressLow);
  bytes.writeBigUInt64BE(work.operand, at + Request.addOrSwapData.offset);
  // Of an addition a mask of nothing makes one field.
  bytes.writeBigUInt64BE(isSwap ? ALL_BITS : 0n, at + Request.addOrSwapMask.offset);
  bytes.writeBigUInt64BE(isSwap ? work.compare : 0n, at + Request.compareData.offset);
  bytes.writeBigUInt64BE(ALL_BITS, at + Request.compareMask.offset);
  writer.finish(null, 0, 0, message);
}

/** RFC 7306 5.2.2 */
export function writeAtomicResponse(
  writer: FpduWriter<Message>,
  { requestIdentifier }: AtomicRequest,
  original: bigint,
  sequenceNumber: number,
  message: Message,
): void {
  writer.begin(ATOMIC_RESPONSE_HEADER);
  const { bytes, view } = writer.region;
  const at = writer.offset;
  const { ATOMIC_RESPONSE } = DdpQueue;
  putUntaggedHeader(view, at, RdmapOpcode.ATOMIC_RESPONSE, true, ATOMIC_RESPONSE, sequenceNumber, 0, 0);
  putU32(bytes, at + Response.requestIdentifier.offset, requestIdentifier);
  bytes.writeBigUInt64BE(original, at + Response.originalData.offset);
  writer.finish(null, 0, 0, message);
}

/** Put the number that a response brought where it was asked for, in the machine's byte order. */
export function placeOriginal(header: Buffer, list: ScatterList): void {
  number[0] = header.readBigUInt64BE(Response.originalData.offset);
  list.write(0, numberBytes, 0, ATOMIC_LENGTH);
}
