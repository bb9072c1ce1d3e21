/** What a peer can do wrong on the level of MPA (RFC 5044 8), with what a Terminate message says of it. */

import { RiserError } from '../../../util/errors.js';

/**
 * Codes of MPA errors (RFC 5044 8, RFC 6581 8); a Terminate message names them with layer 2 (LLP) and error type 0
 * (MPA).
 */
export const MpaErrorCode = {
  /** The TCP connection is gone. */
  CLOSED: 1,
  CRC: 2,
  /** A marker and the ULPDU_Length fields before it do not agree on the start of an FPDU. */
  MARKER: 3,
  INVALID_STARTUP_FRAME: 4,
  LOCAL_CATASTROPHIC: 5,
  INSUFFICIENT_IRD: 6,
  NO_MATCHING_RTR: 7,
} as const;
export type MpaErrorCode = (typeof MpaErrorCode)[keyof typeof MpaErrorCode];

/** The peer broke MPA's rules, or cannot be had on terms that both sides can keep: this costs the connection. */
export class MpaError extends RiserError {
  readonly mpaCode: MpaErrorCode;

  /** `what`: completes "the peer ...". */
  constructor(code: string, mpaCode: MpaErrorCode, what: string, remedy?: string) {
    super(code, `the peer ${what}`, {
      by: 'peer',
      costs: 'connection',
      ...(remedy === undefined ? {} : { remedy }),
    });
    this.mpaCode = mpaCode;
  }
}

/** The caller asked for what MPA cannot do. */
export function misuse(what: string): RiserError {
  return new RiserError('MPA_MISUSE', what, { by: 'local', costs: 'connection' });
}
