/** Queries for attributes of what a key names (RFC 4171 5.6.5.2). */

import type { IsnsConnection } from './connection.js';
import { IsnsRefusal } from './errors.js';
import { type Attribute, type AttributeType, blank } from './wire/attributes.js';
import { FunctionId, Status } from './wire/codes.js';

/**
 * The attributes of `types` of the objects that `key` names, and of those that relate to them; none if there is no
 * such object.
 *
 * @throws what {@link IsnsConnection.request} throws
 */
export async function queryAttributes(
  connection: IsnsConnection,
  source: Attribute,
  key: Attribute,
  types: readonly AttributeType<unknown>[],
): Promise<readonly Attribute[]> {
  try {
    const { operating } = await connection.request(FunctionId.DEV_ATTR_QRY, 'a query', {
      source,
      key: [key],
      operating: types.map(blank),
    });
    return operating;
  } catch (error) {
    // Some servers have a status for it; RFC 4171 wants an answer without Operating Attributes.
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Whether a server answers registered nodes only, and this one is not. */
export function isUnknownSource(error: unknown): boolean {
  if (!(error instanceof IsnsRefusal)) return false;
  return error.status === Status.SOURCE_UNKNOWN || error.status === Status.SOURCE_ABSENT;
}

/** Whether a server has no such object, or none after it. */
export function isMissing(error: unknown): boolean {
  return error instanceof IsnsRefusal && error.status === Status.NO_SUCH_ENTRY;
}
