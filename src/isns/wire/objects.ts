/** Objects in a list of Operating Attributes: a key, and what follows until the next one (RFC 4171 5.6.4). */

import {
  type Attribute,
  type AttributeType,
  EID,
  ISCSI_NAME,
  PG_ISCSI_NAME,
  PORTAL_ADDRESS,
} from './attributes.js';

/** The first keys of entities, portals, nodes and Portal Groups. */
const FIRST_KEYS = new Set([EID, PORTAL_ADDRESS, ISCSI_NAME, PG_ISCSI_NAME].map(({ tag }) => tag));

/** The attributes of each object whose first key is a `type`. */
export function objectsIn(attributes: readonly Attribute[], type: AttributeType<unknown>): Attribute[][] {
  const objects: Attribute[][] = [];
  let current: Attribute[] | null = null;
  for (const attribute of attributes) {
    if (attribute.tag === type.tag) objects.push((current = []));
    else if (FIRST_KEYS.has(attribute.tag)) current = null;
    current?.push(attribute);
  }
  return objects;
}
