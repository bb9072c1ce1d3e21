/** In what order responses are taken (RFC 7143 4.2.2.2): each StatSN once, and from ErrorRecoveryLevel 1 on what is missing is asked for. */

import type { ControlPdu } from '../../datamover/datamover.js';
import { serialAdd } from '../../util/serial.js';
import { dumpHeader, ScsiResponse } from '../wire/headers.js';
import { StatusRecovery } from './status-recovery.js';

/** The connection's part. */
export interface ResponseOrderHost {
  /** The target broke a rule after which the connection cannot go on. */
  violation(code: string, what: string): void;
  /** Whether this is a SCSI Response that came before all of the data, which is asked for. */
  lacksData(header: Buffer): boolean;
  /** Ask for the responses with numbers `begin` to `begin + length - 1`. */
  requestStatus(begin: number, length: number): void;
  flush(): void;
}

export class ResponseOrder {
  /** All responses below have been taken. */
  expStatSN: number;
  readonly #host: ResponseOrderHost;
  /** Null at ErrorRecoveryLevel 0. */
  readonly #recovery: StatusRecovery | null;

  constructor(expStatSN: number, errorRecoveryLevel: number, host: ResponseOrderHost) {
    this.expStatSN = expStatSN;
    this.#host = host;
    this.#recovery =
      errorRecoveryLevel > 0
        ? new StatusRecovery(expStatSN, (begin, length) => {
            host.requestStatus(begin, length);
          })
        : null;
  }

  /** Whether what is missing can be had again. */
  get isRecoverable(): boolean {
    return this.#recovery !== null;
  }

  /** Whether a response is to be handled. `isPing`: it shows the next StatSN without taking it (RFC 7143 11.19.1). */
  take(pdu: ControlPdu, isPing: boolean): boolean {
    const statSN = ScsiResponse.statSN.get(pdu.header);
    if (this.#recovery !== null) return this.#takeOrRecover(this.#recovery, pdu, statSN, isPing);
    if (!isPing) {
      if (statSN !== this.expStatSN) return this.#refuse(pdu, statSN);
      this.expStatSN = serialAdd(statSN, 1);
    }
    if (pdu.dataDigestFailed) {
      // Its status is lost; without recovery within a connection there is no way to get it again (RFC 7143 7.8).
      this.#host.violation('DATA_DIGEST', `a data digest that does not match: ${dumpHeader(pdu.header)}`);
    }
    return !pdu.dataDigestFailed;
  }

  /** RFC 7143 7.8, 7.9 */
  #takeOrRecover(recovery: StatusRecovery, pdu: ControlPdu, statSN: number, isPing: boolean): boolean {
    if (!recovery.isPlausible(statSN)) return this.#refuse(pdu, statSN);
    if (isPing) {
      if (!pdu.dataDigestFailed) recovery.reveal(statSN);
      return !pdu.dataDigestFailed;
    }
    if (recovery.isRepetition(statSN)) return false;
    if (pdu.dataDigestFailed || this.#host.lacksData(pdu.header)) {
      recovery.miss(statSN);
      this.#host.flush();
      return false;
    }
    recovery.take(statSN);
    this.expStatSN = recovery.expStatSN;
    return true;
  }

  #refuse(pdu: ControlPdu, statSN: number): false {
    const what = `StatSN ${statSN} instead of ${this.expStatSN}: ${dumpHeader(pdu.header)}`;
    this.#host.violation('STATSN', what);
    return false;
  }

  /** A response with this number was dropped by the Datamover, as data before it is missing. */
  deferred(statSN: number): void {
    this.#recovery?.hearOf(statSN);
  }
}
