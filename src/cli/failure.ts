/**
 * Failures as the user sees them: `error: what happened`, then the remedy, then an exit code.
 *
 * | exit code | means                                                                                   |
 * | --------- | --------------------------------------------------------------------------------------- |
 * | 0         | did what was asked; a server, `ping`, `bench`: or stopped because a signal asked for it |
 * | 1         | could not do it, or could not go on; `compare`, `copy --verify`: there is a difference; |
 * |           | `ping`: an answer is missing; `ls`: something could not be looked at; `doctor`: there   |
 * |           | is a problem                                                                            |
 * | 2         | the command line or the configuration file is wrong; `compare`: could not compare       |
 * | 128 + n   | signal n ended it before it was done, or a second one cut the stop short                |
 */

import { RiserError, systemCode } from '../util/errors.js';
import { formatPortal, type Portal } from './portal.js';

export const ExitCode = {
  SUCCESS: 0,
  FAILURE: 1,
  /** Of `compare`, as cmp and diff have it. */
  DIFFERENT: 1,
  USAGE: 2,
  /** Of `compare`, as cmp and diff have it. */
  TROUBLE: 2,
  SIGNAL: 128,
} as const;

/** Errors that are mistakes on the command line or in the configuration file. */
const USAGE_CODES: ReadonlySet<string> = new Set(['USAGE', 'CONFIGURATION', 'URL', 'NBD_URI', 'BENCH_PLAN']);

/** What the user asked for makes no sense; exits with 2. */
export function usageError(message: string, remedy?: string): RiserError {
  return new RiserError('USAGE', message, { by: 'local', costs: 'process', ...(remedy && { remedy }) });
}

/** The configuration file is wrong; exits with 2. `message` has one line for each problem. */
export function configurationError(message: string, cause?: unknown): RiserError {
  return new RiserError('CONFIGURATION', message, { by: 'local', costs: 'process', cause });
}

/** Why a portal cannot be opened, with what to do about it. */
export function portalError(portal: Portal, cause: unknown): RiserError {
  const where = formatPortal(portal);
  const options = { by: 'local', costs: 'process', cause } as const;
  switch (systemCode(cause)) {
    case 'EADDRINUSE':
      return new RiserError('PORTAL_IN_USE', `${where} is in use by another program`, {
        ...options,
        remedy: `Stop that program, or choose another port: --portal ${formatPortal({ ...portal, port: portal.port + 1 })}`,
      });
    case 'EACCES':
      return new RiserError('PORTAL_FORBIDDEN', `this user may not open port ${portal.port}`, {
        ...options,
        remedy: 'Choose a port from 1024 up; 3260 is the one that iSCSI initiators expect.',
      });
    case 'EADDRNOTAVAIL':
      return new RiserError('PORTAL_NOT_HERE', `${portal.address} is not an address of this machine`, {
        ...options,
        remedy: 'Choose one of its own addresses, or 0.0.0.0 (IPv4) or [::] (IPv6) for all of them.',
      });
    default:
      return new RiserError('PORTAL', `cannot open ${where}: ${messageOf(cause)}`, options);
  }
}

/** The lines for standard error. */
export function describeFailure(error: unknown): string {
  const lines = [`error: ${messageOf(error)}`];
  if (error instanceof RiserError && error.remedy !== undefined) lines.push(error.remedy);
  return lines.join('\n');
}

export function exitCodeOf(error: unknown): number {
  return error instanceof RiserError && USAGE_CODES.has(error.code) ? ExitCode.USAGE : ExitCode.FAILURE;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
