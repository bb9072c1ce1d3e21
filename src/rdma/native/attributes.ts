/** What a device can do, as far as Riser and the connection manager go along. */

import type { DeviceAttributes } from '../verbs.js';
import type { NativeAttributes, NativePort } from './library.js';

/** Bytes that the addon takes; rdma_cm has 8 bits for the length. */
const MAX_PRIVATE_DATA_IWARP = 255;
/** A REQ has 92 bytes, of which rdma_cm takes 36. */
const MAX_PRIVATE_DATA = 56;
const MAX_SGES = 64;
/** Depths are 8 bits in rdma_cm. */
const MAX_DEPTH = 255;

export function attributesOf(native: NativeAttributes, port: NativePort): DeviceAttributes {
  const { isIwarp, hasInvalidate } = native;
  return {
    maxSendRequests: native.maxRequests,
    maxReceiveRequests: native.maxRequests,
    maxSges: Math.min(native.maxSges, MAX_SGES),
    // Some devices do not say.
    maxReadSges: Math.min(native.maxReadSges === 0 ? 1 : native.maxReadSges, native.maxSges, MAX_SGES),
    maxMessage: port.maxMessage,
    maxCompletions: native.maxCompletions,
    // libibverbs would read what is inline by an address that only the device checks.
    maxInlineData: 0,
    maxResponderResources: Math.min(native.maxResponderResources, MAX_DEPTH),
    maxInitiatorDepth: Math.min(native.maxInitiatorDepth, MAX_DEPTH),
    maxPrivateData: isIwarp ? MAX_PRIVATE_DATA_IWARP : MAX_PRIVATE_DATA,
    hasMemoryWindows: native.hasWindows && native.maxWindows > 0,
    hasSharedReceiveQueues: native.maxSharedReceiveQueues > 0,
    hasAtomics: native.hasAtomics,
    hasWriteWithImmediate: !isIwarp,
    hasSendWithImmediate: !isIwarp,
    hasSendWithInvalidate: hasInvalidate,
    hasRnrRetry: !isIwarp,
    readNeedsRemoteWrite: isIwarp,
  };
}
