/** Sends Data-In and R2Ts again (RFC 7143 11.16), as they were but for the numbers of commands. */

import { DATA_IN_STATUS, FINAL } from '../../iscsi/wire/opcodes.js';
import { type DataInRun, dataInOffset } from '../data-in-run.js';
import type { TargetRetransmission, TargetTransfer } from '../datamover.js';
import type { PduWriter } from './pdu-writer.js';
import type { R2TTable } from './r2t-table.js';

export class Retransmission implements TargetRetransmission {
  readonly #writer: PduWriter;
  readonly #r2ts: R2TTable;

  constructor(writer: PduWriter, r2ts: R2TTable) {
    this.#writer = writer;
    this.#r2ts = r2ts;
  }

  resendData(run: DataInRun, from: number, end: number): void {
    const { transfer, length, segment, burst, firstOffset, collapsed } = run;
    for (let dataSN = from; dataSN < end; dataSN++) {
      const offset = dataInOffset(run, dataSN);
      const next = Math.min(length, dataInOffset(run, dataSN + 1));
      const isLast = next === length;
      const isBurstEnd = (next - firstOffset) % burst === 0;
      const owner = dataSN + 1 === end ? transfer : null;
      const { statSN, status, residualFlags, residual } = (isLast ? collapsed : null) ?? NO_STATUS;
      const statusFlags = isLast && collapsed !== null ? DATA_IN_STATUS | residualFlags : 0;
      const flags = statusFlags | (isLast || isBurstEnd ? FINAL : 0);
      const part = Math.min(next - offset, segment);
      this.#writer.sendDataIn(transfer, offset, part, flags, dataSN, owner, status, statSN, residual);
    }
  }

  resendR2Ts(transfer: TargetTransfer, from: number, end: number): number {
    const again = this.#r2ts.of(transfer).filter(({ number }) => number >= from && number < end);
    for (const r2t of again) this.#writer.resendR2T(r2t, transfer);
    return again.length;
  }
}

const NO_STATUS = { statSN: 0, status: 0, residualFlags: 0, residual: 0 };
