/**
 * A session with a target that survives its connections (RFC 7143 4.4.3): when one is lost, it logs in again
 * with the same ISID, which ends what the target still held of the old one, and sends again what may be.
 */

import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connectTcp } from '../datamover/index.js';
import {
  type AsyncNotice,
  type InitiatorAuthenticationOptions,
  InitiatorConnection,
  type InitiatorFullFeature,
  type InitiatorLimits,
  type InitiatorLoginResult,
  INITIATOR_OFFER,
  LoginRefused,
  type LoginStatus as Status,
  LoginStatus,
  type OperationalParameters,
  type TaskManagementOptions,
  type TextPair,
} from '../iscsi/index.js';
import { AsyncEvent } from '../iscsi/wire/opcodes.js';
import type { ParsedSense } from '../scsi/client/index.js';
import { RiserError } from '../util/errors.js';
import { type Logger, silentLogger } from '../util/logger.js';
import { ConnectionPath } from './connection-path.js';
import { dial } from './dial.js';
import { parseTargetAddress } from './discovery.js';
import type { ClientTask, TaskPath } from './task.js';
import type { PortalAddress } from './url.js';
import { WaitingTasks } from './waiting-tasks.js';

export interface SessionLimits extends InitiatorLimits {
  /** How long a TCP connection may take to come about, milliseconds. */
  connectTimeoutMs: number;
  /** How long commands wait for a lost connection to come back before they fail, milliseconds. */
  recoveryTimeoutMs: number;
  /** The longest pause between attempts to connect again, milliseconds; they grow from a tenth of a second. */
  longestPauseMs: number;
}

export const DEFAULT_SESSION_LIMITS: SessionLimits = {
  connectTimeoutMs: 10_000,
  loginTimeoutMs: 15_000,
  keepaliveIntervalMs: 5_000,
  keepaliveTimeoutMs: 5_000,
  answerTimeoutMs: 15_000,
  recoveryTimeoutMs: 120_000,
  longestPauseMs: 5_000,
};

export interface SessionOptions {
  portal: PortalAddress;
  /** Null: a discovery session. */
  targetName: string | null;
  initiatorName: string;
  /** Six bytes; a random one (RFC 7143 11.12.5, type 2) by default. */
  isid?: Buffer;
  authentication?: InitiatorAuthenticationOptions | null;
  /** Ask for CRC32C digests; a target may decline. */
  headerDigest?: boolean;
  dataDigest?: boolean;
  limits?: Partial<SessionLimits>;
  log?: Logger;
  /** Gives up connecting. */
  signal?: AbortSignal | null;
}

/** What those who use a session may want to hear of. */
export interface SessionWatcher {
  /** The connection is lost, and being made anew. */
  disconnected?(reason: RiserError): void;
  /** A connection was made anew, and nothing goes by it yet; rejects when nothing must. */
  recheck?(path: TaskPath): Promise<void>;
  /** It is there again. */
  reconnected?(): void;
  /** The session has ended, and will not come back. */
  ended?(reason: RiserError): void;
  /** The target reported a unit attention condition to a task, which goes on. */
  unitAttention?(task: ClientTask, sense: ParsedSense): void;
}

/** Redirections that are followed in a row. */
const REDIRECTIONS = 5;
/** The pause after the attempt to connect again that is made at once, milliseconds. */
const FIRST_PAUSE_MS = 100;
/** A connection that is lost sooner counts as an attempt that failed. */
const STEADY_MS = 1000;
/** The longest time that commands under way get to end when the target asks for a logout, milliseconds. */
const LEAVING_MS = 10_000;
const LEAVING = Infinity;
const TICK_MS = 500;
const PEER_COSTS_SESSION = { by: 'peer', costs: 'session' } as const;

interface LoggedIn {
  readonly connection: InitiatorConnection;
  readonly phase: InitiatorFullFeature;
  readonly login: InitiatorLoginResult;
}

export class Session implements TaskPath {
  /** Who hears of it. */
  readonly watchers = new Set<SessionWatcher>();
  readonly #options: SessionOptions;
  readonly #limits: SessionLimits;
  readonly #log: Logger;
  readonly #isid: Buffer;
  #portal: PortalAddress;
  #connection: InitiatorConnection | null = null;
  #phase: InitiatorFullFeature | null = null;
  #login: InitiatorLoginResult | null = null;
  readonly #waiting = new WaitingTasks();
  /** Why there is no connection, and since when. */
  #lost: { reason: RiserError; since: number } | null = null;
  #end: RiserError | null = null;
  #isRecovering = false;
  /** The pause before the next attempt to connect, milliseconds; and when the last one succeeded. */
  #pauseMs = 0;
  #upSince = 0;
  /** When to log out because the target asked for it; null if it did not, LEAVING when the request is out. */
  #leaveAt: number | null = null;
  #isNegotiating = false;
  readonly #closing = new AbortController();
  readonly #submit = (task: ClientTask): void => {
    this.submit(task);
  };
  #isFlushDue = false;
  readonly #flush = (): void => {
    this.#isFlushDue = false;
    this.#phase?.flush();
  };

  private constructor(options: SessionOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_SESSION_LIMITS, ...options.limits };
    this.#log = options.log ?? silentLogger;
    this.#portal = options.portal;
    this.#isid = options.isid ?? randomIsid();
  }

  /**
   * Connect and log in.
   *
   * @throws RiserError `CONNECT`, `LOGIN_REFUSED`, `AUTHENTICATION`, `LOGIN_TIMEOUT`, `LOGIN_PROTOCOL`; the
   * signal's reason when it is aborted
   */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    await session.#connect(options.signal ?? null);
    return session;
  }

  /** A session that looks for its target until it finds it; tasks wait as they do for a lost connection. */
  static openLater(options: SessionOptions, reason: RiserError): Session {
    const session = new Session(options);
    session.#lost = { reason, since: performance.now() };
    void session.#recover();
    return session;
  }

  /** What was negotiated last. */
  get parameters(): OperationalParameters {
    return this.#login!.parameters;
  }

  get targetName(): string | null {
    return this.#options.targetName;
  }

  get login(): InitiatorLoginResult {
    return this.#login!;
  }

  /** Where it is connected to; after a redirection not where it was told to connect. */
  get portal(): PortalAddress {
    return this.#portal;
  }

  get isConnected(): boolean {
    return this.#phase !== null;
  }

  /** Whether it is closed, or has failed for good. */
  get hasEnded(): boolean {
    return this.#end !== null;
  }

  /** Tasks under way. */
  get tasks(): number {
    return this.#phase?.tasks ?? 0;
  }

  // ---- TaskPath ----

  submit(task: ClientTask): void {
    task.carrier = this;
    const phase = this.#phase;
    if (phase === null || this.#end !== null || this.#leaveAt !== null) {
      this.#wait(task);
      return;
    }
    task.deadline = performance.now() + task.timeoutMs;
    phase.submit(task);
    if (this.#isFlushDue) return;
    // All that is submitted in one turn leaves together.
    this.#isFlushDue = true;
    queueMicrotask(this.#flush);
  }

  submitLater(task: ClientTask, delayMs: number): void {
    if (this.#end !== null) {
      task.fail(this.#end);
      return;
    }
    this.#waiting.delay(task, delayMs, this.#submit);
  }

  cancel(task: ClientTask, error: RiserError): void {
    if (!this.#waiting.cancel(task, error)) this.#phase?.abort(task, error);
  }

  unitAttention(task: ClientTask, sense: ParsedSense): void {
    for (const watcher of this.watchers) watcher.unitAttention?.(task, sense);
  }

  #wait(task: ClientTask): void {
    if (this.#end !== null) task.fail(this.#end);
    else if (this.#hasGivenUp) task.fail(this.#lost!.reason);
    else this.#waiting.add(task);
  }

  /** Whether the target has been away for so long that commands fail; the search for it goes on. */
  get #hasGivenUp(): boolean {
    return this.#lost !== null && performance.now() - this.#lost.since >= this.#limits.recoveryTimeoutMs;
  }

  // ---- control requests ----

  /** All pairs that the target answers to a text request, such as `SendTargets=All` (RFC 7143 11.10). */
  text(pairs: readonly TextPair[]): Promise<readonly TextPair[]> {
    return this.#ask((phase, answer) => {
      phase.control.text(pairs, answer);
    });
  }

  /** A task management function; resolves with the target's response code (RFC 7143 11.6.1). */
  manageTasks(options: TaskManagementOptions): Promise<number> {
    return this.#ask((phase, answer) => {
      phase.control.manageTasks(options, answer);
    });
  }

  /** NOP-Out; resolves with the data as it came back, at most 8192 bytes. */
  ping(data: Buffer): Promise<Buffer> {
    return this.#ask((phase, answer) => {
      phase.control.ping(data, answer);
    });
  }

  #ask<T>(send: (phase: InitiatorFullFeature, answer: (result: T | RiserError) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#phase === null) {
        reject(this.#end ?? this.#lost?.reason ?? ended());
        return;
      }
      send(this.#phase, (result) => {
        if (result instanceof RiserError) reject(result);
        else resolve(result);
      });
    });
  }

  // ---- the end ----

  /** Log out and close. What is under way fails `SESSION_CLOSED`; so does everything after. */
  async close(): Promise<void> {
    if (this.#end !== null) return;
    if (this.#phase !== null) {
      const answered = this.#ask<number>((phase, answer) => {
        phase.control.logout(answer);
      }).catch(() => undefined);
      this.#end = ended();
      await answered;
    }
    this.#finish(ended());
  }

  /** End at once, without a logout. */
  destroy(error: RiserError = ended()): void {
    this.#finish(error);
  }

  #finish(error: RiserError): void {
    if (this.#closing.signal.aborted) return;
    this.#end ??= error;
    this.#closing.abort(error);
    this.#connection?.drop(null);
    this.#waiting.failAll(error);
    for (const watcher of this.watchers) watcher.ended?.(error);
  }

  // ---- connections ----

  /** One attempt, redirections followed. */
  async #connect(signal: AbortSignal | null): Promise<void> {
    let portal = this.#options.portal;
    for (let hops = 0; ; hops++) {
      try {
        await this.#logIn(portal, signal);
        this.#portal = portal;
        return;
      } catch (error) {
        const redirect = error instanceof LoginRefused && isMoved(error.status) ? error.redirect : null;
        if (redirect === null) throw error;
        if (hops === REDIRECTIONS) {
          throw new RiserError('REDIRECTED', `redirected more than ${REDIRECTIONS} times in a row`, {
            by: 'peer',
            costs: 'session',
            cause: error,
          });
        }
        this.#log.info(`the target is redirected to ${redirect}`);
        portal = parseTargetAddress(redirect);
      }
    }
  }

  /** Connect to `portal`, log in, and look whether everything is as it was; then tasks go by it. */
  async #logIn(portal: PortalAddress, signal: AbortSignal | null): Promise<void> {
    const socket = await dial(portal, this.#limits.connectTimeoutMs, signal);
    if (signal?.aborted === true) {
      socket.destroy();
      throw signal.reason;
    }
    const { connection, phase, login } = await this.#negotiate(socket, signal);
    try {
      if (this.#login !== null) {
        const path = new ConnectionPath(phase);
        for (const watcher of this.watchers) await watcher.recheck?.(path);
      }
    } catch (error) {
      connection.drop(null);
      throw error;
    }
    // It may have been lost, or the session closed, while that was looked at.
    if (phase.isOver) throw new RiserError('CONNECT', 'the connection was lost again', PEER_COSTS_SESSION);
    if (this.#end !== null) connection.drop(null);
    else this.#isUp(connection, phase, login);
  }

  #negotiate(socket: Socket, signal: AbortSignal | null): Promise<LoggedIn> {
    const { initiatorName, targetName, authentication = null, headerDigest, dataDigest } = this.#options;
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
            clearInterval(timer);
            // Whoever is logged in has been answered, and hears of the loss below.
            reject(reason ?? closedDuringLogin());
            this.#isDown(connection, reason);
          },
          asyncNotice: (notice) => {
            this.#noticed(connection, notice);
          },
          remark: (message) => {
            this.#log.warn(message);
          },
        },
        {
          initiatorName,
          targetName,
          isid: this.#isid,
          initialCmdSN: 1,
          authentication,
          offer: {
            ...INITIATOR_OFFER,
            ...(headerDigest === true && { headerDigest: ['CRC32C', 'None'] }),
            ...(dataDigest === true && { dataDigest: ['CRC32C', 'None'] }),
          },
        },
        this.#limits,
        performance.now(),
      );
      const timer = setInterval(() => {
        const now = performance.now();
        connection.tick(now);
        this.#leave(connection, now);
      }, TICK_MS);
      signal?.addEventListener('abort', onAbort, { once: true });
      connection.start(connectTcp(socket, connection));
    });
  }

  #isUp(connection: InitiatorConnection, phase: InitiatorFullFeature, login: InitiatorLoginResult): void {
    const isAgain = this.#lost !== null;
    this.#connection = connection;
    this.#phase = phase;
    this.#login = login;
    this.#lost = null;
    this.#upSince = performance.now();
    this.#isNegotiating = false;
    const waiting = this.#waiting.takeAll();
    if (isAgain) {
      this.#log.info('connected again');
      for (const watcher of this.watchers) watcher.reconnected?.();
    }
    for (const task of waiting) this.submit(task);
  }

  #isDown(connection: InitiatorConnection, cause: Error | null): void {
    if (this.#connection !== connection) return;
    this.#connection = null;
    this.#phase = null;
    this.#leaveAt = null;
    if (performance.now() - this.#upSince >= STEADY_MS) this.#pauseMs = 0;
    if (this.#end !== null) return;
    const reason = new RiserError(
      'CONNECTION_LOST',
      cause === null ? 'the target closed the connection' : `the connection is lost: ${cause.message}`,
      { by: 'peer', costs: 'connection', cause },
    );
    this.#lost = { reason, since: performance.now() };
    this.#log.warn(reason.message);
    for (const watcher of this.watchers) watcher.disconnected?.(reason);
    void this.#recover();
  }

  /** Look for the target until it is there again, or the session is closed. */
  async #recover(): Promise<void> {
    if (this.#isRecovering) return;
    this.#isRecovering = true;
    const { signal } = this.#closing;
    while (this.#end === null && this.#phase === null) {
      try {
        const pause = this.#pauseMs * (0.75 + Math.random() / 2);
        this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, FIRST_PAUSE_MS), this.#limits.longestPauseMs);
        await delay(pause, undefined, { signal });
        await this.#connect(signal);
      } catch (error) {
        if (signal.aborted) break;
        const failure = error as Error;
        this.#log.debug(`not connected again yet: ${failure.message}`);
        if (failure instanceof RiserError && isFinal(failure)) {
          this.#finish(failure);
          break;
        }
        if (this.#hasGivenUp) this.#waiting.failWaiting(unreachable(this.#limits.recoveryTimeoutMs, failure));
      }
    }
    this.#isRecovering = false;
    // It may have been lost again while the last lines ran.
    if (this.#end === null && this.#phase === null) void this.#recover();
  }

  /** Log out for the target's sake as soon as nothing is under way, or the time is over; then connect anew. */
  #leave(connection: InitiatorConnection, now: number): void {
    const phase = connection.fullFeature;
    if (this.#leaveAt === null || this.#leaveAt === LEAVING || phase === null) return;
    if (phase.hasTasks && now < this.#leaveAt) return;
    this.#leaveAt = LEAVING;
    phase.control.logout(() => {
      connection.drop(null);
    });
  }

  /** RFC 7143 11.9.1 */
  #noticed(connection: InitiatorConnection, notice: AsyncNotice): void {
    switch (notice.event) {
      case AsyncEvent.LOGOUT_REQUESTED:
        if (this.#leaveAt !== null) break;
        this.#log.info('the target asks for a logout');
        // Parameter3: seconds that it gives. What is under way ends in half of it, what is new waits.
        this.#leaveAt = performance.now() + Math.min(notice.parameter3 * 500, LEAVING_MS);
        this.#leave(connection, performance.now());
        break;
      case AsyncEvent.CONNECTION_WILL_DROP:
      case AsyncEvent.SESSION_WILL_DROP:
        this.#log.info('the target is about to close the connection');
        break;
      case AsyncEvent.NEGOTIATION_REQUESTED:
        // It MUST be honoured; an empty text is an answer (RFC 7143 11.9.1). One at a time is enough.
        if (this.#isNegotiating) break;
        this.#isNegotiating = true;
        connection.fullFeature!.control.text([], () => {
          this.#isNegotiating = false;
        });
        break;
      default:
        this.#log.debug(`asynchronous event ${notice.event}`);
    }
  }
}

/** RFC 7143 11.12.5: type 2, random; the low 16 bits are a qualifier. */
function randomIsid(): Buffer {
  const isid = randomBytes(6);
  isid[0] = 0x80;
  return isid;
}

function isMoved(status: Status | null): boolean {
  return status === LoginStatus.TARGET_MOVED_TEMPORARILY || status === LoginStatus.TARGET_MOVED_PERMANENTLY;
}

/** Whether trying again is useless, or even harmful: whoever is refused for a secret must not go on guessing. */
function isFinal(error: RiserError): boolean {
  if (error.code === 'AUTHENTICATION' || error.code === 'LUN_CHANGED') return true;
  if (!(error instanceof LoginRefused) || error.status === null) return false;
  return (
    error.status === LoginStatus.AUTHENTICATION_FAILURE ||
    error.status === LoginStatus.AUTHORIZATION_FAILURE ||
    error.status === LoginStatus.TARGET_REMOVED
  );
}

function closedDuringLogin(): RiserError {
  return new RiserError('LOGIN_CLOSED', 'the target closed the connection during login', PEER_COSTS_SESSION);
}

function unreachable(afterMs: number, cause: Error): RiserError {
  const message = `the target could not be reached again within ${afterMs / 1000} s: ${cause.message}`;
  return new RiserError('UNREACHABLE', message, { by: 'peer', costs: 'session', cause });
}

function ended(): RiserError {
  return new RiserError('SESSION_CLOSED', 'the session is closed', { by: 'local', costs: 'session' });
}
