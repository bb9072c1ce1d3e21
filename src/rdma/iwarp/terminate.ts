/** Why an RDMAP stream is terminated: layers, types and codes (RFC 5040 4.8, RFC 5041 7.2, RFC 5044 8). */

import { RiserError } from '../../util/errors.js';
import { CompletionStatus } from '../work.js';
import { MpaErrorCode } from './mpa/errors.js';

export const TerminateLayer = { RDMAP: 0, DDP: 1, MPA: 2 } as const;

/** A reason as Terminate messages carry it, and as it is called. */
export interface TerminateReason {
  readonly layer: number;
  readonly type: number;
  readonly code: number;
  readonly text: string;
}

const reason = (layer: number, type: number, code: number, text: string): TerminateReason => ({
  layer,
  type,
  code,
  text,
});
const { RDMAP, DDP, MPA } = TerminateLayer;

/** One list for what is sent and for what is understood. */
export const Terminate = {
  // RFC 5040 Figure 9
  LOCAL_CATASTROPHIC: reason(RDMAP, 0, 0, 'local catastrophic error'),
  READ_INVALID_STAG: reason(RDMAP, 1, 0x00, 'invalid STag'),
  READ_BOUNDS: reason(RDMAP, 1, 0x01, 'base or bounds violation'),
  ACCESS: reason(RDMAP, 1, 0x02, 'access rights violation'),
  READ_NOT_ASSOCIATED: reason(RDMAP, 1, 0x03, 'STag not associated with the stream'),
  READ_WRAP: reason(RDMAP, 1, 0x04, 'tagged offset wraps'),
  CANNOT_INVALIDATE: reason(RDMAP, 1, 0x09, 'STag cannot be invalidated'),
  PROTECTION: reason(RDMAP, 1, 0xff, 'remote protection error'),
  RDMAP_VERSION: reason(RDMAP, 2, 0x05, 'invalid RDMAP version'),
  UNEXPECTED_OPCODE: reason(RDMAP, 2, 0x06, 'unexpected opcode'),
  STREAM_CATASTROPHIC: reason(RDMAP, 2, 0x07, 'catastrophic error of the stream'),
  GLOBAL_CATASTROPHIC: reason(RDMAP, 2, 0x08, 'catastrophic error'),
  OPERATION_CANNOT_INVALIDATE: reason(RDMAP, 2, 0x09, 'STag cannot be invalidated'),
  OPERATION: reason(RDMAP, 2, 0xff, 'remote operation error'),
  // RFC 5041 7.2
  DDP_CATASTROPHIC: reason(DDP, 0, 0x00, 'local catastrophic error of DDP'),
  TAGGED_INVALID_STAG: reason(DDP, 1, 0x00, 'invalid STag'),
  TAGGED_BOUNDS: reason(DDP, 1, 0x01, 'base or bounds violation'),
  TAGGED_NOT_ASSOCIATED: reason(DDP, 1, 0x02, 'STag not associated with the stream'),
  TAGGED_WRAP: reason(DDP, 1, 0x03, 'tagged offset wraps'),
  TAGGED_VERSION: reason(DDP, 1, 0x04, 'invalid DDP version'),
  INVALID_QUEUE: reason(DDP, 2, 0x01, 'invalid queue number'),
  NO_BUFFER: reason(DDP, 2, 0x02, 'no buffer for this message'),
  INVALID_MSN: reason(DDP, 2, 0x03, 'message sequence number out of range'),
  INVALID_MO: reason(DDP, 2, 0x04, 'invalid message offset'),
  MESSAGE_TOO_LONG: reason(DDP, 2, 0x05, 'message too long for its buffer'),
  UNTAGGED_VERSION: reason(DDP, 2, 0x06, 'invalid DDP version'),
  // RFC 5044 8
  MPA_CONNECTION_LOST: reason(MPA, 0, MpaErrorCode.CLOSED, 'TCP connection closed or lost'),
  MPA_CRC: reason(MPA, 0, MpaErrorCode.CRC, 'CRC mismatch'),
  MPA_MARKER: reason(MPA, 0, MpaErrorCode.MARKER, 'marker and length disagree'),
  MPA_STARTUP: reason(MPA, 0, MpaErrorCode.INVALID_STARTUP_FRAME, 'invalid startup frame'),
  MPA_CATASTROPHIC: reason(MPA, 0, MpaErrorCode.LOCAL_CATASTROPHIC, 'local catastrophic error of MPA'),
  MPA_INSUFFICIENT_IRD: reason(
    MPA,
    0,
    MpaErrorCode.INSUFFICIENT_IRD,
    'more RDMA Reads are wanted than can be served',
  ),
  MPA_NO_MATCHING_RTR: reason(MPA, 0, MpaErrorCode.NO_MATCHING_RTR, 'no ready-to-receive message in common'),
} as const;

const BY_CODE = new Map(Object.values(Terminate).map((known) => [keyOf(known), known]));

function keyOf({ layer, type, code }: Omit<TerminateReason, 'text'>): number {
  return (layer << 16) | (type << 8) | code;
}

/** A reason that a peer gave, known or not. Linux' siw has layer and type the wrong way round on little-endian machines. */
export function reasonOf(layer: number, type: number, code: number): TerminateReason {
  return (
    BY_CODE.get(keyOf({ layer, type, code })) ??
    BY_CODE.get(keyOf({ layer: type, type: layer, code })) ??
    reason(layer, type, code, `error ${code} of type ${type} in layer ${layer}`)
  );
}

/** How the work ends that made the peer say so. */
export function statusOf({ layer, type, code }: TerminateReason): CompletionStatus {
  if (layer === RDMAP && type === 1) return CompletionStatus.REMOTE_ACCESS_ERROR;
  if (layer === RDMAP && type === 2) return CompletionStatus.REMOTE_OPERATION_ERROR;
  if (layer === DDP && type === 1)
    return code === Terminate.TAGGED_VERSION.code
      ? CompletionStatus.REMOTE_INVALID_REQUEST_ERROR
      : CompletionStatus.REMOTE_ACCESS_ERROR;
  if (layer === DDP && type === 2)
    return code === Terminate.NO_BUFFER.code
      ? CompletionStatus.RNR_RETRY_EXCEEDED_ERROR
      : CompletionStatus.REMOTE_INVALID_REQUEST_ERROR;
  return CompletionStatus.GENERAL_ERROR;
}

/** The error of this side's connection: the peer did something that earned `reason`. */
export function peerViolation({ text }: TerminateReason, what: string): RiserError {
  return new RiserError('RDMA_VIOLATION', `the peer sent ${what}: ${text}`, {
    by: 'peer',
    costs: 'connection',
  });
}

/** The error of this side's connection: the peer terminated it for `reason`. */
export function terminatedBy({ text }: TerminateReason): RiserError {
  return new RiserError('RDMA_TERMINATED', `the peer terminated the connection: ${text}`, {
    by: 'local',
    costs: 'connection',
  });
}
