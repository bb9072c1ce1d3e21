/**
 * What a posted request must not do whatever the device: devices differ in what they notice, and in what they call it. What ends
 * meanwhile, such as a registration, is theirs to notice.
 */

import { AccessFlag, type MemoryRegion } from '../verbs.js';
import {
  CompletionStatus,
  type ReceiveRequest,
  SendOpcode,
  type SendRequest,
  type SgeList,
} from '../work.js';
import type { NativeMemoryRegion, NativeMemoryWindow, NativeProtectionDomain } from './memory.js';

const { SUCCESS, LOCAL_PROTECTION_ERROR, LOCAL_QP_OPERATION_ERROR, WINDOW_BIND_ERROR } = CompletionStatus;

/** Of the number that an atomic operation brings back. */
const ATOMIC_BYTES = 8;

/** The status that a send request ends with, or SUCCESS when the device is to try. `mayRead`: the queue pair may have reads under way. */
export function sendFault(
  domain: NativeProtectionDomain,
  request: SendRequest,
  mayRead: boolean,
): CompletionStatus {
  const { opcode } = request;
  if (opcode === SendOpcode.BIND_WINDOW) return bindFault(domain, request);
  if (opcode === SendOpcode.LOCAL_INVALIDATE)
    return domain.device.windows.get(request.invalidateKey)?.domain === domain
      ? SUCCESS
      : LOCAL_QP_OPERATION_ERROR;
  const writes =
    opcode === SendOpcode.RDMA_READ ||
    opcode === SendOpcode.ATOMIC_COMPARE_SWAP ||
    opcode === SendOpcode.ATOMIC_FETCH_ADD;
  if (writes && !mayRead) return LOCAL_QP_OPERATION_ERROR;
  if (writes && opcode !== SendOpcode.RDMA_READ && request.sges.length !== ATOMIC_BYTES)
    return CompletionStatus.LOCAL_LENGTH_ERROR;
  return isUsable(domain, request.sges, writes) ? SUCCESS : LOCAL_PROTECTION_ERROR;
}

/** The same for a receive; it fails when a message comes for it. */
export function receiveFault(domain: NativeProtectionDomain, { sges }: ReceiveRequest): CompletionStatus {
  return isUsable(domain, sges, true) ? SUCCESS : LOCAL_PROTECTION_ERROR;
}

function isUsable(domain: NativeProtectionDomain, sges: SgeList, writes: boolean): boolean {
  for (let i = 0; i < sges.count; i++) {
    const region = sges.regions[i] as NativeMemoryRegion;
    if (!region.isRegistered || region.domain !== domain) return false;
    if (writes && (region.access & AccessFlag.LOCAL_WRITE) === 0) return false;
    if (!isWithin(region, sges.offsets[i]!, sges.lengths[i]!)) return false;
  }
  return true;
}

/** A buffer that was given away has no length any more: then nothing is within. */
function isWithin({ memory }: MemoryRegion, offset: number, length: number): boolean {
  return Number.isInteger(offset) && offset >= 0 && length >= 0 && offset + length <= memory.bytes.byteLength;
}

function bindFault(domain: NativeProtectionDomain, request: SendRequest): CompletionStatus {
  const region = request.bindRegion as NativeMemoryRegion | null;
  const window = request.window as NativeMemoryWindow | null;
  if (region === null || window === null) return WINDOW_BIND_ERROR;
  const writes = (request.bindAccess & (AccessFlag.REMOTE_WRITE | AccessFlag.REMOTE_ATOMIC)) !== 0;
  const isAllowed =
    window.domain === domain &&
    region.domain === domain &&
    region.isRegistered &&
    (region.access & AccessFlag.WINDOW_BIND) !== 0 &&
    (!writes || (region.access & AccessFlag.LOCAL_WRITE) !== 0) &&
    isWithin(region, request.bindOffset, request.bindLength);
  return isAllowed ? SUCCESS : WINDOW_BIND_ERROR;
}
