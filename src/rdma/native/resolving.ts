/** The way to a peer: its address, the device that leads there, and the route. */

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';

import type { ResolveOptions } from '../verbs.js';
import { CmEvent } from './constants.js';
import type { NativeDevice } from './device.js';
import { connectionError, errnoName, messageOf } from './errors.js';
import type { NativeConnectionEvent, NativeIdHandle } from './library.js';

const DEFAULT_TIMEOUT = 10_000;
/** Milliseconds for one look for a peer's address: the kernel overlooks a neighbour that answers at once until that time is over. */
const LOOK_UP_TIMEOUT = 1000;

/** What the making of a connection may take. */
export interface Limits {
  /** As `performance.now()` has it. */
  readonly deadline: number;
  readonly timeout: number;
  readonly signal: AbortSignal | null;
}

/** Lead `id`, whose events come by `key`, to the peer. What is left of the time for the rest. @throws RiserError; the signal's reason */
export async function findWay(
  device: NativeDevice,
  id: NativeIdHandle,
  key: number,
  { host, port, timeout = DEFAULT_TIMEOUT, signal }: ResolveOptions,
): Promise<Limits> {
  signal?.throwIfAborted();
  const deadline = performance.now() + timeout;
  const address = await addressOf(host);
  signal?.throwIfAborted();
  let timer: NodeJS.Timeout | undefined;
  let abort: (() => void) | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      abort = () => reject(signal!.reason as Error);
      signal?.addEventListener('abort', abort, { once: true });
      timer = setTimeout(
        () =>
          reject(connectionError('RDMA_TIMEOUT', `no way to ${host} was found within ${timeout / 1000} s`)),
        timeout,
      );
      const failed = (why: string, cause?: unknown): void =>
        reject(connectionError('RDMA_UNREACHABLE', `there is no way to ${host} by RDMA: ${why}`, cause));
      const handle = (event: NativeConnectionEvent): void => {
        if (event.type === CmEvent.ROUTE_RESOLVED) resolve();
        else if (event.type === CmEvent.ADDR_ERROR && errnoName({ errno: -event.status }) === 'ETIMEDOUT')
          lookUp();
        else if (event.type !== CmEvent.ADDR_RESOLVED)
          failed(errnoName({ errno: -event.status }) ?? 'none is known');
        else if (id.device() !== device.name)
          failed(`the way there is by the device ${id.device() ?? 'of nobody'}, not by ${device.name}`);
        else id.resolveRoute(timeout);
      };
      const lookUp = (): void => {
        try {
          id.resolveAddress(address, port, Math.min(timeout, LOOK_UP_TIMEOUT));
        } catch (cause) {
          failed(messageOf(cause), cause);
        }
      };
      device.addId(key, { handle });
      lookUp();
    });
  } finally {
    clearTimeout(timer);
    if (abort !== undefined) signal?.removeEventListener('abort', abort);
  }
  return { deadline, timeout, signal: signal ?? null };
}

async function addressOf(host: string): Promise<string> {
  // With an interface, which only the system's own resolver knows.
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch (cause) {
    throw connectionError('RDMA_UNREACHABLE', `there is no host "${host}"`, cause);
  }
}
