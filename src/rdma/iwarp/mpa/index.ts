/** MPA, RFC 5044 and RFC 6581: an RDMA connection's startup on a byte stream, and the framing of what follows. */

export { MpaError, MpaErrorCode } from './errors.js';
export { type FpduOptions, MAX_ULPDU, mulpduFor } from './fpdu.js';
export {
  FpduReader,
  type FpduSource,
  PLACEMENT_PREFIX,
  type UlpduHandler,
  type UlpduPlacement,
} from './fpdu-reader.js';
export { FpduWriter } from './fpdu-writer.js';
export { type MpaRevision, NOT_NEGOTIATED, RTR_KINDS, type RtrKind } from './frames.js';
export { type InitiatorOptions, type InitiatorResult, MpaInitiator } from './initiator.js';
export {
  type AcceptOptions,
  type Answer,
  type MpaRequest,
  MpaResponder,
  type RejectOptions,
  type ResponderResult,
} from './responder.js';
export type { StartupResult } from './startup.js';
