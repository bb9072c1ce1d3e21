/** The responder's part of the Startup Phase: it judges the MPA Request; its consumer decides on the Reply. */

import { misuse, type MpaError } from './errors.js';
import {
  encodeFrame,
  type EnhancedData,
  FrameReader,
  type MpaRevision,
  NOT_NEGOTIATED,
  RTR_KINDS,
  type RtrKind,
} from './frames.js';
import { NO_PRIVATE_DATA, type StartupResult } from './startup.js';

/** What the initiator asks for. */
export interface MpaRequest {
  revision: MpaRevision;
  /** Of the initiator's consumer. */
  privateData: Buffer;
  /** RDMA Reads that the initiator can serve, and wants to have under way; `NOT_NEGOTIATED` in an unenhanced request. */
  ird: number;
  ord: number;
  /** RTR indications that it can send. Null: the client-server model. */
  peerToPeer: readonly RtrKind[] | null;
}

export interface AcceptOptions {
  /** At most 512 bytes; 508 if the request is enhanced. */
  privateData?: Uint8Array;
  /** RDMA Reads that the peer may have under way, and that this side wants to; or `NOT_NEGOTIATED`. */
  ird: number;
  ord: number;
  /** Ask for CRCs; they are used, too, if the initiator asked. */
  crc: boolean;
  /** Require markers in what the peer sends. */
  markers: boolean;
  /** RTR indications that this side can take. Default: all. At least one. */
  rtr?: readonly RtrKind[];
}

export interface RejectOptions {
  privateData?: Uint8Array;
  /** Depths with which the connection would be acceptable (RFC 6581 9.1). Default: `NOT_NEGOTIATED`. */
  ird?: number;
  ord?: number;
}

export interface ResponderResult extends StartupResult {
  /** The initiator's first message is one of these, not its consumer's. Null: it is its consumer's. */
  rtr: readonly RtrKind[] | null;
  /**
   * Nothing may be sent before one FPDU has been received and is valid (RFC 5044 7.1.2, rule 4): so it is on every
   * connection that was accepted, and an RTR indication counts.
   */
  mustWaitForFirstFpdu: boolean;
}

/** What the consumer's decision leads to: bytes to send, and what holds behind them. */
export interface Answer {
  reply: Buffer;
  result: ResponderResult;
}

export class MpaResponder {
  /** What the initiator asks for: accept or reject it. */
  request: MpaRequest | null = null;
  /** The request was none: close the connection (RFC 5044 7.1.2, rule 2). */
  error: MpaError | null = null;
  readonly #reader = new FrameReader('request');

  /**
   * Bytes from the peer. Returns how many were of the request; `request` or `error` is set once it is whole. An initiator
   * sends nothing behind it before it has the reply.
   */
  handleBytes(bytes: Uint8Array): number {
    const taken = this.#reader.handleBytes(bytes);
    this.error = this.#reader.error;
    const frame = this.#reader.frame;
    if (frame !== null && this.request === null) {
      const { revision, privateData, enhanced } = frame;
      this.request = {
        revision,
        privateData,
        ird: enhanced?.ird ?? NOT_NEGOTIATED,
        ord: enhanced?.ord ?? NOT_NEGOTIATED,
        peerToPeer: enhanced?.peerToPeer ?? null,
      };
    }
    return taken;
  }

  /** @throws RiserError `MPA_MISUSE`: there is no request, or the options do not fit a reply */
  accept(options: AcceptOptions): Answer {
    const { privateData = NO_PRIVATE_DATA, crc, markers } = options;
    const request = this.#requireRequest();
    const rtr = commonRtr(request.peerToPeer, options);
    const ord = request.ird === NOT_NEGOTIATED ? options.ord : atMost(options.ord, request.ird);
    return this.#answer(false, { crc, markers, privateData, ird: options.ird, ord, rtr });
  }

  /** The TCP connection stays, for the consumer to close (RFC 5044 7.1.2, rule 2). */
  reject({
    privateData = NO_PRIVATE_DATA,
    ird = NOT_NEGOTIATED,
    ord = NOT_NEGOTIATED,
  }: RejectOptions = {}): Answer {
    const { peerToPeer } = this.#requireRequest();
    // Control Flag A is the request's (RFC 6581 9.2).
    const rtr = peerToPeer === null ? null : RTR_KINDS;
    return this.#answer(true, { crc: false, markers: false, privateData, ird, ord, rtr });
  }

  #requireRequest(): MpaRequest {
    if (this.request === null) throw misuse('there is no MPA Request to answer yet');
    return this.request;
  }

  #answer(
    isRejected: boolean,
    own: Required<Omit<AcceptOptions, 'rtr'>> & { rtr: readonly RtrKind[] | null },
  ): Answer {
    const { revision, markers, crc, enhanced, privateData } = this.#reader.frame!;
    const useCrc = own.crc || crc;
    const reply = encodeFrame('reply', {
      // An enhanced request MUST be answered by an enhanced reply, others by an unenhanced one (RFC 6581 10).
      revision,
      markers: own.markers,
      // What holds: peers that insist on CRCs look for the bit here.
      crc: useCrc,
      isRejected,
      enhanced: enhanced === null ? null : replyData(enhanced, own),
      privateData: own.privateData,
    });
    const result: ResponderResult = {
      isAccepted: !isRejected,
      revision,
      crc: useCrc,
      sendMarkers: markers,
      receiveMarkers: own.markers,
      ird: own.ird,
      ord: own.ord,
      peerIrd: enhanced?.ird ?? NOT_NEGOTIATED,
      peerOrd: enhanced?.ord ?? NOT_NEGOTIATED,
      privateData,
      rtr: isRejected ? null : own.rtr,
      mustWaitForFirstFpdu: !isRejected,
    };
    return { reply, result };
  }
}

/** What is not negotiated for the initiator is not in the reply either (RFC 6581 9.1). */
function replyData(
  request: EnhancedData,
  own: { ird: number; ord: number; rtr: readonly RtrKind[] | null },
): EnhancedData {
  return {
    ird: request.ord === NOT_NEGOTIATED ? NOT_NEGOTIATED : own.ird,
    ord: request.ird === NOT_NEGOTIATED ? NOT_NEGOTIATED : own.ord,
    peerToPeer: own.rtr,
  };
}

function atMost(depth: number, limit: number): number {
  return depth === NOT_NEGOTIATED ? depth : Math.min(depth, limit);
}

/**
 * The RTR indications that both sides can; if there is none, this side's, whereupon the initiator ends the connection
 * (RFC 6581 9.2). Null: the client-server model.
 */
function commonRtr(
  requested: readonly RtrKind[] | null,
  { ird, rtr = RTR_KINDS }: AcceptOptions,
): readonly RtrKind[] | null {
  if (requested === null) return null;
  if (rtr.length === 0) throw misuse('a responder takes one RTR indication at least');
  const common = rtr.filter((kind) => requested.includes(kind) && (kind !== 'read' || ird > 0));
  return common.length > 0 ? common : rtr;
}
