/** Errors of the addon as the contract's. */

import { getSystemErrorName } from 'node:util';
import { RiserError } from '../../util/errors.js';

/** `ENOMEM` and the like; null when it is no error of the system. */
export function errnoName(error: unknown): string | null {
  const errno = (error as { errno?: unknown } | null)?.errno;
  return typeof errno === 'number' && errno > 0 ? getSystemErrorName(-errno) : null;
}

/** Call the addon to make something; what it throws becomes a RiserError. */
export function nativeError<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (cause) {
    const name = errnoName(cause);
    throw new RiserError('RDMA_RESOURCES', `the device has not made ${what}: ${messageOf(cause)}`, {
      by: 'device',
      costs: 'task',
      cause,
      ...(name === 'ENOMEM'
        ? { remedy: 'Raise the limit of locked memory: "ulimit -l", or LimitMEMLOCK= of the service.' }
        : {}),
    });
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function connectionError(code: string, message: string, cause?: unknown): RiserError {
  return new RiserError(code, message, { by: 'peer', costs: 'connection', cause });
}

export function deviceError(message: string): RiserError {
  return new RiserError('RDMA_DEVICE', message, { by: 'device', costs: 'connection' });
}
