/** The initiator's part of the Startup Phase: it sends the MPA Request and judges the Reply. */

import { misuse, MpaError, MpaErrorCode } from './errors.js';
import {
  encodeFrame,
  type EnhancedData,
  FrameReader,
  type MpaRevision,
  NOT_NEGOTIATED,
  type RtrKind,
} from './frames.js';
import { NO_PRIVATE_DATA, type StartupResult } from './startup.js';

export interface InitiatorOptions {
  /** 2: enhanced, with depths and the model of the connection. 1 where the peer knows nothing else. */
  revision: MpaRevision;
  /** Ask for CRCs. */
  crc: boolean;
  /** Require markers in what the peer sends. */
  markers: boolean;
  /** At most 512 bytes; 508 in revision 2. */
  privateData?: Uint8Array;
  /** RDMA Reads that the peer may have under way, and that this side wants to; or `NOT_NEGOTIATED`. */
  ird: number;
  ord: number;
  /** What `ird` may be raised to where the responder wants more. Default: `ird`. */
  maxIrd?: number;
  /** Revision 2: the RTR indications that this side can send, best first. Null: the client-server model. */
  peerToPeer: readonly RtrKind[] | null;
}

export interface InitiatorResult extends StartupResult {
  /** What has to be sent first, before all else; null: whatever comes first. */
  rtr: RtrKind | null;
  /**
   * The connection stands, but has to be ended at once by a Terminate message with this error's code (RFC 6581 9.1,
   * 9.2).
   */
  terminate: MpaError | null;
}

export class MpaInitiator {
  /** The first bytes to send. */
  readonly request: Buffer;
  /** What the responder answered. */
  result: InitiatorResult | null = null;
  /** The reply was none: close the connection (RFC 5044 7.1.2, rule 3). */
  error: MpaError | null = null;
  readonly #options: InitiatorOptions;
  readonly #reader = new FrameReader('reply');

  /** @throws RiserError `MPA_MISUSE`: the options do not fit a request */
  constructor(options: InitiatorOptions) {
    const { revision, crc, markers, privateData = NO_PRIVATE_DATA, ird, ord, peerToPeer } = options;
    if (peerToPeer !== null && (revision === 1 || peerToPeer.length === 0)) {
      throw misuse('the peer-to-peer model takes MPA revision 2, and an RTR indication at least');
    }
    this.#options = options;
    this.request = encodeFrame('request', {
      revision,
      markers,
      crc,
      isRejected: false,
      enhanced: revision === 1 ? null : { ird, ord, peerToPeer },
      privateData,
    });
  }

  /** Bytes from the peer. Returns how many were of the reply; `result` or `error` is set once it is whole. */
  handleBytes(bytes: Uint8Array): number {
    const taken = this.#reader.handleBytes(bytes);
    this.error = this.#reader.error;
    if (this.#reader.frame !== null && this.result === null) this.#handleReply();
    return taken;
  }

  #handleReply(): void {
    const options = this.#options;
    const { revision, enhanced, isRejected, crc, markers, privateData } = this.#reader.frame!;
    if (options.revision === 2 && (revision !== 2 || enhanced === null)) {
      // A responder that knows enhanced frames MUST answer with one, others close (RFC 6581 10).
      this.error = new MpaError(
        'MPA_NOT_ENHANCED',
        MpaErrorCode.INVALID_STARTUP_FRAME,
        'answered an enhanced MPA Request with an unenhanced Reply',
        'Connect with MPA revision 1.',
      );
      return;
    }
    if (revision !== options.revision) {
      // Unenhanced requests MUST have unenhanced responses (RFC 6581 10).
      const what = `answered an MPA Request of revision ${options.revision} by revision ${revision}`;
      this.error = new MpaError('MPA_REVISION', MpaErrorCode.INVALID_STARTUP_FRAME, what);
      return;
    }
    const result: InitiatorResult = {
      isAccepted: !isRejected,
      revision,
      crc: crc || options.crc,
      sendMarkers: markers,
      receiveMarkers: options.markers,
      ird: options.ird,
      ord: options.ord,
      peerIrd: enhanced?.ird ?? NOT_NEGOTIATED,
      peerOrd: enhanced?.ord ?? NOT_NEGOTIATED,
      privateData,
      rtr: null,
      terminate: null,
    };
    if (enhanced !== null && !isRejected) this.#settle(result, enhanced);
    this.result = result;
  }

  /** Depths (RFC 6581 9.1), then the RTR indication (9.2). */
  #settle(result: InitiatorResult, { ird: peerIrd, ord: peerOrd, peerToPeer }: EnhancedData): void {
    const { ird, ord, maxIrd = ird, peerToPeer: offered } = this.#options;
    // Its ORD at most the responder's IRD; unchanged if that is 0x3fff, which is no less than any.
    if (ord !== NOT_NEGOTIATED) result.ord = Math.min(ord, peerIrd);
    // Its IRD at least the responder's ORD, or the connection has to end.
    if (ird !== NOT_NEGOTIATED && peerOrd !== NOT_NEGOTIATED && peerOrd > ird) {
      if (peerOrd > maxIrd) {
        result.terminate = new MpaError(
          'MPA_INSUFFICIENT_IRD',
          MpaErrorCode.INSUFFICIENT_IRD,
          `wants ${peerOrd} RDMA Reads under way, and ${maxIrd} are possible here`,
        );
        return;
      }
      result.ird = peerOrd;
    }
    if (offered === null && peerToPeer === null) return;
    const common = (offered ?? []).filter((kind) => peerToPeer?.includes(kind));
    // An RDMA Read, even an empty one, takes a place in the responder's queue.
    result.rtr = common.find((kind) => kind !== 'read' || result.ord > 0) ?? null;
    if (result.rtr !== null) return;
    result.terminate = new MpaError(
      'MPA_NO_MATCHING_RTR',
      MpaErrorCode.NO_MATCHING_RTR,
      offered === null
        ? 'wants the peer-to-peer model, which was not asked for'
        : `takes none of the RTR indications offered (${offered.join(', ')})`,
    );
  }
}
