/**
 * The target server: portals on which initiators arrive, targets that they log in to, and the sessions
 * between. This is where everything below is put together.
 */

import { MonotonicClock } from './clock.js';
import { hugeSlabs } from './huge-slabs.js';
import { ChallengeSource, parseIscsiName } from '../iscsi/index.js';
import { adapterProviders, type RdmaProvider } from '../rdma/index.js';
import { CopyManager } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import { type Logger, silentLogger } from '../util/logger.js';
import { BufferPool } from '../util/memory.js';
import { type Authentication, ChapUsers } from './authentication.js';
import { FailedLogins, type FailedLoginLimits } from './failed-logins.js';
import { Adapters } from './adapters.js';
import { type Address, Portal } from './portal.js';
import { softwareRdma } from './rdma.js';
import type { SessionInfo } from './session.js';
import { SessionRegistry } from './session-registry.js';
import { Target, type TargetOptions } from './target.js';

/** Bounds that hold before memory is taken or time is spent. */
export interface TargetLimits extends FailedLoginLimits {
  /** A login that takes longer is dropped, milliseconds. */
  loginTimeoutMs: number;
  /** Silence after which an initiator is asked for a sign of life, milliseconds. */
  keepaliveIntervalMs: number;
  /** How long it may take to give one, milliseconds. */
  keepaliveTimeoutMs: number;
  /** Commands that a session may have active at a time. */
  commandWindow: number;
  /** Connections in their login phase, on all portals together; for one more the oldest is dropped. */
  pendingLogins: number;
  /** Sessions at a time. */
  sessions: number;
  /** Data buffers of all sessions together, bytes. */
  bufferBytes: number;
}

export const DEFAULT_LIMITS: TargetLimits = {
  loginTimeoutMs: 15_000,
  keepaliveIntervalMs: 30_000,
  keepaliveTimeoutMs: 15_000,
  commandWindow: 256,
  pendingLogins: 1024,
  sessions: 4096,
  bufferBytes: 512 << 20,
  failedLogins: 10,
  failedLoginWindowMs: 60_000,
  failedLoginPauseMs: 60_000,
};

/** How often time is let pass for connections, milliseconds at most. */
const TICK_MS = 1000;

/** What the owner of a server may want to hear of. */
export interface TargetServerEvents {
  sessionOpened(session: SessionInfo): void;
  /** `reason`: one phrase for people. */
  sessionClosed(session: SessionInfo, reason: string): void;
}

export interface TargetServerOptions {
  log?: Logger;
  limits?: Partial<TargetLimits>;
  /** How those are authenticated who ask which targets there are. Absent: they are not. */
  discoveryAuthentication?: Authentication;
  /** Whose devices portals listen on for iSER, besides software iWARP; none for an empty list. Default: those of all adapters. */
  adapters?: readonly RdmaProvider[];
  /** Data buffers are on huge pages, as long as the system has free ones. */
  hugePages?: boolean;
}

/**
 * @example
 * const server = new TargetServer();
 * const target = server.addTarget({ name: 'iqn.2026-11.com.example:disk' });
 * target.addLun(0, { device: new MemoryDevice({ size: 1 << 30, blockSize: 512 }) });
 * const { port } = await server.listen({ address: '127.0.0.1', port: 3260 });
 */
export class TargetServer {
  readonly #log: Logger;
  readonly #limits: TargetLimits;
  readonly #targets = new Map<string, Target>();
  readonly #portals: Portal[] = [];
  readonly #registry: SessionRegistry;
  readonly #clock: MonotonicClock;
  readonly #failedLogins: FailedLogins;
  readonly #copyManager = new CopyManager({ now: () => this.#clock.now(), defer: setImmediate });
  readonly #rdma = softwareRdma();
  readonly #adapters: Adapters;
  #discoveryUsers: ChapUsers | null = null;
  #lastPortalGroupTag = 0;

  /** @throws RiserError `AUTHENTICATION` */
  constructor(options: TargetServerOptions = {}) {
    this.#log = options.log ?? silentLogger;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#adapters = new Adapters(options.adapters ?? adapterProviders(), this.#log);
    this.#failedLogins = new FailedLogins(this.#limits);
    this.authenticateDiscovery(options.discoveryAuthentication ?? null);
    this.#registry = new SessionRegistry({
      targets: this.#targets,
      limits: this.#limits,
      buffers: new BufferPool(
        this.#limits.bufferBytes,
        options.hugePages === true ? hugeSlabs(this.#log) : undefined,
      ),
      log: this.#log,
      portals: this.#portals,
      admission: {
        targets: this.#targets,
        discoveryUsers: () => this.#discoveryUsers,
        failedLogins: this.#failedLogins,
        challenges: new ChallengeSource(),
        now: () => this.#clock.now(),
        log: this.#log,
      },
    });
    const { loginTimeoutMs, keepaliveIntervalMs, keepaliveTimeoutMs } = this.#limits;
    const shortest = Math.min(loginTimeoutMs, keepaliveIntervalMs, keepaliveTimeoutMs);
    this.#clock = new MonotonicClock(Math.min(TICK_MS, Math.max(10, shortest / 4)), (now) => {
      this.#registry.tick(now);
    });
  }

  /** Set to hear of sessions. */
  set events(events: TargetServerEvents) {
    this.#registry.events = events;
  }

  /**
   * Authenticate those who ask which targets there are; null: do not, from the next login on.
   *
   * @throws RiserError `AUTHENTICATION`; then nothing has changed
   */
  authenticateDiscovery(authentication: Authentication | null): void {
    this.#discoveryUsers = authentication === null ? null : new ChapUsers(authentication);
  }

  /** Other limits for failed logins from now on. */
  limitFailedLogins(limits: FailedLoginLimits): void {
    this.#failedLogins.limits = limits;
  }

  /**
   * A new target without logical units.
   *
   * @throws RiserError `TARGET_NAME` if the name is no iSCSI name, `TARGET_TAKEN` if there is such a target,
   *   `ACCESS_RULE`, `AUTHENTICATION` and `REDIRECT` if a rule, a secret or an address is no good
   *
   * @example
   * server.addTarget({
   *   name: 'iqn.2026-11.com.example:disk',
   *   authentication: { chap: { users: [{ name: 'alice', secret: process.env.ALICE_SECRET }] } },
   *   // From this network alice sees all logical units; everybody else finds no such target.
   *   access: [{ addresses: ['192.0.2.0/24'], users: ['alice'] }],
   * });
   */
  addTarget(options: TargetOptions): Target {
    const parsed = parseIscsiName(options.name);
    if ('error' in parsed) {
      throw new RiserError('TARGET_NAME', `target name ${JSON.stringify(options.name)}: ${parsed.error}`, {
        by: 'local',
        costs: 'task',
        remedy: 'Names look like iqn.2026-11.com.example:disk.',
      });
    }
    const { name } = parsed;
    if (this.#targets.has(name)) {
      throw new RiserError('TARGET_TAKEN', `there is a target ${name} already`, {
        by: 'local',
        costs: 'task',
      });
    }
    const target: Target = new Target({ ...options, name }, this.#copyManager, this.#log, (portals) => {
      this.#registry.endSessions(
        (session) =>
          session.target === target && (portals === null || portals.includes(session.portalGroupTag)),
      );
    });
    this.#targets.set(name, target);
    return target;
  }

  /** Stop serving a target; its sessions are told and ended. */
  removeTarget(name: string): void {
    const target = this.#targets.get(name);
    if (target === undefined) return;
    this.#targets.delete(name);
    this.#registry.endSessions((session) => session.target === target);
  }

  /**
   * Open a portal. Port 0 takes any free one.
   *
   * @param portalGroupTag 1 to 65535, which is the relative target port identifier, too; by default the next one, from 1 on
   * @returns the address with the port that it really has
   * @throws the system's error, such as EADDRINUSE
   */
  async listen(address: Address, portalGroupTag = this.#lastPortalGroupTag + 1): Promise<Address> {
    // Each portal is a group of its own unless told otherwise: sessions over two portals are two paths (RFC 7143 4.4.3).
    this.#lastPortalGroupTag = Math.max(this.#lastPortalGroupTag, portalGroupTag);
    const portal = new Portal(portalGroupTag, this.#registry, this.#clock, this.#rdma, this.#log);
    const actual = await portal.listen(address);
    this.#portals.push(portal);
    this.#clock.start();
    await this.#adapters.serve(portal);
    return actual;
  }

  /** All sessions that there are now. */
  sessions(): SessionInfo[] {
    return this.#registry.sessions();
  }

  /**
   * Stop: no new connections; initiators are told by an Async Message, and whatever they have not ended
   * after `graceMs` milliseconds is cut. Devices stay open: they are the caller's.
   */
  async close({ graceMs = 1000 }: { graceMs?: number } = {}): Promise<void> {
    const closed = this.#portals.splice(0).map((portal) => portal.close());
    await this.#adapters.stop();
    await this.#registry.close(graceMs);
    await Promise.all(closed);
    this.#clock.stop();
    await this.#rdma.close();
    await this.#adapters.close();
  }
}
