/**
 * Keeps an iSNS server told of a target server: registers it, refreshes that, brings changes there, and comes back
 * when the server was away. Whatever the server does, nothing of it is thrown at the target.
 */

import { networkInterfaces } from 'node:os';
import { BackOff } from '../util/back-off.js';
import { RiserError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import { IsnsConnection } from './connection.js';
import { formatServer, IsnsRefusal, type ServerAddress } from './errors.js';
import { EsiListener } from './esi-listener.js';
import { type ListeningPortal, reachablePortals } from './portals.js';
import { isUnknownSource, queryAttributes } from './query.js';
import {
  deregistrations,
  isEmpty,
  type Node,
  type RegisteredPortal,
  type Registration,
  registrations,
  without,
} from './registration.js';
import {
  type Attribute,
  attribute,
  EID,
  find,
  ISCSI_NAME,
  PORTAL_ADDRESS,
  PORTAL_PORT,
  REGISTRATION_PERIOD,
} from './wire/attributes.js';
import { Flag, FunctionId, Status } from './wire/codes.js';
import { objectsIn } from './wire/objects.js';

export interface RegistrarOptions {
  server: ServerAddress;
  /** The Entity Identifier: unique, and the same whenever this target server starts. */
  entity: string;
  log: Logger;
  /** For a connection, and for each answer, milliseconds. */
  timeoutMs?: number;
  /** Between two looks whether the registration is still there, milliseconds; less if the server asks for it. */
  checkMs?: number;
  /** Between attempts. */
  backOff?: BackOff;
}

/** What is to be registered. */
export interface Wanted {
  readonly nodes: readonly Node[];
  readonly portals: readonly ListeningPortal[];
}

/** How often the server is asked at most, however short its registration period, milliseconds. */
const SHORTEST_CHECK_MS = 1000;

export class Registrar {
  readonly #server: ServerAddress;
  readonly #entity: string;
  readonly #log: Logger;
  readonly #timeoutMs: number;
  readonly #checkMs: number;
  readonly #backOff: BackOff;
  readonly #esi: EsiListener;
  readonly #controller = new AbortController();
  readonly #loop: Promise<void>;
  #wanted: Wanted;
  /** What the server has; null when that is not known, or it has nothing. */
  #registered: Registration | null = null;
  /** By which addresses it is reached, as of the last attempt. */
  #portals: readonly RegisteredPortal[] = [];
  /** Whether the server may have something of it. */
  #mayBeRegistered = false;
  /** Who asks: the name of a node that the server has, or is about to have. */
  #source = '';
  /** Whether the server sends Entity Status Inquiries, as far as is known. */
  #usesEsi = true;
  /** As the server has it, seconds; null: it has none, or does not tell. */
  #period: number | null = null;
  /** What the log has of the failure that lasts. */
  #trouble: string | null = null;
  #isClosing = false;
  #wake: (() => void) | null = null;

  /** Starts at once. */
  constructor(options: RegistrarOptions, wanted: Wanted) {
    this.#server = options.server;
    // RFC 4171 6.2.1 has nameprep, which folds case.
    this.#entity = options.entity.toLowerCase();
    this.#log = options.log;
    this.#timeoutMs = options.timeoutMs ?? 5000;
    this.#checkMs = options.checkMs ?? 60_000;
    this.#backOff = options.backOff ?? new BackOff(1000, 60_000);
    this.#esi = new EsiListener(
      (entity, address, port) =>
        entity.toLowerCase() === this.#entity &&
        this.#portals.some((portal) => portal.address === address && portal.port === port),
      this.#log,
    );
    this.#wanted = wanted;
    this.#loop = this.#run();
  }

  /** Register this instead. */
  update(wanted: Wanted): void {
    this.#wanted = wanted;
    this.#wake?.();
  }

  /** Deregister what was registered; it takes no longer than `boundMs` milliseconds. */
  async close(boundMs: number): Promise<void> {
    this.#isClosing = true;
    this.#wake?.();
    const timer = setTimeout(() => {
      this.#controller.abort(
        new RiserError('ISNS_UNANSWERED', 'no answer in time', { by: 'peer', costs: 'task' }),
      );
    }, boundMs);
    await this.#loop;
    try {
      if (this.#mayBeRegistered) {
        await this.#connected((connection) => this.#deregister(connection, [attribute(EID, this.#entity)]));
        this.#log.info(`iSNS server ${formatServer(this.#server)}: deregistered`);
      }
    } catch (error) {
      this.#log.warn(
        `iSNS server ${formatServer(this.#server)}: not deregistered, the registration has to expire: ${(error as Error).message}`,
      );
    } finally {
      clearTimeout(timer);
      this.#esi.close();
    }
  }

  async #run(): Promise<void> {
    while (!this.#isClosing) {
      const wanted = this.#wanted;
      let pauseMs: number;
      try {
        await this.#connected((connection) => this.#reconcile(connection, wanted));
        this.#backOff.reset();
        if (this.#trouble !== null)
          this.#log.info(`iSNS server ${formatServer(this.#server)}: all is well again`);
        this.#trouble = null;
        const refreshMs = this.#period === null || this.#period === 0 ? Infinity : (this.#period * 1000) / 3;
        pauseMs = Math.max(SHORTEST_CHECK_MS, Math.min(this.#checkMs, refreshMs));
      } catch (error) {
        this.#tell(error as Error);
        pauseMs = this.#backOff.next();
      }
      if (wanted === this.#wanted) await this.#pause(pauseMs);
    }
  }

  async #connected<T>(act: (connection: IsnsConnection) => Promise<T>): Promise<T> {
    const { signal } = this.#controller;
    const connection = await IsnsConnection.open(this.#server, { timeoutMs: this.#timeoutMs, signal });
    try {
      return await act(connection);
    } finally {
      connection.close();
    }
  }

  /** Have the server know what is wanted. */
  async #reconcile(connection: IsnsConnection, { nodes, portals }: Wanted): Promise<void> {
    if (this.#registered !== null) await this.#look(connection, this.#registered);
    if (nodes.length === 0) {
      await this.#removeEntity(connection);
      return;
    }
    this.#portals = await this.#reachable(portals, connection.localAddress);
    const wanted = { nodes, portals: this.#portals };
    const before = this.#registered;
    // The source of a change is a node that is registered before and after it (RFC 4171 5.6.1).
    const stays = before?.nodes.find(
      (node) => without({ nodes: [node], portals: [] }, wanted).nodes.length === 0,
    );
    if (before === null || stays === undefined) {
      if (before !== null) await this.#removeEntity(connection);
      await this.#registerAll(connection, wanted);
    } else await this.#change(connection, before, wanted, stays.name);
  }

  /** Ask for the entity, which refreshes it, too (RFC 4171 6.2.6, 6.3.4). */
  async #look(connection: IsnsConnection, registered: Registration): Promise<void> {
    const found = await queryAttributes(
      connection,
      attribute(ISCSI_NAME, this.#source),
      attribute(EID, this.#entity),
      [EID, REGISTRATION_PERIOD, PORTAL_ADDRESS, PORTAL_PORT],
    ).catch((error: unknown) => {
      if (isUnknownSource(error)) return [];
      throw error;
    });
    if (find(found, EID) === null) {
      this.#log.warn(`iSNS server ${formatServer(this.#server)}: it has lost the registration`);
      this.#registered = null;
      return;
    }
    this.#period = find(found, REGISTRATION_PERIOD);
    const there = objectsIn(found, PORTAL_ADDRESS).map(
      (portal) => `${find(portal, PORTAL_ADDRESS)} ${find(portal, PORTAL_PORT)}`,
    );
    const portals = registered.portals.filter(({ address, port }) => there.includes(`${address} ${port}`));
    this.#registered = { nodes: registered.nodes, portals };
  }

  /** Instead of whatever is left of an earlier life of this server. */
  async #registerAll(connection: IsnsConnection, wanted: Registration): Promise<void> {
    if (!wanted.nodes.some(({ name }) => name === this.#source)) this.#source = wanted.nodes[0]!.name;
    try {
      await this.#register(connection, registrations(this.#entity, wanted), Flag.REPLACE);
    } catch (error) {
      if (!(error instanceof IsnsRefusal) || error.status !== Status.ESI_NOT_AVAILABLE || !this.#usesEsi)
        throw error;
      this.#usesEsi = false;
      const portals = wanted.portals.map((portal) => ({ ...portal, esiPort: null }));
      await this.#registerAll(connection, { ...wanted, portals });
      return;
    }
    this.#registered = wanted;
    this.#log.info(
      `iSNS server ${formatServer(this.#server)}: registered as ${this.#entity}: ${describe(wanted)}${this.#usesEsi ? '' : ', without Entity Status Inquiries'}`,
    );
  }

  async #change(
    connection: IsnsConnection,
    before: Registration,
    wanted: Registration,
    source: string,
  ): Promise<void> {
    const removed = without(before, wanted);
    const added = without(wanted, before);
    if (isEmpty(removed) && isEmpty(added)) return;
    this.#source = source;
    // Until all of it is done, nothing is known.
    this.#registered = null;
    for (const operating of deregistrations(removed)) await this.#deregister(connection, operating);
    // A new portal is one of all nodes.
    const nodes = added.portals.length > 0 ? wanted.nodes : added.nodes;
    const messages = registrations(this.#entity, { nodes, portals: added.portals }, wanted.portals);
    await this.#register(connection, messages, 0);
    this.#registered = wanted;
    this.#log.info(
      `iSNS server ${formatServer(this.#server)}: ${[
        isEmpty(removed) ? '' : `deregistered ${describe(removed)}`,
        isEmpty(added) ? '' : `registered ${describe(added)}`,
      ]
        .filter((news) => news !== '')
        .join(', ')}`,
    );
  }

  /** `flags`: of the first message; what the others register is added to it. */
  async #register(
    connection: IsnsConnection,
    messages: readonly Attribute[][],
    flags: number,
  ): Promise<void> {
    for (const [i, operating] of messages.entries()) {
      const mightBe = this.#mayBeRegistered;
      this.#mayBeRegistered = true;
      const request = {
        source: attribute(ISCSI_NAME, this.#source),
        key: [attribute(EID, this.#entity)],
        operating,
      };
      const answer = await connection
        .request(FunctionId.DEV_ATTR_REG, 'the registration', request, i === 0 ? flags : 0)
        .catch((error: unknown) => {
          if (isRejection(error)) this.#mayBeRegistered = mightBe;
          throw error;
        });
      this.#period = find(answer.operating, REGISTRATION_PERIOD) ?? this.#period;
    }
  }

  async #removeEntity(connection: IsnsConnection): Promise<void> {
    if (!this.#mayBeRegistered) return;
    await this.#deregister(connection, [attribute(EID, this.#entity)]);
    this.#registered = null;
    this.#mayBeRegistered = false;
    this.#log.info(`iSNS server ${formatServer(this.#server)}: deregistered`);
  }

  async #deregister(connection: IsnsConnection, operating: readonly Attribute[]): Promise<void> {
    const source = attribute(ISCSI_NAME, this.#source);
    await connection
      .request(FunctionId.DEV_DEREG, 'the deregistration', { source, key: [], operating })
      .catch((error: unknown) => {
        // It has lost all of it.
        if (!isUnknownSource(error)) throw error;
      });
  }

  /** @throws RiserError `ISNS_PORTAL` where there is none */
  async #reachable(portals: readonly ListeningPortal[], local: string): Promise<RegisteredPortal[]> {
    const reachable = reachablePortals(portals, local, networkInterfaces());
    if (reachable.length === 0) {
      throw new RiserError('ISNS_PORTAL', 'other machines reach no portal of this target', {
        by: 'local',
        costs: 'task',
        remedy: 'Listen on an address of a network: --portal 0.0.0.0 for all.',
      });
    }
    const registered: RegisteredPortal[] = [];
    for (const { portal, address } of reachable) {
      const esiPort = this.#usesEsi ? await this.#esi.listen(portal.address) : null;
      registered.push({ address, port: portal.port, portalGroupTag: portal.portalGroupTag, esiPort });
    }
    return registered;
  }

  #tell(error: Error): void {
    if (error.message === this.#trouble) return;
    this.#trouble = error.message;
    const remedy = error instanceof RiserError && error.remedy !== undefined ? ` ${error.remedy}` : '';
    this.#log.warn(`${error.message}; trying again.${remedy}`);
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isClosing) {
        resolve();
        return;
      }
      const done = (): void => {
        clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wake = done;
    });
  }
}

/** Whether a server has done nothing of a request (RFC 4171 5.4); isnsd may have done all of it where it has an internal error. */
function isRejection(error: unknown): boolean {
  return error instanceof IsnsRefusal && error.status !== Status.INTERNAL_ERROR;
}

/** `2 targets, 1 portal` */
function describe({ nodes, portals }: Registration): string {
  const counted = (count: number, noun: string): string[] =>
    count === 0 ? [] : [`${count} ${noun}${count === 1 ? '' : 's'}`];
  return [...counted(nodes.length, 'target'), ...counted(portals.length, 'portal')].join(', ');
}
