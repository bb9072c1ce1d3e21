/** What a service has an iSNS server know of it: its targets, and where they are. */

import { hostname } from 'node:os';
import { type ListeningPortal, Registrar, type ServerAddress } from '../isns/index.js';
import type { Logger } from '../util/logger.js';
import { isSame } from './configuration.js';
import { formatPortal } from './portal.js';

/** How long deregistration may take, milliseconds. */
const BOUND = 2000;

/** The longest alias that a server takes, bytes (RFC 4171 6.4.3). */
const ALIAS_LIMIT = 255;

/** A target, and the portal group tags that lead to it; null: all do. */
export interface RegistrableTarget {
  name: string;
  alias: string | undefined;
  portalGroupTags: readonly number[] | null;
}

export class IsnsRegistration {
  readonly #log: Logger;
  #current: { server: ServerAddress; registrar: Registrar } | null = null;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** The server that is told; undefined if there is none. */
  get server(): ServerAddress | undefined {
    return this.#current?.server;
  }

  /** Have `server` know these, and another one no more. */
  async update(
    server: ServerAddress | undefined,
    targets: readonly RegistrableTarget[],
    portals: readonly ListeningPortal[],
  ): Promise<void> {
    const nodes = targets.map((target) => ({ ...target, alias: registrable(target.alias) }));
    if (!isSame(this.#current?.server, server)) await this.close();
    if (server === undefined) return;
    if (this.#current !== null) this.#current.registrar.update({ nodes, portals });
    else {
      const options = { server, entity: entityOf(portals[0]!), log: this.#log };
      this.#current = { server, registrar: new Registrar(options, { nodes, portals }) };
    }
  }

  async close(): Promise<void> {
    const closing = this.#current;
    this.#current = null;
    await closing?.registrar.close(BOUND);
  }
}

/**
 * An Entity Identifier that no other server has, and that stays the same over restarts: two servers of a machine
 * cannot listen on one portal.
 */
function entityOf(portal: ListeningPortal): string {
  return `${hostname()}:${formatPortal(portal)}`;
}

function registrable(alias: string | undefined): string | null {
  return alias === undefined || Buffer.byteLength(alias) > ALIAS_LIMIT ? null : alias;
}
