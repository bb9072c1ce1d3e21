/**
 * One iSCSI connection, initiator's side: the login phase, then the full feature phase, and the end of both.
 * Sans-I/O: the owner gives it a Datamover, calls {@link InitiatorConnection.start}, and
 * {@link InitiatorConnection.tick} with the time.
 */

import type {
  ControlPdu,
  DatamoverEvents,
  DataTransfer,
  InitiatorDatamover,
} from '../../datamover/datamover.js';
import { RiserError } from '../../util/errors.js';
import {
  InitiatorLogin,
  type InitiatorLoginOptions,
  type InitiatorLoginResult,
  type LoginRequestPdu,
} from '../login/initiator-login.js';
import { InitiatorFullFeature, type InitiatorHost } from './full-feature.js';

/** Times of a connection, milliseconds. */
export interface InitiatorLimits {
  /** A login that takes longer is given up. */
  loginTimeoutMs: number;
  /** Silence after which the target is asked for a sign of life. */
  keepaliveIntervalMs: number;
  /** How long it may take to give one. */
  keepaliveTimeoutMs: number;
  /** How long an answer to any other request but a SCSI command may take. */
  answerTimeoutMs: number;
}

/** The owner of a connection. */
export interface InitiatorConnectionHost extends InitiatorHost {
  /** Tasks may be submitted from now on. */
  loggedIn(phase: InitiatorFullFeature, result: InitiatorLoginResult): void;
  /** The connection is gone, and its tasks are about to be told. A login that failed ends so too. Called once. */
  connectionClosed(reason: Error | null): void;
}

export class InitiatorConnection implements DatamoverEvents {
  fullFeature: InitiatorFullFeature | null = null;
  readonly #host: InitiatorConnectionHost;
  readonly #limits: InitiatorLimits;
  readonly #login: InitiatorLogin;
  #datamover!: InitiatorDatamover;
  #enterRdma: (() => void) | null = null;
  #result: InitiatorLoginResult | null = null;
  #deadline: number;
  /** When something was heard last, and when the ping that is under way was sent; of the clock of `tick`. */
  #heardAt = 0;
  #pingedAt: number | null = null;
  readonly #isDiscovery: boolean;
  readonly #leading: InitiatorFullFeature | null;
  #isClosed = false;

  /** `leading`: the connection whose session the login adds this one to; null for a new session. `now`: milliseconds on any clock that only goes forward; the same one as for `tick`. */
  constructor(
    host: InitiatorConnectionHost,
    login: InitiatorLoginOptions,
    limits: InitiatorLimits,
    now: number,
    leading: InitiatorFullFeature | null = null,
  ) {
    this.#leading = leading;
    this.#host = host;
    this.#limits = limits;
    this.#login = new InitiatorLogin(login);
    this.#isDiscovery = login.targetName === null;
    this.#deadline = now + limits.loginTimeoutMs;
  }

  /**
   * Begin the login.
   *
   * @param enterRdma over TCP: lets RDMA take over, now that the login is over; {@link enteredRdma} follows, or the end
   */
  start(datamover: InitiatorDatamover, enterRdma: (() => void) | null = null): void {
    this.#datamover = datamover;
    this.#enterRdma = enterRdma;
    this.#send(this.#login.start());
    datamover.flush();
  }

  /** Let time pass: ends logins and tasks that take too long, and connections whose target is dead. */
  tick(now: number): void {
    if (this.#isClosed) return;
    const phase = this.fullFeature;
    if (phase === null) {
      if (now >= this.#deadline)
        this.#drop('LOGIN_TIMEOUT', `the login is not over after ${this.#limits.loginTimeoutMs / 1000} s`);
      return;
    }
    phase.tick(now);
    phase.control.tick(now, this.#limits.answerTimeoutMs);
    // A discovery session is for text and logout only (RFC 7143 4.3).
    if (!this.#isDiscovery) this.#keepAlive(phase, now);
  }

  #keepAlive(phase: InitiatorFullFeature, now: number): void {
    const { keepaliveIntervalMs, keepaliveTimeoutMs } = this.#limits;
    if (phase.hasHeard || this.#heardAt === 0) {
      phase.hasHeard = false;
      this.#heardAt = now;
      this.#pingedAt = null;
    } else if (this.#pingedAt !== null) {
      if (now - this.#pingedAt >= keepaliveTimeoutMs)
        this.#drop('TARGET_SILENT', `the target has been silent for ${Math.round(now - this.#heardAt)} ms`);
    } else if (now - this.#heardAt >= keepaliveIntervalMs) {
      this.#pingedAt = now;
      phase.control.ping(Buffer.alloc(0), () => undefined);
    }
  }

  /** End the connection at once. */
  drop(error: Error | null): void {
    this.#datamover.deallocateConnectionResources(error);
  }

  // ---- DatamoverEvents ----

  controlNotify(pdu: ControlPdu): void {
    if (this.fullFeature !== null) this.fullFeature.controlNotify(pdu);
    else this.#loginResponse(pdu);
  }

  buffersReleased(transfer: DataTransfer): void {
    this.fullFeature!.buffersReleased(transfer);
  }

  connectionTerminateNotify(reason: Error | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#host.connectionClosed(reason);
    this.fullFeature?.terminated(reason);
  }

  #loginResponse(pdu: ControlPdu): void {
    const outcome = this.#login.handleResponse(pdu.header, pdu.data());
    if ('request' in outcome) this.#send(outcome.request);
    else if ('refused' in outcome) this.drop(outcome.refused);
    else {
      this.#result = outcome.result;
      if (outcome.result.parameters.rdmaExtensions && this.#enterRdma !== null) this.#enterRdma();
      else this.#beginFullFeature(outcome.result);
    }
  }

  /** RDMA has taken over, and the full feature phase begins. */
  enteredRdma(datamover: InitiatorDatamover): void {
    this.#datamover = datamover;
    this.#beginFullFeature(this.#result!);
    datamover.flush();
  }

  #beginFullFeature(result: InitiatorLoginResult): void {
    this.fullFeature = new InitiatorFullFeature(this.#datamover, result, this.#host, this.#leading);
    this.#host.loggedIn(this.fullFeature, result);
  }

  #send({ header, data }: LoginRequestPdu): void {
    this.#datamover.sendControl(header, data, data.length);
  }

  #drop(code: string, message: string): void {
    this.drop(new RiserError(code, message, { by: 'peer', costs: 'connection' }));
  }
}
