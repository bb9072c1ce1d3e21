/** Which targets an iSNS server knows, and where they are (RFC 4171 5.6.5.2, 5.6.5.3). */

import { type ConnectionOptions, IsnsConnection } from './connection.js';
import { IsnsRefusal, type ServerAddress } from './errors.js';
import {
  type Attribute,
  attribute,
  type AttributeType,
  blank,
  EID,
  ENTITY_PROTOCOL,
  find,
  ISCSI_ALIAS,
  ISCSI_NAME,
  ISCSI_NODE_TYPE,
  NodeType,
  PG_ADDRESS,
  PG_ISCSI_NAME,
  PG_PORT,
  PG_TAG,
  PORTAL_ADDRESS,
  PORTAL_PORT,
  PROTOCOL_ISCSI,
  UDP,
} from './wire/attributes.js';
import { FunctionId, Status } from './wire/codes.js';
import { malformed } from './wire/malformed.js';
import type { Response } from './wire/message.js';
import { objectsIn } from './wire/objects.js';
import { isMissing, isUnknownSource, queryAttributes } from './query.js';

/** The port of a portal that is registered with the canonical one (RFC 4171 6.3.2). */
const ISCSI_PORT = 3260;

/** More nodes than this are no iSNS database but a server that does not end. */
const MAX_NODES = 65_536;

export interface IsnsPortal {
  /** IPv4 or IPv6 address, without brackets. */
  readonly host: string;
  readonly port: number;
  /** Null if the server does not say. */
  readonly portalGroupTag: number | null;
}

export interface IsnsTarget {
  readonly name: string;
  readonly alias: string | null;
  readonly portals: readonly IsnsPortal[];
}

export interface DiscoveryOptions extends ConnectionOptions {
  /** Who asks. The server tells the targets that share a Discovery Domain with it. */
  initiatorName: string;
}

/**
 * The targets that an iSNS server shows to an initiator. One that the server does not know, and therefore shows
 * nothing, is registered while it asks.
 *
 * @throws RiserError `ISNS_UNREACHABLE`, `ISNS_UNANSWERED`, `ISNS_REFUSED`, `ISNS_MALFORMED`; the signal's reason
 */
export async function discoverByIsns(
  server: ServerAddress,
  options: DiscoveryOptions,
): Promise<IsnsTarget[]> {
  const connection = await IsnsConnection.open(server, options);
  try {
    const discovery = new Discovery(connection, options.initiatorName);
    const found = await discovery.targets().catch((error: unknown) => {
      if (wantsRegistration(error)) return [];
      throw error;
    });
    if (found.length > 0 || (await discovery.isRegistered())) return found;
    return await discovery.whileRegistered(() => discovery.targets());
  } finally {
    connection.close();
  }
}

/** Whether a server might answer if the initiator were registered there. */
function wantsRegistration(error: unknown): boolean {
  const isDistrusted = error instanceof IsnsRefusal && error.status === Status.SOURCE_UNAUTHORIZED;
  return isDistrusted || isUnknownSource(error);
}

class Discovery {
  readonly #connection: IsnsConnection;
  readonly #name: string;
  readonly #source: Attribute;

  constructor(connection: IsnsConnection, initiatorName: string) {
    this.#connection = connection;
    this.#name = initiatorName;
    this.#source = attribute(ISCSI_NAME, initiatorName);
  }

  async targets(): Promise<IsnsTarget[]> {
    const targets: IsnsTarget[] = [];
    for (const { name, alias } of await this.#targetNodes())
      targets.push({ name, alias, portals: await this.#portalsOf(name) });
    return targets;
  }

  /** Whether there is a node of the initiator's name, which may be somebody else's registration. */
  async isRegistered(): Promise<boolean> {
    try {
      const operating = await this.#query(attribute(ISCSI_NAME, this.#name), [ISCSI_NAME, ISCSI_NODE_TYPE]);
      return find(operating, ISCSI_NAME) !== null;
    } catch (error) {
      if (wantsRegistration(error)) return false;
      throw error;
    }
  }

  /** Register the initiator as an entity whose identifier the server makes, call `ask`, and deregister it. */
  async whileRegistered<T>(ask: () => Promise<T>): Promise<T> {
    await this.#connection.request(FunctionId.DEV_ATTR_REG, `the registration of ${this.#name}`, {
      source: this.#source,
      key: [],
      operating: [
        blank(EID),
        attribute(ENTITY_PROTOCOL, PROTOCOL_ISCSI),
        attribute(ISCSI_NAME, this.#name),
        attribute(ISCSI_NODE_TYPE, NodeType.INITIATOR),
      ],
    });
    try {
      return await ask();
    } finally {
      // With its last node the entity goes, too (RFC 4171 5.6.5.4).
      await this.#connection.request(FunctionId.DEV_DEREG, `the deregistration of ${this.#name}`, {
        source: this.#source,
        key: [],
        operating: [attribute(ISCSI_NAME, this.#name)],
      });
    }
  }

  /** One by one: answers that hold all nodes are more than some servers can send. */
  async #targetNodes(): Promise<{ name: string; alias: string | null }[]> {
    const nodes = new Map<string, { name: string; alias: string | null }>();
    const seen = new Set<string>();
    let key = blank(ISCSI_NAME);
    for (;;) {
      const next = await this.#getNext(key);
      if (next === null) return [...nodes.values()];
      const name = find(next.key, ISCSI_NAME) ?? find(next.operating, ISCSI_NAME);
      if (name === null) throw malformed('names no node where it tells the next one');
      if (seen.has(name) || seen.size === MAX_NODES) throw malformed('tells nodes without an end');
      seen.add(name);
      const type = find(next.operating, ISCSI_NODE_TYPE) ?? 0;
      if ((type & NodeType.TARGET) !== 0) nodes.set(name, { name, alias: find(next.operating, ISCSI_ALIAS) });
      key = attribute(ISCSI_NAME, name);
    }
  }

  /** The node after the one that `key` names; null after the last one. */
  async #getNext(key: Attribute): Promise<Response | null> {
    try {
      return await this.#connection.request(FunctionId.DEV_GET_NEXT, 'to list nodes', {
        source: this.#source,
        key: [key],
        operating: [ISCSI_NAME, ISCSI_NODE_TYPE, ISCSI_ALIAS].map(blank),
      });
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }

  async #portalsOf(target: string): Promise<IsnsPortal[]> {
    return portalsIn(
      await this.#query(attribute(ISCSI_NAME, target), [
        PORTAL_ADDRESS,
        PORTAL_PORT,
        PG_ISCSI_NAME,
        PG_ADDRESS,
        PG_PORT,
        PG_TAG,
      ]),
      target,
    );
  }

  #query(key: Attribute, types: readonly AttributeType<unknown>[]): Promise<readonly Attribute[]> {
    return queryAttributes(this.#connection, this.#source, key, types);
  }
}

/**
 * The portals in the answer to a query for a target, each with the tag of the Portal Group object that relates
 * the two. Where that has no tag, the target is not behind the portal (RFC 4171 3.4).
 *
 * @throws RiserError `ISNS_MALFORMED`
 */
export function portalsIn(attributes: readonly Attribute[], target: string): IsnsPortal[] {
  const portals = objectsIn(attributes, PORTAL_ADDRESS);
  const groups = objectsIn(attributes, PG_ISCSI_NAME);
  const found: IsnsPortal[] = [];
  for (const portal of portals) {
    const host = find(portal, PORTAL_ADDRESS);
    const port = find(portal, PORTAL_PORT);
    if (host === null || port === null || (port & UDP) !== 0) continue;
    const group = groups.find(
      (group) =>
        find(group, PG_ISCSI_NAME) === target &&
        find(group, PG_ADDRESS) === host &&
        find(group, PG_PORT) === port,
    );
    const portalGroupTag = group === undefined ? null : find(group, PG_TAG);
    if (group !== undefined && portalGroupTag === null) continue;
    found.push({ host, port: port & 0xffff || ISCSI_PORT, portalGroupTag });
  }
  return found;
}
