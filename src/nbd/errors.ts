/** Errors of the NBD protocol, in either role. */

import { RiserError } from '../util/errors.js';

/** The peer said what the protocol forbids. It costs the connection, and a server its trust. */
export function violation(message: string): RiserError {
  return new RiserError('NBD_PROTOCOL', message, { by: 'peer', costs: 'connection' });
}
