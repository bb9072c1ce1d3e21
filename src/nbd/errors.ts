/** Errors of the NBD protocol, in either role. */

import { RiserError } from '../util/errors.js';

/** The peer said what the protocol forbids. It costs the connection, and a server its trust. */
export function violation(message: string): RiserError {
  return new RiserError('NBD_PROTOCOL', message, { by: 'peer', costs: 'connection' });
}

/** What a peer says in words, to stand at the end of an error's message: without control characters. */
export function detail(words: string): string {
  return words === '' ? '' : `: ${words.replace(/\p{Cc}/gu, ' ')}`;
}
