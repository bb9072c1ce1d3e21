/**
 * The way of a session to a connection: dial the portal, follow redirections, negotiate, and have it looked at
 * before tasks may go by it.
 */

import { randomBytes } from 'node:crypto';
import type { InitiatorDatamover } from '../datamover/index.js';
import {
  type AsyncNotice,
  formatPortal,
  InitiatorConnection,
  type InitiatorFullFeature,
  type InitiatorLoginResult,
  INITIATOR_OFFER,
  ISER_INITIATOR_OFFER,
  LoginRefused,
  LoginStatus,
  type Offer,
} from '../iscsi/index.js';
import { RiserError } from '../util/errors.js';
import { type Logger, silentLogger } from '../util/logger.js';
import { ConnectionPath } from './connection-path.js';
import { openDatamover, openStreamingMode } from './dial.js';
import { parseTargetAddress } from './discovery.js';
import type { SessionLimits, SessionOptions } from './session-options.js';
import type { TaskPath } from './task.js';
import type { PortalAddress } from './url.js';

/** Redirections that are followed in a row. */
const REDIRECTIONS = 5;
/** How long RDMA may take to come about where TCP is as good, milliseconds: an iSCSI target may wait for more of a PDU. */
const AUTO_TIMEOUT_MS = 3000;
/** How often a connection is told the time, milliseconds. */
const TICK_MS = 500;

/** A connection in its full feature phase. */
export interface LoggedIn {
  readonly connection: InitiatorConnection;
  readonly phase: InitiatorFullFeature;
  readonly login: InitiatorLoginResult;
  /** Connection identifier in its session. */
  readonly cid: number;
  /** Where it leads; after a redirection not where it was told to. */
  readonly portal: PortalAddress;
  /** Why it is not over RDMA although that was tried; null where it was not, or is. */
  readonly whyNotIser: string | null;
}

type Negotiated = Pick<LoggedIn, 'connection' | 'phase' | 'login'>;

/** The session, which hears of every connection of its own from the login to the end. */
export interface LoginOwner {
  /** Nothing goes by this connection yet; rejects when nothing must. */
  recheck(path: TaskPath): Promise<void>;
  noticed(connection: InitiatorConnection, notice: AsyncNotice): void;
  /** Time has passed; `now` is of the clock `performance`. */
  ticked(connection: InitiatorConnection, now: number): void;
  /** The connection is gone; a login that was under way has failed. */
  closed(connection: InitiatorConnection, reason: Error | null): void;
}

export class SessionLogin {
  readonly #options: SessionOptions;
  readonly #limits: SessionLimits;
  readonly #owner: LoginOwner;
  readonly #log: Logger;
  /** Where logins begin: what it was told, or where the target has permanently moved to. */
  #portal: PortalAddress;
  /** The same for all connections: a login with it reinstates the session (RFC 7143 6.3.5). */
  readonly #isid: Buffer;

  constructor(options: SessionOptions, limits: SessionLimits, owner: LoginOwner) {
    this.#options = options;
    this.#portal = options.portal;
    this.#limits = limits;
    this.#owner = owner;
    this.#log = options.log ?? silentLogger;
    this.#isid = options.isid ?? randomIsid();
  }

  /**
   * One attempt, redirections followed.
   *
   * @throws RiserError `CONNECT`, `LOGIN_REFUSED`, `AUTHENTICATION`, `LOGIN_TIMEOUT`, `LOGIN_PROTOCOL`,
   * `LOGIN_CLOSED`, `REDIRECTED`, `TARGET_ADDRESS`; what {@link LoginOwner.recheck} rejects with; the signal's reason when it
   * is aborted
   */
  async logIn(signal: AbortSignal | null): Promise<LoggedIn> {
    let portal = this.#portal;
    let isPermanent = true;
    const way = [formatPortal(portal.host, portal.port)];
    // Should it not get in there, it begins anew where it was told to.
    this.#portal = this.#options.portal;
    for (;;) {
      try {
        const found = await this.#logInAt(portal, signal);
        if (isPermanent) this.#portal = portal;
        return found;
      } catch (error) {
        const redirect = error instanceof LoginRefused && isMoved(error) ? error.redirect : null;
        if (redirect === null) throw error;
        portal = parseTargetAddress(redirect);
        isPermanent &&= (error as LoginRefused).status === LoginStatus.TARGET_MOVED_PERMANENTLY;
        const next = formatPortal(portal.host, portal.port);
        const isCircle = way.includes(next);
        way.push(next);
        if (isCircle || way.length > REDIRECTIONS + 1) throw redirected(isCircle, way, error);
        this.#log.info(`the target is redirected to ${next}`);
      }
    }
  }

  async #logInAt(portal: PortalAddress, signal: AbortSignal | null): Promise<LoggedIn> {
    const { transport = 'tcp' } = this.#options;
    const { found, whyNotIser } =
      transport === 'auto'
        ? await this.#negotiateBest(portal, signal)
        : { found: await this.#negotiate(portal, transport, signal), whyNotIser: null };
    await this.#recheck(found, signal);
    const { headerDigest, dataDigest } = this.#options;
    if (found.phase.datamover.kind === 'iser' && (headerDigest === true || dataDigest === true))
      this.#log.warn('digests were asked for, and have no effect: over iSER there are none (RFC 7145 6.1)');
    return { ...found, cid: 0, portal, whyNotIser };
  }

  /** Over RDMA if that can be, else over TCP. A target that was reached has the last word: over TCP it would say the same. */
  async #negotiateBest(
    portal: PortalAddress,
    signal: AbortSignal | null,
  ): Promise<{ found: Negotiated; whyNotIser: string | null }> {
    try {
      return { found: await this.#negotiate(portal, 'iser', signal, AUTO_TIMEOUT_MS), whyNotIser: null };
    } catch (error) {
      signal?.throwIfAborted();
      const isAnswer = error instanceof LoginRefused && error.code !== 'LOGIN_PROTOCOL';
      if (isAnswer || !(error instanceof RiserError)) throw error;
      const found = await this.#negotiate(portal, 'tcp', signal);
      this.#log.info(`over TCP, as iSER was not to be had: ${error.message}`);
      return { found, whyNotIser: error.message };
    }
  }

  /**
   * One more connection of the session of `leading`.
   *
   * @throws RiserError as {@link logIn} does, but for what redirections and rechecks reject with
   */
  async join(leading: LoggedIn, cid: number, signal: AbortSignal | null): Promise<LoggedIn> {
    const found = await this.#negotiate(leading.portal, 'tcp', signal, this.#limits.connectTimeoutMs, {
      leading,
      cid,
    });
    return { ...found, cid, portal: leading.portal, whyNotIser: null };
  }

  async #recheck({ connection, phase }: Negotiated, signal: AbortSignal | null): Promise<void> {
    const path = new ConnectionPath(phase);
    const onAbort = (): void => {
      path.end(givenUp(signal!.reason));
      connection.drop(null);
    };
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await this.#owner.recheck(path);
      signal?.throwIfAborted();
    } catch (error) {
      connection.drop(null);
      throw signal?.aborted === true ? signal.reason : error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  #negotiate(
    portal: PortalAddress,
    transport: 'tcp' | 'iser',
    signal: AbortSignal | null,
    timeoutMs = this.#limits.connectTimeoutMs,
    joins: { leading: LoggedIn; cid: number } | null = null,
  ): Promise<Negotiated> {
    const { initiatorName, targetName, authentication = null, headerDigest, dataDigest } = this.#options;
    const { errorRecoveryLevel = 0, connections = 1, protocolLevel = 1 } = this.#options;
    const isRdma = transport === 'iser';
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        connection.drop(signal!.reason as Error);
      };
      const connection: InitiatorConnection = new InitiatorConnection(
        {
          loggedIn: (phase, login) => {
            signal?.removeEventListener('abort', onAbort);
            resolve({ connection, phase, login });
          },
          connectionClosed: (reason) => {
            signal?.removeEventListener('abort', onAbort);
            isOver = true;
            clearInterval(timer);
            // Whoever is logged in has been answered, and hears of the loss below.
            reject(reason ?? closedDuringLogin());
            this.#owner.closed(connection, reason);
          },
          asyncNotice: (notice) => {
            this.#owner.noticed(connection, notice);
          },
          remark: (message) => {
            this.#log.warn(message);
          },
        },
        {
          initiatorName,
          targetName,
          isid: this.#isid,
          initialCmdSN: joins?.leading.phase.cmdSN ?? 1,
          ...(joins !== null && {
            joins: {
              tsih: joins.leading.login.tsih,
              cid: joins.cid,
              parameters: joins.leading.login.parameters,
            },
          }),
          authentication,
          isRdma,
          ...(isRdma && { offer: withLevel(ISER_INITIATOR_OFFER, protocolLevel) }),
          ...(!isRdma && {
            offer: {
              ...withLevel(INITIATOR_OFFER, protocolLevel),
              ...(headerDigest === true && { headerDigest: ['CRC32C', 'None'] }),
              ...(dataDigest === true && { dataDigest: ['CRC32C', 'None'] }),
              errorRecoveryLevel,
              ...(errorRecoveryLevel === 2 && RETAINED),
              maxConnections: connections,
            },
          }),
        },
        this.#limits,
        performance.now(),
        joins?.leading.phase ?? null,
      );
      let timer: NodeJS.Timeout | undefined;
      let isOver = false;
      const open = async (): Promise<[InitiatorDatamover, (() => void) | null]> => {
        const { streamingMode = false } = this.#options;
        if (!isRdma || !streamingMode)
          return [await openDatamover(portal, transport, connection, timeoutMs, signal, this.#options), null];
        const streaming = await openStreamingMode(portal, connection, timeoutMs, signal);
        const enter = (): void => {
          streaming.enterRdma().then(
            (successor) => {
              connection.enteredRdma(successor);
            },
            (error: unknown) => {
              connection.connectionTerminateNotify(error as Error);
            },
          );
        };
        return [streaming.datamover, enter];
      };
      open().then(([datamover, enterRdma]) => {
        if (isOver) return;
        timer = setInterval(() => {
          const now = performance.now();
          connection.tick(now);
          this.#owner.ticked(connection, now);
        }, TICK_MS);
        signal?.addEventListener('abort', onAbort, { once: true });
        connection.start(datamover, enterRdma);
        if (signal?.aborted === true) onAbort();
      }, reject);
    });
  }
}

/** Level 1 is what goes without saying (RFC 7144 7.1.1). */
function withLevel(offer: Offer, level: 1 | 2): Offer {
  return level === 1
    ? offer
    : { ...offer, iSCSIProtocolLevel: level, sends: [...offer.sends, 'iSCSIProtocolLevel'] };
}

/** What is asked for where tasks outlive connections, seconds: no need to wait, and RFC 7143 13.16's default. */
const RETAINED = { defaultTime2Wait: 0, defaultTime2Retain: 20 };

/** RFC 7143 11.12.5: type 2, random; the low 16 bits are a qualifier. */
function randomIsid(): Buffer {
  const isid = randomBytes(6);
  isid[0] = 0x80;
  return isid;
}

function isMoved({ status }: LoginRefused): boolean {
  return status === LoginStatus.TARGET_MOVED_TEMPORARILY || status === LoginStatus.TARGET_MOVED_PERMANENTLY;
}

/** `way`: the portals, the first one included. */
function redirected(isCircle: boolean, way: readonly string[], cause: unknown): RiserError {
  const what = isCircle ? 'redirected in a circle' : `redirected more than ${REDIRECTIONS} times in a row`;
  return new RiserError('REDIRECTED', `${what}: ${way.join(', then ')}`, {
    by: 'peer',
    costs: 'session',
    cause,
  });
}

/** What ends tasks when `reason` has aborted the attempt. */
function givenUp(reason: unknown): RiserError {
  if (reason instanceof RiserError) return reason;
  return new RiserError('CONNECT', 'connecting was given up', {
    by: 'local',
    costs: 'session',
    cause: reason,
  });
}

function closedDuringLogin(): RiserError {
  return new RiserError('LOGIN_CLOSED', 'the target closed the connection during login', {
    by: 'peer',
    costs: 'session',
  });
}
