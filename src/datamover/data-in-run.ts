/** Data-In as it was sent, so that any PDU of it can be made again (RFC 7143 11.16). */

import type { TargetTransfer } from './datamover.js';

/**
 * What was sent as Data-In, for sending it again: how it was cut. PDU number `firstSN` began at byte `firstOffset`, and PDUs of
 * at most `segment` bytes made bursts of `burst`, up to byte `length`.
 */
export interface DataInRun {
  readonly transfer: TargetTransfer;
  readonly length: number;
  readonly firstSN: number;
  readonly firstOffset: number;
  readonly segment: number;
  readonly burst: number;
  /** What the last PDU carries besides; null when it carries no status. */
  readonly collapsed: CollapsedStatus | null;
}

/** The status in the last Data-In (RFC 7143 11.7.3). */
export interface CollapsedStatus {
  readonly statSN: number;
  readonly status: number;
  readonly residualFlags: number;
  readonly residual: number;
}

/** Where Data-In number `dataSN` of `run` begins: no PDU reaches over the end of a burst. */
export function dataInOffset(run: DataInRun, dataSN: number): number {
  const { segment, burst, firstSN, firstOffset } = run;
  const inBurst = Math.ceil(burst / segment);
  const index = dataSN - firstSN;
  return firstOffset + Math.floor(index / inBurst) * burst + (index % inBurst) * segment;
}

/** The number behind that of the last Data-In of `run`. */
export function dataInEnd(run: DataInRun): number {
  const { length, segment, burst, firstSN, firstOffset } = run;
  const left = length - firstOffset;
  const whole = Math.floor(left / burst);
  return firstSN + whole * Math.ceil(burst / segment) + Math.ceil((left - whole * burst) / segment);
}
