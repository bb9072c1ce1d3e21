/**
 * A session with a target that survives its connections (RFC 7143 4.4.3): when one is lost, it logs in again
 * with the same ISID, which ends what the target still held of the old one, and sends again what may be.
 */

import { setTimeout as delay } from 'node:timers/promises';
import {
  type InitiatorConnection,
  type InitiatorFullFeature,
  type InitiatorLoginResult,
  LoginRefused,
  LoginStatus,
  type OperationalParameters,
  type TaskManagementAnswer,
  type TaskManagementOptions,
  type TextPair,
} from '../iscsi/index.js';
import type { ParsedSense } from '../scsi/client/index.js';
import { BackOff } from '../util/back-off.js';
import { RiserError } from '../util/errors.js';
import { type Logger, silentLogger } from '../util/logger.js';
import { lostAgain } from './connection-path.js';
import { ConnectionRecovery } from './connection-recovery.js';
import { Members } from './members.js';
import { type LoggedIn, SessionLogin } from './session-login.js';
import { DEFAULT_SESSION_LIMITS, type SessionLimits, type SessionOptions } from './session-options.js';
import { TargetNotices } from './target-notices.js';
import type { ClientTask, TaskPath } from './task.js';
import type { PortalAddress } from './url.js';
import { WaitingTasks } from './waiting-tasks.js';

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

/** The pause after the attempt to connect again that is made at once, milliseconds. */
const FIRST_PAUSE_MS = 100;
/** A connection that is lost sooner counts as an attempt that failed. */
const STEADY_MS = 1000;
/** How long a target may take to close after a logout, milliseconds. */
const CLOSE_GRACE_MS = 1000;

export class Session implements TaskPath {
  /** Who hears of it. */
  readonly watchers = new Set<SessionWatcher>();
  readonly #options: SessionOptions;
  readonly #limits: SessionLimits;
  readonly #log: Logger;
  readonly #logins: SessionLogin;
  #portal: PortalAddress;
  #transport: 'tcp' | 'iser' = 'tcp';
  #device: string | null = null;
  /** See {@link whyNotIser}. */
  #whyNotIser: string | null = null;
  readonly #members = new Members();
  readonly #notices: TargetNotices;
  /** Connections that it had at its beginning. */
  #wanted = 1;
  readonly #recovery: ConnectionRecovery;
  #isRefilling = false;
  /** Lost connections cannot be recovered: it is to be made anew. */
  #mustRestart = false;
  #login: InitiatorLoginResult | null = null;
  readonly #waiting = new WaitingTasks();
  /** Why there is no connection, and since when. */
  #lost: { reason: RiserError; since: number } | null = null;
  #end: RiserError | null = null;
  #isRecovering = false;
  readonly #backOff: BackOff;
  /** When the last attempt to connect succeeded. */
  #upSince = 0;
  readonly #closing = new AbortController();
  readonly #submit = (task: ClientTask): void => {
    this.submit(task);
  };
  #isFlushDue = false;
  /** The connection is gone. */
  #wentDown: () => void = () => undefined;
  readonly #flush = (): void => {
    this.#isFlushDue = false;
    this.#members.flush();
  };

  private constructor(options: SessionOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_SESSION_LIMITS, ...options.limits };
    this.#log = options.log ?? silentLogger;
    this.#portal = options.portal;
    this.#notices = new TargetNotices(this.#members, this.#log);
    this.#backOff = new BackOff(FIRST_PAUSE_MS, this.#limits.longestPauseMs);
    this.#recovery = new ConnectionRecovery(
      {
        anyPhase: () => this.#phase,
        recoveryFailed: (error) => {
          this.#mustRestart = true;
          this.#members.first?.connection.drop(error);
        },
      },
      this.#closing.signal,
    );
    this.#logins = new SessionLogin(options, this.#limits, {
      recheck: (path) => this.#recheck(path),
      noticed: (connection, notice) => {
        this.#notices.noticed(connection, notice);
      },
      ticked: (connection, now) => {
        this.#notices.leave(connection, now);
      },
      closed: (connection, reason) => {
        this.#isDown(connection, reason);
      },
    });
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

  /** How commands and data travel, or did last. */
  get transport(): 'tcp' | 'iser' {
    return this.#transport;
  }

  /** The RDMA device that they go by: `iwarp` in software, or an adapter. Null over TCP. */
  get device(): string | null {
    return this.#device;
  }

  /** Whether it is iSER, or may be after the next loss of its connection. */
  get mayBeRdma(): boolean {
    return (this.#options.transport ?? 'tcp') !== 'tcp';
  }

  /** Why it is not iSER, where that was tried first; else null. */
  get whyNotIser(): string | null {
    return this.#whyNotIser;
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

  get #phase(): InitiatorFullFeature | null {
    return this.#members.first?.phase ?? null;
  }

  // ---- TaskPath ----

  submit(task: ClientTask): void {
    task.carrier = this;
    if (this.#members.count === 0 || this.#end !== null || this.#notices.isLeaving) {
      this.#wait(task);
      return;
    }
    task.deadline = performance.now() + task.timeoutMs;
    this.#members.next().submit(task);
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
    if (!this.#waiting.cancel(task, error)) task.connection?.abort(task, error);
  }

  unitAttention(task: ClientTask, sense: ParsedSense): void {
    for (const watcher of this.watchers) watcher.unitAttention?.(task, sense);
  }

  accessRefused(): boolean {
    return false;
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

  /**
   * A task management function (RFC 7143 11.5, RFC 7144 6.3). Commands that one about several tasks has aborted fail with `TASK_ABORTED`;
   * of several connections those of the first, the others by their time.
   *
   * @throws RiserError `PROTOCOL_LEVEL` where the function needs iSCSIProtocolLevel 2
   */
  manageTasks(options: TaskManagementOptions): Promise<TaskManagementAnswer> {
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
      if (this.#transport === 'iser') await this.#closedByTarget();
    }
    this.#finish(ended());
  }

  /**
   * Over RDMA it is for the target to close (RFC 7145 5.2.1): of a connection that is gone at once LIO does not learn that its
   * answer has left, and its kernel warns.
   */
  async #closedByTarget(): Promise<void> {
    if (this.#members.first === null) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, CLOSE_GRACE_MS);
      this.#wentDown = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** End at once, without a logout. */
  destroy(error: RiserError = ended()): void {
    this.#finish(error);
  }

  #finish(error: RiserError): void {
    if (this.#closing.signal.aborted) return;
    this.#end ??= error;
    this.#closing.abort(error);
    for (const { connection } of this.#members.all) connection.drop(null);
    this.#recovery.giveUp();
    this.#waiting.failAll(error);
    for (const watcher of this.watchers) watcher.ended?.(error);
  }

  // ---- connections ----

  /** One attempt. */
  async #connect(signal: AbortSignal | null): Promise<void> {
    const found = await this.#logins.logIn(signal);
    // It may have been lost, or the session closed, while it was looked at.
    if (found.phase.isOver) throw lostAgain();
    const others = await this.#joinOthers(found, signal);
    const all = [found, ...others] as const;
    if (this.#end === null && !all.some(({ phase }) => phase.isOver)) {
      this.#wanted = all.length;
      this.#mustRestart = false;
      this.#isUp(all);
      return;
    }
    for (const { connection } of all) connection.drop(null);
    if (this.#end === null) throw lostAgain();
  }

  /** As many further connections as wanted and agreed on; with those that come about the session begins. */
  async #joinOthers(leading: LoggedIn, signal: AbortSignal | null): Promise<LoggedIn[]> {
    const { connections = 1 } = this.#options;
    const count = Math.min(connections, leading.login.parameters.maxConnections);
    if (count < connections && this.#options.targetName !== null)
      this.#log.info(`the target agrees on ${count} of ${connections} connections`);
    const others: LoggedIn[] = [];
    if (leading.phase.datamover.kind !== 'tcp') return others;
    try {
      for (let cid = 1; cid < count; cid++) others.push(await this.#logins.join(leading, cid, signal));
    } catch (error) {
      if (signal?.aborted !== true)
        this.#log.warn(`the session has ${others.length + 1} connections: ${(error as Error).message}`);
    }
    return others;
  }

  async #recheck(path: TaskPath): Promise<void> {
    for (const watcher of this.watchers) await watcher.recheck?.(path);
  }

  /** The session has connections: `first` and, where it begins, others. */
  #isUp([first, ...others]: readonly [LoggedIn, ...LoggedIn[]]): void {
    const { phase, login, portal, whyNotIser } = first;
    const isAgain = this.#lost !== null;
    this.#members.replace([first, ...others]);
    this.#login = login;
    this.#portal = portal;
    this.#transport = phase.datamover.kind;
    this.#device = phase.datamover.device;
    this.#whyNotIser = whyNotIser;
    this.#lost = null;
    this.#upSince = performance.now();
    const waiting = this.#waiting.takeAll();
    if (isAgain) {
      this.#log.info('connected again');
      for (const watcher of this.watchers) watcher.reconnected?.();
    }
    for (const task of waiting) this.submit(task);
  }

  #isDown(connection: InitiatorConnection, cause: Error | null): void {
    const lost = this.#members.find(connection);
    if (lost === undefined) return;
    const rest = this.#members.all.filter((member) => member !== lost);
    const reason = new RiserError(
      'CONNECTION_LOST',
      cause === null ? 'the target closed the connection' : `the connection is lost: ${cause.message}`,
      { by: 'peer', costs: 'connection', cause },
    );
    const isRecoverable = this.#end === null && !this.#notices.isLeaving && !this.#mustRestart;
    if (isRecoverable && rest.length > 0) {
      this.#goOnWith(rest, lost, reason);
      return;
    }
    if (isRecoverable && lost.login.parameters.errorRecoveryLevel === 2) this.#recovery.add(lost, reason);
    // The session is recovered from as a whole (RFC 7143 7.1.4.4).
    this.#members.replace([]);
    for (const each of rest) each.connection.drop(null);
    this.#notices.connectionEnded();
    if (performance.now() - this.#upSince >= STEADY_MS) this.#backOff.reset();
    this.#wentDown();
    if (this.#end !== null) return;
    this.#lost = { reason, since: performance.now() };
    this.#log.warn(reason.message);
    for (const watcher of this.watchers) watcher.disconnected?.(reason);
    void this.#recover();
  }

  /** One of several connections is lost. */
  #goOnWith(rest: readonly LoggedIn[], lost: LoggedIn, reason: RiserError): void {
    this.#log.warn(`of ${rest.length + 1} connections one is lost: ${reason.message}`);
    this.#recovery.add(lost, reason);
    this.#members.replace(rest);
    this.#restore();
  }

  /** Recover what went by lost connections, then make them anew. */
  #restore(): void {
    void this.#recovery.run().then(() => this.#refill());
  }

  /** As many connections as there were. */
  async #refill(): Promise<void> {
    if (this.#isRefilling) return;
    this.#isRefilling = true;
    const { signal } = this.#closing;
    const pauses = new BackOff(FIRST_PAUSE_MS, this.#limits.longestPauseMs);
    while (this.#end === null && this.#members.count > 0 && this.#members.count < this.#wanted) {
      try {
        await delay(pauses.next(), undefined, { signal });
        const { first } = this.#members;
        if (first !== null) this.#admit(await this.#logins.join(first, this.#freshCid(), signal));
      } catch (error) {
        if (signal.aborted) break;
        this.#log.debug(`the session has ${this.#members.count} connections: ${(error as Error).message}`);
        // The target wants no more.
        if (error instanceof LoginRefused) break;
      }
    }
    this.#isRefilling = false;
  }

  #admit(member: LoggedIn): void {
    const isOfSession = this.#members.count > 0 && member.login.tsih === this.#login?.tsih;
    if (isOfSession && !member.phase.isOver) this.#members.add(member);
    else member.connection.drop(null);
  }

  #freshCid(): number {
    return this.#members.freshCid(this.#recovery.cids);
  }

  /** Go on with the session by a new connection, while the target has its tasks. */
  async #rejoin(signal: AbortSignal): Promise<void> {
    try {
      const found = await this.#logins.join(this.#recovery.latest!, this.#freshCid(), signal);
      if (found.phase.isOver) throw lostAgain();
      this.#isUp([found]);
      this.#restore();
    } catch (error) {
      // The session is not there any more, or not for us.
      if (error instanceof LoginRefused) this.#recovery.giveUp();
      throw error;
    }
  }

  get #mayRejoin(): boolean {
    const isLevel2 = this.#login?.parameters.errorRecoveryLevel === 2;
    return (
      isLevel2 && !this.#mustRestart && !this.#recovery.isEmpty && performance.now() < this.#recovery.deadline
    );
  }

  /** Look for the target until it is there again, or the session is closed. */
  async #recover(): Promise<void> {
    if (this.#isRecovering) return;
    this.#isRecovering = true;
    const { signal } = this.#closing;
    while (this.#end === null && this.#phase === null) {
      try {
        await delay(this.#backOff.next(), undefined, { signal });
        if (this.#mayRejoin) await this.#rejoin(signal);
        else {
          this.#recovery.giveUp();
          await this.#connect(signal);
        }
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

function unreachable(afterMs: number, cause: Error): RiserError {
  const message = `the target could not be reached again within ${afterMs / 1000} s: ${cause.message}`;
  return new RiserError('UNREACHABLE', message, { by: 'peer', costs: 'session', cause });
}

function ended(): RiserError {
  return new RiserError('SESSION_CLOSED', 'the session is closed', { by: 'local', costs: 'session' });
}
