/** A session of one initiator with one target, or a discovery session (RFC 7143 4.4.3). */

import {
  type CommandTable,
  type EndReason,
  type FullFeature,
  type FullFeatureHost,
  initiatorPortName,
  type LoginIdentity,
  type LoginResult,
  type OperationalParameters,
  type TargetConnection,
  type TargetDirectory,
  type TaskManagementCall,
} from '../iscsi/index.js';
import { TaskManagementFunction, TaskManagementResponse } from '../iscsi/wire/opcodes.js';
import type { LogicalUnitView, Nexus } from '../scsi/index.js';
import type { Logger } from '../util/logger.js';
import type { BufferPool } from '../util/memory.js';
import type { Target } from './target.js';
import { TargetCommand } from './target-task.js';
import { manageTasks } from './task-management.js';

/** Of INQUIRY data, for iSCSIProtocolLevel 0 (RFC 7144 4.2). */
const ISCSI_VERSION_DESCRIPTOR = 0x0960;

/** A session as people and tools see it. */
export interface SessionInfo {
  readonly initiatorName: string;
  readonly initiatorAlias: string | null;
  /** 12 hexadecimal digits. */
  readonly isid: string;
  /** Target session identifying handle, 1 to 65535. */
  readonly tsih: number;
  readonly type: 'Normal' | 'Discovery';
  /** Null in a discovery session. */
  readonly targetName: string | null;
  /** The name that the initiator has been authenticated by; null if it has not. */
  readonly user: string | null;
  /** `address:port` of the initiator; its address alone by an adapter. */
  readonly peer: string;
  /** How commands and data travel. */
  readonly transport: 'tcp' | 'iser';
  /** The RDMA device: `iwarp` in software, or an adapter. Null over TCP. */
  readonly device: string | null;
  readonly headerDigest: boolean;
  readonly dataDigest: boolean;
}

export interface SessionOptions {
  connection: TargetConnection;
  login: LoginResult;
  /** See {@link nexusKeyOf}. */
  nexusKey: string;
  /** Null in a discovery session. */
  target: Target | null;
  /** The part of the target's logical units that the session sees; null: all. */
  view: LogicalUnitView | null;
  /** What whoever has logged in would find at the other targets. */
  elsewhere: () => Iterable<LogicalUnitView>;
  directory: TargetDirectory;
  buffers: BufferPool;
  log: Logger;
  transport: 'tcp' | 'iser';
  /** End all sessions with a target. */
  endSessionsOf: (target: Target) => void;
}

export class Session implements FullFeatureHost {
  /** All that it has, the oldest first. */
  readonly connections = new Set<TargetConnection>();
  sharedCommands: CommandTable | null = null;
  /** What its leading login has agreed on. */
  readonly parameters: OperationalParameters;
  readonly info: SessionInfo;
  readonly target: Target | null;
  readonly directory: TargetDirectory;
  readonly buffers: BufferPool;
  readonly log: Logger;
  /** See {@link nexusKeyOf}. */
  readonly nexusKey: string;
  /** Set by the side that ends the session, before the connection goes. */
  endReason: EndReason | null = null;
  readonly #nexus: Nexus;
  #isClosed = false;
  readonly #endSessionsOf: (target: Target) => void;

  constructor(options: SessionOptions) {
    const { login, target, view } = options;
    const { identity, parameters } = login;
    this.connections.add(options.connection);
    this.parameters = parameters;
    this.target = target;
    this.directory = options.directory;
    this.buffers = options.buffers;
    this.log = options.log;
    this.info = {
      initiatorName: identity.initiatorName,
      initiatorAlias: login.initiatorAlias,
      isid: identity.isidHex,
      tsih: login.tsih,
      type: identity.sessionType,
      targetName: target?.name ?? null,
      user: login.user,
      peer: options.connection.remote,
      transport: options.transport,
      device: options.connection.device,
      headerDigest: parameters.headerDigest,
      dataDigest: parameters.dataDigest,
    };
    const initiatorPort = initiatorPortName(identity.initiatorName, identity.isidHex);
    this.nexusKey = options.nexusKey;
    this.#nexus = {
      initiatorPort,
      initiatorName: identity.initiatorName,
      relativeTargetPort: identity.target?.portalGroupTag ?? 1,
      versionDescriptor: ISCSI_VERSION_DESCRIPTOR + parameters.iSCSIProtocolLevel,
      ...(view !== null && { view }),
      elsewhere: options.elsewhere,
    };
    this.#endSessionsOf = options.endSessionsOf;
  }

  /**
   * Seconds that it is kept without a connection, besides DefaultTime2Wait. An initiator that does not name the key leaves it at
   * 20 (RFC 7143 13.16), which is no wish to be kept: as long as the target is configured to, at most.
   */
  get time2Retain(): number {
    return Math.min(this.parameters.defaultTime2Retain, this.target?.recovery.defaultTime2Retain ?? 0);
  }

  /** Of the portal that it came by. */
  get portalGroupTag(): number {
    return this.#nexus.relativeTargetPort;
  }

  /** From now on the target's logical units know the nexus. */
  open(): void {
    this.target?.inventory.addNexus(this.#nexus);
  }

  /** CIDs of its connections. */
  get connectionIds(): number[] {
    return [...this.connections].map(({ login }) => login!.identity.cid);
  }

  /** A further connection; one that has the same CID ends (RFC 7143 6.3.4). */
  join(connection: TargetConnection): void {
    const { cid } = connection.login!.identity;
    const old = [...this.connections].filter(({ login }) => login!.identity.cid === cid);
    this.connections.add(connection);
    for (const each of old) {
      if (this.#recoversConnections) each.fullFeature?.removeForRecovery();
      each.drop(null);
    }
    // A login in its place is the logout for recovery (RFC 7143 11.14).
    this.sharedCommands?.lost.logOut(cid, null);
  }

  /** A connection is gone; true if it was the last. The others hear of it unless it was logged out. */
  left(connection: TargetConnection): boolean {
    this.connections.delete(connection);
    const { identity } = connection.login!;
    const { hasLoggedOut = false, isRemoved = false } = connection.fullFeature ?? {};
    const isAnnounced = !hasLoggedOut && !isRemoved && this.endReason === null;
    if (isAnnounced && !this.connectionIds.includes(identity.cid)) {
      const [other] = this.connections;
      other?.fullFeature?.responses.announceLoss(identity.cid);
    }
    return this.connections.size === 0;
  }

  endConnection(phase: FullFeature, connectionId: number | null, forRecovery: boolean): boolean {
    // No connection may join any more.
    if (connectionId === null) this.endReason = 'logout';
    let isKnown = false;
    for (const connection of [...this.connections]) {
      const { fullFeature, login } = connection;
      if (fullFeature === phase || fullFeature === null) continue;
      if (connectionId !== null && login!.identity.cid !== connectionId) continue;
      isKnown = true;
      if (forRecovery) fullFeature.removeForRecovery();
      else fullFeature.hasLoggedOut = true;
      connection.drop(null);
    }
    return isKnown;
  }

  loggedOut(): void {
    if (this.endReason !== 'logout' && this.connections.size > 1) return;
    this.endReason = 'logout';
    this.close();
  }

  get #recoversConnections(): boolean {
    return this.parameters.errorRecoveryLevel === 2 && this.time2Retain > 0;
  }

  keepsTasks(): boolean {
    return this.#recoversConnections && this.endReason === null && !this.#isClosed;
  }

  /** Let time pass. */
  tick(now: number): void {
    const { lost } = this.sharedCommands!;
    if (!lost.isEmpty) lost.tick(now, this.parameters.defaultTime2Wait + this.time2Retain);
  }

  createCommand(phase: FullFeature): TargetCommand {
    return new TargetCommand(phase, this.buffers, this.#view, this.#nexus);
  }

  manageTasks(call: TaskManagementCall): void {
    const isCold = call.function === TaskManagementFunction.TARGET_COLD_RESET;
    // It would end what others do with logical units that this initiator may not even see.
    if (isCold && this.#nexus.view !== undefined) {
      call.respond(TaskManagementResponse.AUTHORIZATION_FAILED);
      return;
    }
    manageTasks(this.#view, this.#nexus, call);
    // A cold reset ends every session with the target (RFC 7143 11.5.1); tasks of a slow device end with them.
    if (isCold) this.#endSessionsOf(this.target!);
    else if (call.function === TaskManagementFunction.I_T_NEXUS_RESET) this.#endByReset();
  }

  /** Its connections are dropped at once, whatever its tasks still wait for (RFC 7144 6.3); an answer that there is leaves first. */
  #endByReset(): void {
    this.endReason = 'reset';
    for (const { fullFeature } of [...this.connections]) fullFeature?.datamover.connectionTerminate();
  }

  get #view(): LogicalUnitView {
    return this.target!.inventory.viewOf(this.#nexus);
  }

  /** I_T nexus loss: its tasks end, its reservations go. What is closed already stays so. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.target?.inventory.removeNexus(this.#nexus);
    this.sharedCommands?.lost.discardAll();
  }
}

/**
 * The same for two logins that make the same I_T nexus: initiator port, target and portal group
 * (RFC 7143 4.4.3). A discovery session makes none, but is reinstated likewise; one that names no target has `portalAddress`
 * in the place of the target's name and portal group (7.4.2.1).
 */
export function nexusKeyOf(identity: LoginIdentity, portalAddress: string): string {
  const { initiatorName, isidHex, target } = identity;
  const where = target === null ? portalAddress : `${target.name} ${target.portalGroupTag}`;
  return `${initiatorName} ${isidHex} ${where}`;
}
