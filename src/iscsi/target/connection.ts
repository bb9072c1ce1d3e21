/**
 * One iSCSI connection, target's side: the login phase, then the full feature phase, and the end of
 * both. Sans-I/O: the owner gives it a Datamover and calls {@link TargetConnection.tick} with the time.
 */

import type {
  ControlPdu,
  DataError,
  TargetDatamover,
  TargetDatamoverEvents,
  TargetTransfer,
} from '../../datamover/datamover.js';
import { RiserError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import type { Authenticator, LoginPolicy } from '../login/policy.js';
import { type LoginResult, TargetLogin } from '../login/target-login.js';
import { Bhs, dumpHeader } from '../wire/headers.js';
import { Opcode, OPCODE_MASK } from '../wire/opcodes.js';
import { FullFeature, type FullFeatureHost } from './full-feature.js';
import { Keepalive, type KeepaliveLimits } from './keepalive.js';

export interface ConnectionLimits extends KeepaliveLimits {
  /** A login that takes longer is dropped, milliseconds. */
  loginTimeoutMs: number;
  /** Commands that a session may have active at a time. */
  commandWindow: number;
}

/** The layer above: it knows targets, sessions and what a command does. */
export interface ConnectionHost extends LoginPolicy {
  readonly authenticator: Authenticator | null;
  readonly limits: ConnectionLimits;
  readonly log: Logger;
  /** The login is through. Ends the session that this one reinstates, and tells what serves the new one. */
  sessionOpened(connection: TargetConnection, login: LoginResult): FullFeatureHost;
  /** The connection is gone. `error` is null when it ended by agreement. Called once for every connection. */
  connectionClosed(connection: TargetConnection, error: Error | null): void;
}

export class TargetConnection implements TargetDatamoverEvents {
  /** `address:port` of the initiator. */
  readonly remote: string;
  /** Null during login. */
  fullFeature: FullFeature | null = null;
  /** Null during login. */
  login: LoginResult | null = null;
  isClosed = false;
  readonly #host: ConnectionHost;
  readonly #openedAt: number;
  readonly #closeEarly: (error: Error | null) => void;
  /** Null until it is known what the initiator speaks. */
  #datamover: TargetDatamover | null = null;
  #enterRdma: (() => void) | null = null;
  readonly #initiatorAddress: string;
  #login: TargetLogin | null = null;
  #keepalive: Keepalive | null = null;

  /**
   * `now`: milliseconds on any clock that only goes forward; the same one as for `tick`. `closeEarly`: ends a connection that has no
   * Datamover yet, which {@link connectionTerminateNotify} is told of.
   */
  constructor(
    host: ConnectionHost,
    remote: string,
    initiatorAddress: string,
    now: number,
    closeEarly: (error: Error | null) => void,
  ) {
    this.#host = host;
    this.#closeEarly = closeEarly;
    this.remote = remote;
    this.#openedAt = now;
    this.#initiatorAddress = initiatorAddress;
  }

  /**
   * Must be called before the first input.
   *
   * @param enterRdma over TCP: lets RDMA take over, now that the login is over; {@link enteredRdma} follows, or the end. Null when
   *   that cannot be.
   */
  attach(datamover: TargetDatamover, enterRdma: (() => void) | null = null): void {
    const host = this.#host;
    this.#datamover = datamover;
    this.#enterRdma = enterRdma;
    this.#login = new TargetLogin({
      policy: host,
      authenticator: host.authenticator,
      initiatorAddress: this.#initiatorAddress,
      initialStatSN: 1,
      commandWindow: this.#commandWindow,
      isRdma: datamover.kind === 'iser',
      mayEnterRdma: enterRdma !== null,
    });
  }

  /** RDMA has taken over, and the full feature phase begins. */
  enteredRdma(datamover: TargetDatamover): void {
    this.#datamover = datamover;
    this.#beginFullFeature(this.login!);
  }

  /** How its commands and data travel. */
  get transport(): TargetDatamover['kind'] {
    return this.#datamover!.kind;
  }

  /** The RDMA device that it is on; null over TCP. */
  get device(): string | null {
    return this.#datamover!.device;
  }

  /** Let time pass: ends a login that takes too long and a session whose peer is dead. */
  tick(now: number): void {
    if (this.isClosed) return;
    if (this.fullFeature !== null) {
      this.#keepalive ??= new Keepalive(this.fullFeature, this.#host.limits, now);
      this.#keepalive.tick(now);
      this.fullFeature.tick();
    } else if (now - this.#openedAt >= this.#host.limits.loginTimeoutMs) {
      this.drop(
        new RiserError('LOGIN_TIMEOUT', `no login within ${this.#host.limits.loginTimeoutMs / 1000} s`, {
          by: 'peer',
          costs: 'connection',
        }),
      );
    }
  }

  /** End the connection at once. */
  drop(error: Error | null): void {
    if (this.#datamover === null) this.#closeEarly(error);
    else this.#datamover.deallocateConnectionResources(error);
  }

  // ---- TargetDatamoverEvents ----

  controlNotify(pdu: ControlPdu): void {
    if (this.fullFeature !== null) this.fullFeature.controlNotify(pdu);
    else this.#loginRequest(pdu);
  }

  dataCompletionNotify(transfer: TargetTransfer): void {
    this.fullFeature!.dataCompletionNotify(transfer);
  }

  dataErrorNotify(transfer: TargetTransfer, error: DataError, header: Buffer): void {
    this.fullFeature!.dataErrorNotify(transfer, error, header);
  }

  buffersReleased(transfer: TargetTransfer): void {
    this.fullFeature!.buffersReleased(transfer);
  }

  connectionTerminateNotify(reason: Error | null): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#host.connectionClosed(this, reason);
    this.fullFeature?.connectionTerminateNotify();
  }

  get #commandWindow(): number {
    return Math.min(this.#host.limits.commandWindow, this.#datamover!.commandLimit);
  }

  #loginRequest(pdu: ControlPdu): void {
    const header = pdu.header;
    // What else an initiator may have sent behind a login that failed is of no interest.
    if (this.#login === null) return;
    const outcome = this.#login.handleRequest(header, pdu.data());
    if (outcome.response !== null) {
      const { header: response, data } = outcome.response;
      this.#datamover!.sendControl(response, data, data.length);
    }
    if (outcome.close) {
      this.#login = null;
      this.#host.log.warn(`${this.remote}: login refused: ${outcome.reason}`);
      if (outcome.response === null) {
        const isLogin = (Bhs.opcode.get(header) & OPCODE_MASK) === Opcode.LOGIN_REQUEST;
        if (!isLogin)
          this.#host.log.debug(`${this.remote}: instead of a Login Request came ${dumpHeader(header)}`);
        this.drop(null);
      } else {
        this.#datamover!.connectionTerminate();
      }
    } else if (outcome.result !== null) {
      this.#login = null;
      this.login = outcome.result;
      if (outcome.result.parameters.rdmaExtensions && this.transport === 'tcp') this.#enterRdma!();
      else this.#beginFullFeature(outcome.result);
    }
  }

  #beginFullFeature(login: LoginResult): void {
    const host = this.#host.sessionOpened(this, login);
    this.fullFeature = new FullFeature({
      datamover: this.#datamover!,
      host,
      parameters: login.parameters,
      isDiscovery: login.identity.sessionType === 'Discovery',
      connectionId: login.identity.cid,
      expCmdSN: login.expCmdSN,
      statSN: login.statSN,
      commandWindow: this.#commandWindow,
    });
  }
}
