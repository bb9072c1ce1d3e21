/** The peer's Read Requests and Atomic Requests: checked, and handed to the responder (RFC 5040 5.2.1, 7.2; RFC 7306 5.2.1, 8.2). */

import { getU32 } from '../../util/fields.js';
import { AccessFlag } from '../verbs.js';
import { ATOMIC_LENGTH, isAligned, isKnownOperation } from './atomics.js';
import {
  ATOMIC_REQUEST_HEADER,
  AtomicRequestHeader,
  DdpFlag,
  opcodeOf,
  RdmapOpcode,
  READ_REQUEST_HEADER,
  ReadRequestHeader,
  UntaggedHeader,
} from './headers.js';
import { AccessFault, checkAccess, type Grant } from './keys.js';
import type { IwarpProtectionDomain } from './protection-domain.js';
import type { Responder } from './responder.js';
import { Terminate, type TerminateReason } from './terminate.js';

/** The queue pair behind it. */
export interface RequestHost {
  readonly domain: IwarpProtectionDomain;
  readonly responder: Responder;
  /** The peer broke a rule. `what`: what it sent, in words. */
  violated(reason: TerminateReason, what: string): void;
}

const FAULT: Record<Exclude<AccessFault, 0>, TerminateReason> = {
  [AccessFault.INVALID_KEY]: Terminate.READ_INVALID_STAG,
  [AccessFault.NOT_ASSOCIATED]: Terminate.READ_NOT_ASSOCIATED,
  [AccessFault.ACCESS]: Terminate.ACCESS,
  [AccessFault.WRAP]: Terminate.READ_WRAP,
  [AccessFault.BOUNDS]: Terminate.READ_BOUNDS,
};

export class InboundRequests {
  readonly #host: RequestHost;
  #nextNumber = 1;

  constructor(host: RequestHost) {
    this.#host = host;
  }

  /** A segment of their queue, of `length` bytes. */
  handle(header: Buffer, length: number): void {
    const opcode = opcodeOf(header);
    if (opcode !== RdmapOpcode.READ_REQUEST && opcode !== RdmapOpcode.ATOMIC_REQUEST)
      this.#fault(Terminate.UNEXPECTED_OPCODE, `opcode ${opcode} in the queue of Read Requests`);
    else if (opcode === RdmapOpcode.READ_REQUEST) {
      if (this.#isWhole(header, length, READ_REQUEST_HEADER, 'a Read Request')) this.#read(header);
    } else if (this.#isWhole(header, length, ATOMIC_REQUEST_HEADER, 'an Atomic Request'))
      this.#atomic(header);
  }

  #isWhole(header: Buffer, length: number, expected: number, name: string): boolean {
    if (UntaggedHeader.messageSequenceNumber.get(header) !== this.#nextNumber)
      return this.#fault(Terminate.INVALID_MSN, `${name} out of sequence`);
    if (UntaggedHeader.messageOffset.get(header) !== 0)
      return this.#fault(Terminate.INVALID_MO, `${name} in several segments`);
    if (length > expected) return this.#fault(Terminate.MESSAGE_TOO_LONG, `${name} that is too long`);
    if (length < expected || (header[0]! & DdpFlag.LAST) === 0)
      return this.#fault(Terminate.OPERATION, `${name} that is too short`);
    return true;
  }

  #read(header: Buffer): void {
    const length = ReadRequestHeader.readMessageSize.get(header);
    const sourceKey = ReadRequestHeader.sourceStag.get(header);
    const at = ReadRequestHeader.sourceTaggedOffset.offset;
    const high = getU32(header, at);
    const low = getU32(header, at + 4);
    // Of a read of nothing nothing is checked (RFC 5040 5.2.1).
    const grant = length === 0 ? null : this.#host.domain.keys.find(sourceKey);
    if (length > 0 && !this.#isGranted(grant, AccessFlag.REMOTE_READ, high, low, length, 'an RDMA Read'))
      return;
    const response = this.#take();
    if (response === null) return;
    response.isAtomic = false;
    response.sinkKey = ReadRequestHeader.sinkStag.get(header);
    response.sinkHigh = getU32(header, ReadRequestHeader.sinkTaggedOffset.offset);
    response.sinkLow = getU32(header, ReadRequestHeader.sinkTaggedOffset.offset + 4);
    response.sourceKey = sourceKey;
    response.grant = grant;
    response.from = grant === null ? 0 : high * 2 ** 32 + low - grant.base;
    response.length = length;
  }

  #atomic(header: Buffer): void {
    const key = AtomicRequestHeader.remoteStag.get(header);
    const at = AtomicRequestHeader.remoteTaggedOffset.offset;
    const high = getU32(header, at);
    const low = getU32(header, at + 4);
    const grant = this.#host.domain.keys.find(key);
    if (!this.#isGranted(grant, AccessFlag.REMOTE_ATOMIC, high, low, ATOMIC_LENGTH, 'an atomic operation'))
      return;
    const from = high * 2 ** 32 + low - grant.base;
    if (!isAligned(grant.list, from)) {
      this.#fault(Terminate.STREAM_CATASTROPHIC, 'an atomic operation on a number that is not aligned');
      return;
    }
    if (!isKnownOperation(header)) {
      this.#fault(Terminate.OPERATION, 'an atomic operation that does not exist');
      return;
    }
    const response = this.#take();
    if (response === null) return;
    response.isAtomic = true;
    response.atomic.parse(header);
    response.sourceKey = key;
    response.grant = grant;
    response.from = from;
    response.length = ATOMIC_LENGTH;
  }

  #isGranted(
    grant: Grant | null,
    access: number,
    high: number,
    low: number,
    length: number,
    what: string,
  ): grant is Grant {
    const fault = checkAccess(grant, this.#host.domain, this.#host, access, high, low, length);
    return fault === AccessFault.NONE || this.#fault(FAULT[fault], `${what} that is not granted`);
  }

  #take() {
    const response = this.#host.responder.take();
    if (response === null) this.#fault(Terminate.NO_BUFFER, 'more RDMA Reads at a time than were agreed');
    else this.#nextNumber = (this.#nextNumber + 1) >>> 0;
    return response;
  }

  #fault(reason: TerminateReason, what: string): false {
    this.#host.violated(reason, what);
    return false;
  }
}
