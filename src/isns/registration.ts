/** What a target server registers, as the Operating Attributes of registrations (RFC 4171 5.6.5.1). */

import {
  type Attribute,
  attribute,
  blank,
  EID,
  ENTITY_PROTOCOL,
  ESI_INTERVAL,
  ESI_PORT,
  ISCSI_ALIAS,
  ISCSI_NAME,
  ISCSI_NODE_TYPE,
  NodeType,
  PG_ADDRESS,
  PG_PORT,
  PG_TAG,
  PORTAL_ADDRESS,
  PORTAL_PORT,
  PROTOCOL_ISCSI,
} from './wire/attributes.js';

/** A target. */
export interface Node {
  /** The iSCSI name, normalised. */
  readonly name: string;
  readonly alias: string | null;
  /** Those of the portals that lead to it; null: all do. */
  readonly portalGroupTags: readonly number[] | null;
}

/** A portal by an address that others reach it by. */
export interface RegisteredPortal {
  readonly address: string;
  readonly port: number;
  readonly portalGroupTag: number;
  /** Where it answers Entity Status Inquiries; null: nowhere. */
  readonly esiPort: number | null;
}

export interface Registration {
  readonly nodes: readonly Node[];
  readonly portals: readonly RegisteredPortal[];
}

/** Seconds from one Entity Status Inquiry to the next, as far as the server follows. */
const ESI_INTERVAL_SECONDS = 60;

/**
 * Bytes of Operating Attributes in a message and in its answer. open-isns has 8 KiB for each; its answer to a registration has
 * all of what was registered, with the whole key of each Portal Group.
 */
const BATCH_BYTES = 6144;

/**
 * The Operating Attributes that register `nodes` and `portals` of an entity, in as many messages as they take.
 *
 * @param all the portals that `nodes` are told to be behind, or not
 */
export function registrations(
  entity: string,
  { nodes, portals }: Registration,
  all: readonly RegisteredPortal[] = portals,
): Attribute[][] {
  // Portals first: open-isns relates nodes only to those that it has.
  const objects = [...portals.map(portalAttributes), ...nodes.map((node) => nodeAttributes(node, all))];
  const head = [attribute(EID, entity), attribute(ENTITY_PROTOCOL, PROTOCOL_ISCSI)];
  return batches(objects).map((batch) => [...head, ...batch]);
}

/** The Operating Attributes that deregister nodes and portals (RFC 4171 5.6.5.4), in as many messages as they take. */
export function deregistrations({ nodes, portals }: Registration): Attribute[][] {
  return batches([...nodes.map(({ name }) => [attribute(ISCSI_NAME, name)]), ...portals.map(portalKey)]);
}

/** Objects, put together as they fit. */
function batches(objects: readonly Attribute[][]): Attribute[][] {
  const all: Attribute[][] = [];
  let bytes = Infinity;
  for (const object of objects) {
    const size = answerSize(object);
    if (bytes + size > BATCH_BYTES) {
      all.push([]);
      bytes = 0;
    }
    all.at(-1)!.push(...object);
    bytes += size;
  }
  return all;
}

/** Bytes of an object in an answer, where the name of its node is a part of each Portal Group. */
function answerSize(object: readonly Attribute[]): number {
  const groups = object.filter(({ tag }) => tag === PG_ADDRESS.tag).length;
  const own = object.reduce((sum, each) => sum + bytesOf(each), 0);
  return own + groups * bytesOf(object[0]!);
}

const bytesOf = ({ value }: Attribute): number => 8 + value.length;

/** What is in `a` and not in `b`. */
export function without(a: Registration, b: Registration): Registration {
  return {
    nodes: a.nodes.filter((node) => !b.nodes.some((other) => isSameNode(node, other))),
    portals: a.portals.filter((portal) => !b.portals.some((other) => isSamePortal(portal, other))),
  };
}

export function isEmpty({ nodes, portals }: Registration): boolean {
  return nodes.length === 0 && portals.length === 0;
}

const isSameNode = (a: Node, b: Node): boolean =>
  a.name === b.name && a.alias === b.alias && String(a.portalGroupTags) === String(b.portalGroupTags);

const isSamePortal = (a: RegisteredPortal, b: RegisteredPortal): boolean =>
  a.address === b.address &&
  a.port === b.port &&
  a.portalGroupTag === b.portalGroupTag &&
  a.esiPort === b.esiPort;

function portalKey({ address, port }: RegisteredPortal): Attribute[] {
  return [attribute(PORTAL_ADDRESS, address), attribute(PORTAL_PORT, port)];
}

function portalAttributes(portal: RegisteredPortal): Attribute[] {
  const attributes = portalKey(portal);
  if (portal.esiPort !== null) {
    attributes.push(attribute(ESI_INTERVAL, ESI_INTERVAL_SECONDS), attribute(ESI_PORT, portal.esiPort));
  }
  return attributes;
}

/**
 * With the tag of each portal (RFC 4171 5.6.5.1): a PGT, then the portals that it is of; one without a value before
 * those that do not lead there.
 */
function nodeAttributes(
  { name, alias, portalGroupTags }: Node,
  portals: readonly RegisteredPortal[],
): Attribute[] {
  const attributes = [attribute(ISCSI_NAME, name), attribute(ISCSI_NODE_TYPE, NodeType.TARGET)];
  if (alias !== null) attributes.push(attribute(ISCSI_ALIAS, alias));
  for (const { address, port, portalGroupTag } of portals) {
    const leadsThere = portalGroupTags?.includes(portalGroupTag) ?? true;
    attributes.push(leadsThere ? attribute(PG_TAG, portalGroupTag) : blank(PG_TAG));
    attributes.push(attribute(PG_ADDRESS, address), attribute(PG_PORT, port));
  }
  return attributes;
}
