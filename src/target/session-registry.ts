/**
 * All connections and sessions of a server: who may log in, which session a login reinstates, and how
 * sessions end.
 */

import {
  answerSendTargets,
  type ConnectionHost,
  type ConnectionLimits,
  type EndReason,
  type ExistingSession,
  formatPortal,
  type LoginIdentity,
  type LoginRefusal,
  type LoginResult,
  LoginStatus,
  plainAddress,
  type TargetConnection,
  type TargetDirectory,
  type TargetIdentity,
} from '../iscsi/index.js';
import type { Logger } from '../util/logger.js';
import type { BufferPool } from '../util/memory.js';
import { Admission, type AdmissionOptions } from './admission.js';
import type { Portal } from './portal.js';
import { nexusKeyOf, Session, type SessionInfo } from './session.js';
import type { Target } from './target.js';
import type { TargetLimits, TargetServerEvents } from './target-server.js';

export interface RegistryOptions {
  targets: ReadonlyMap<string, Target>;
  portals: readonly Portal[];
  limits: TargetLimits;
  buffers: BufferPool;
  log: Logger;
  admission: AdmissionOptions;
}

/** What a portal does with those who arrive on it. */
export interface PortalHost {
  /** The host of a connection that came in on `portal`, at `localAddress` of this machine, from `initiatorAddress`. */
  hostFor(portal: Portal, localAddress: string, initiatorAddress: string): ConnectionHost;
  connectionAccepted(connection: TargetConnection): void;
}

export class SessionRegistry implements PortalHost {
  events: TargetServerEvents | null = null;
  readonly #options: RegistryOptions;
  readonly #sessions = new Map<TargetConnection, Session>();
  /** Connections that have not logged in yet, the oldest first. */
  readonly #pending = new Set<TargetConnection>();
  /** Sessions that have lost their last connection, and when they end, on the clock of `tick`; null until the next tick. */
  readonly #retained = new Map<Session, number | null>();
  readonly #usedHandles = new Set<number>();
  #lastHandle = 0;
  /** Called when the last session has gone. */
  #emptied: (() => void) | null = null;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  sessions(): SessionInfo[] {
    return [...this.#all].map((session) => session.info);
  }

  /** Each once, however many connections it has. */
  get #all(): Set<Session> {
    return new Set([...this.#sessions.values(), ...this.#retained.keys()]);
  }

  tick(now: number): void {
    for (const [session, end] of this.#retained) {
      const seconds = session.parameters.defaultTime2Wait + session.time2Retain;
      if (end === null) this.#retained.set(session, now + seconds * 1000);
      else if (now >= end) this.#endRetained(session, 'no connection has followed the last one');
    }
    for (const session of this.#all) session.tick(now);
    for (const connection of this.#pending) connection.tick(now);
    for (const connection of this.#sessions.keys()) connection.tick(now);
  }

  hostFor(portal: Portal, localAddress: string, initiatorAddress: string): ConnectionHost {
    const admission = new Admission(this.#options.admission, initiatorAddress);
    return new ConnectedPortal(this, this.#options, portal, localAddress, admission);
  }

  connectionAccepted(connection: TargetConnection): void {
    this.#pending.add(connection);
    if (this.#pending.size <= this.#options.limits.pendingLogins) return;
    // Whoever waits longest is the least likely to log in: newcomers always get their chance.
    const [oldest] = this.#pending;
    this.#options.log.warn(`${oldest!.remote}: dropped, too many connections have not logged in`);
    oldest!.drop(null);
  }

  connectionClosed(connection: TargetConnection, error: Error | null): void {
    const { log } = this.#options;
    this.#pending.delete(connection);
    const session = this.#sessions.get(connection);
    if (session === undefined) {
      if (error !== null) log.warn(`${connection.remote}: dropped during login: ${error.message}`);
      return;
    }
    this.#sessions.delete(connection);
    if (!session.left(connection)) {
      if (error !== null) log.warn(`${connection.remote}: a connection of several is lost: ${error.message}`);
      return;
    }
    const isLost = session.endReason === null && connection.fullFeature?.hasLoggedOut === false;
    const { info } = session;
    if (isLost && info.type === 'Normal' && session.time2Retain > 0) {
      // The session may be continued (RFC 7143 6.3.6); below ErrorRecoveryLevel 2 its tasks end with the connection.
      this.#retained.set(session, null);
      log.info(`${connection.remote}: the last connection is lost, the session is kept for a while`);
    } else this.#end(session, endReason(connection, session, error));
    if (this.#sessions.size === 0) this.#emptied?.();
  }

  #end(session: Session, reason: string): void {
    const { info } = session;
    this.#usedHandles.delete(info.tsih);
    session.close();
    if (info.type === 'Normal') this.events?.sessionClosed(info, reason);
  }

  /** End a session that has no connection any more; what has one ends with that. */
  #endRetained(session: Session, reason: string): void {
    if (this.#retained.delete(session)) this.#end(session, reason);
  }

  /** End sessions with an Async Message. */
  endSessions(matches: (session: Session) => boolean): void {
    for (const session of this.#all) {
      if (!matches(session)) continue;
      session.endReason = 'stopped';
      this.#endRetained(session, 'stopped' satisfies EndReason);
      for (const { fullFeature } of [...session.connections]) {
        fullFeature?.responses.announceEnd();
        fullFeature?.datamover.connectionTerminate();
      }
    }
  }

  /** End everything: sessions politely, but within `graceMs`. */
  async close(graceMs: number): Promise<void> {
    for (const connection of [...this.#pending]) connection.drop(null);
    for (const session of [...this.#retained.keys()])
      this.#endRetained(session, 'stopped' satisfies EndReason);
    if (this.#sessions.size === 0) return;
    const emptied = new Promise<void>((resolve) => {
      this.#emptied = resolve;
    });
    this.endSessions(() => true);
    const timer = setTimeout(() => {
      for (const connection of [...this.#sessions.keys()]) connection.drop(null);
    }, graceMs);
    await emptied;
    clearTimeout(timer);
  }

  // ---- for ConnectedPortal ----

  /** Whether there is no room for one more session. */
  makesNoRoom(): boolean {
    if (this.#all.size < this.#options.limits.sessions) return false;
    // Who is there comes before who may come back.
    const [oldest] = this.#retained.keys();
    if (oldest === undefined) return true;
    this.#endRetained(oldest, 'the room was needed');
    return false;
  }

  /** Null also if it is about to end. */
  find(nexusKey: string, tsih: number): Session | null {
    for (const session of this.#all) {
      if (session.nexusKey === nexusKey && session.info.tsih === tsih && session.endReason === null)
        return session;
    }
    return null;
  }

  /** A target session identifying handle that no session has; there are fewer sessions than handles. */
  takeHandle(): number {
    do this.#lastHandle = (this.#lastHandle % 0xffff) + 1;
    while (this.#usedHandles.has(this.#lastHandle));
    this.#usedHandles.add(this.#lastHandle);
    return this.#lastHandle;
  }

  giveHandleBack(handle: number): void {
    this.#usedHandles.delete(handle);
  }

  /** One more connection of an open session. */
  join(connection: TargetConnection, session: Session): void {
    this.#pending.delete(connection);
    this.#retained.delete(session);
    this.#sessions.set(connection, session);
    session.join(connection);
  }

  open(connection: TargetConnection, session: Session): void {
    // Session reinstatement (RFC 7143 6.3.5): the new session ends the old one before it begins.
    for (const old of this.#all) {
      if (old.nexusKey !== session.nexusKey) continue;
      old.endReason ??= 'reinstated';
      this.#endRetained(old, 'reinstated' satisfies EndReason);
      for (const each of [...old.connections]) each.drop(null);
    }
    this.#pending.delete(connection);
    this.#sessions.set(connection, session);
    session.open();
    if (session.info.type === 'Normal') this.events?.sessionOpened(session.info);
  }
}

/** A connection's view of the server: what can be reached by the portal it came in on. */
class ConnectedPortal implements ConnectionHost, TargetDirectory {
  readonly authenticator: Admission;
  readonly limits: ConnectionLimits;
  readonly log: Logger;
  readonly #registry: SessionRegistry;
  readonly #options: RegistryOptions;
  readonly #portal: Portal;
  readonly #localAddress: string;
  #session: Session | null = null;
  #handle: number | null = null;

  constructor(
    registry: SessionRegistry,
    options: RegistryOptions,
    portal: Portal,
    localAddress: string,
    admission: Admission,
  ) {
    this.authenticator = admission;
    this.#registry = registry;
    this.#options = options;
    this.#portal = portal;
    this.#localAddress = localAddress;
    this.limits = options.limits;
    this.log = options.log;
  }

  findTarget(name: string, initiatorName: string): TargetIdentity | LoginRefusal {
    const target = this.authenticator.find(name, initiatorName);
    if ('refusal' in target) return target;
    const { portalGroupTag } = this.#portal;
    if (!target.hasPortal(portalGroupTag))
      return { refusal: LoginStatus.NOT_FOUND, reason: `no target port group of ${name} has this portal` };
    const redirected = this.#redirected(target);
    if (redirected !== null) return redirected;
    if (target.isOffline(portalGroupTag))
      return {
        refusal: LoginStatus.SERVICE_UNAVAILABLE,
        reason: `the target port group of ${name} is offline`,
      };
    const { alias, recovery } = target;
    return { name: target.name, portalGroupTag, alias, recovery };
  }

  /**
   * Where the initiator has to go instead, before it proves anything (RFC 7143 11.13.5); null if it is right here. Who is sent
   * where he comes from would come back for ever.
   */
  #redirected({ name, redirect }: Target): LoginRefusal | null {
    if (redirect === null) return null;
    const { status, targetAddress } = redirect;
    const here = formatPortal(plainAddress(this.#localAddress), this.#portal.address.port);
    if (targetAddress !== here)
      return { refusal: status, reason: `${name} is at ${targetAddress}`, redirect: targetAddress };
    this.log.error(`${name} is redirected to ${targetAddress}, which is this very portal: nobody can log in`);
    return { refusal: LoginStatus.SERVICE_UNAVAILABLE, reason: `${name} is redirected to itself` };
  }

  admit(): LoginRefusal | null {
    return this.authenticator.checkAddress();
  }

  #keyOf(identity: LoginIdentity): string {
    return nexusKeyOf(identity, formatPortal(this.#localAddress, this.#portal.address.port));
  }

  findSession(identity: LoginIdentity): ExistingSession | null {
    const session = this.#registry.find(this.#keyOf(identity), identity.tsih);
    if (session === null) return null;
    const { parameters, connectionIds, sharedCommands } = session;
    return {
      maxConnections: parameters.maxConnections,
      connectionIds,
      parameters,
      expCmdSN: sharedCommands!.expCmdSN,
      maxCmdSN: sharedCommands!.maxCmdSN,
    };
  }

  openSession(identity: LoginIdentity, user: string | null): { readonly tsih: number } | LoginRefusal {
    if (identity.tsih !== 0) return this.#joinSession(identity, user);
    const { target } = identity;
    if (target !== null && this.authenticator.target === null) {
      return { refusal: LoginStatus.TARGET_REMOVED, reason: `${target.name} was removed during the login` };
    }
    const redirected = target === null ? null : this.#redirected(this.authenticator.target!);
    if (redirected !== null) return redirected;
    if (this.#registry.makesNoRoom()) {
      return {
        refusal: LoginStatus.OUT_OF_RESOURCES,
        reason: `${this.#options.limits.sessions} sessions are open`,
      };
    }
    this.#handle = this.#registry.takeHandle();
    return { tsih: this.#handle };
  }

  /** The session may have ended during the login, and belongs to who has opened it. */
  #joinSession(identity: LoginIdentity, user: string | null): { readonly tsih: number } | LoginRefusal {
    const session = this.#registry.find(this.#keyOf(identity), identity.tsih);
    if (session === null)
      return {
        refusal: LoginStatus.SESSION_DOES_NOT_EXIST,
        reason: 'the session has ended during the login',
      };
    if (session.info.user !== user)
      return { refusal: LoginStatus.AUTHORIZATION_FAILURE, reason: 'the session is of another user' };
    return { tsih: identity.tsih };
  }

  sessionOpened(connection: TargetConnection, login: LoginResult): Session {
    if (login.identity.tsih !== 0) {
      this.#session = this.#registry.find(this.#keyOf(login.identity), login.tsih)!;
      this.#registry.join(connection, this.#session);
      return this.#session;
    }
    const session = new Session({
      connection,
      login,
      nexusKey: this.#keyOf(login.identity),
      target: this.authenticator.target,
      view: this.authenticator.viewFor(login.user),
      elsewhere: () => this.authenticator.viewsElsewhere(login.identity.initiatorName, login.user),
      directory: this,
      buffers: this.#options.buffers,
      log: this.log,
      transport: connection.transport,
      endSessionsOf: (target) => {
        this.#registry.endSessions((session) => session.target === target);
      },
    });
    this.#session = session;
    this.#registry.open(connection, session);
    return session;
  }

  connectionClosed(connection: TargetConnection, error: Error | null): void {
    // Between the login and RDMA there is a handle, and no session yet.
    if (this.#session === null && this.#handle !== null) this.#registry.giveHandleBack(this.#handle);
    this.#registry.connectionClosed(connection, error);
  }

  sendTargets(value: string): ReturnType<TargetDirectory['sendTargets']> {
    const portals = this.#options.portals.map(({ address: { address, port }, portalGroupTag }) => ({
      address,
      port,
      portalGroupTag,
    }));
    const { info, target } = this.#session!;
    const isDiscovery = info.type === 'Discovery';
    const names = isDiscovery
      ? [...this.authenticator.targetsFor(info.initiatorName).keys()]
      : [target!.name];
    const targets = names.map((name) => ({
      name,
      portals: portals.filter(({ portalGroupTag }) =>
        this.#options.targets.get(name)!.hasPortal(portalGroupTag),
      ),
    }));
    return answerSendTargets(value, targets, {
      targetName: target?.name ?? null,
      isDiscovery,
      localAddress: this.#localAddress,
    });
  }
}

function endReason(connection: TargetConnection, session: Session, error: Error | null): string {
  if (session.endReason !== null) return session.endReason;
  if (connection.fullFeature?.hasLoggedOut === true) return 'logout' satisfies EndReason;
  return error === null ? ('closed by the initiator' satisfies EndReason) : error.message;
}
