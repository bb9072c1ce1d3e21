/**
 * The Startup Phase (RFC 5044 7.1, RFC 6581) has one state machine for each side: {@link MpaInitiator} in
 * initiator.ts, {@link MpaResponder} in responder.ts. Both take the peer's bytes by `handleBytes`, which says how many
 * of them were of the startup frame; what came of it is then in a property, null until it is there: `error`,
 * `result`, or the responder's `request`. This file has what both agree on.
 *
 * Neither has a clock: who uses them gives the whole exchange a time (RFC 5044 7.1.2, rule 10).
 */

import type { MpaRevision } from './frames.js';

/** What holds for the connection after the exchange of frames. */
export interface StartupResult {
  /** False: the responder's consumer refused; MPA is over, and the TCP connection is for the consumer to close. */
  isAccepted: boolean;
  revision: MpaRevision;
  /** CRCs are made and checked: one side at least asked for it. */
  crc: boolean;
  /** Markers go into what is sent: the peer requires them. */
  sendMarkers: boolean;
  /** What is received has markers. */
  receiveMarkers: boolean;
  /** RDMA Reads that the peer may have under way towards this side. `NOT_NEGOTIATED`: as the consumer says. */
  ird: number;
  /** RDMA Reads that this side may have under way. */
  ord: number;
  /** The depths in the peer's frame, for the consumer (RFC 6581 9.1); `NOT_NEGOTIATED` in an unenhanced one. */
  peerIrd: number;
  peerOrd: number;
  /** Of the peer's consumer. */
  privateData: Buffer;
}

export const NO_PRIVATE_DATA = new Uint8Array(0);
