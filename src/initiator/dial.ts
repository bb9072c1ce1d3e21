/** Makes connections to portals, over TCP or over RDMA. */

import type { Socket } from 'node:net';
import {
  connectIser,
  connectTcp,
  type DatamoverEvents,
  type InitiatorDatamover,
  RegisteredMemory,
} from '../datamover/index.js';
import { IwarpDevice } from '../rdma/iwarp/device.js';
import { dial } from '../stream/index.js';
import { RiserError } from '../util/errors.js';
import type { PortalAddress } from './url.js';

/** Bytes of applications' memory that stay registered although no task uses them. */
const KEPT_REGISTERED = 256 << 20;

/** Of all sessions of the process; made when the first one wants it. */
let rdma: { readonly device: IwarpDevice; readonly registered: RegisteredMemory } | null = null;

function useRdma(): NonNullable<typeof rdma> {
  if (rdma === null) {
    const device = new IwarpDevice();
    rdma = { device, registered: new RegisteredMemory(device, KEPT_REGISTERED) };
  }
  return rdma;
}

/**
 * A Datamover that is connected; `events` are told from now on.
 *
 * @throws RiserError `CONNECT`, `RDMA_REJECTED` and others of connecting; the signal's reason when it is aborted
 */
export async function openDatamover(
  portal: PortalAddress,
  transport: 'tcp' | 'iser',
  events: DatamoverEvents,
  timeoutMs: number,
  signal: AbortSignal | null,
): Promise<InitiatorDatamover> {
  if (transport === 'tcp') return connectTcp(await dialPortal(portal, timeoutMs, signal), events);
  const { device, registered } = useRdma();
  const connection = await device.resolve({
    ...portal,
    timeout: timeoutMs,
    ...(signal !== null && { signal }),
  });
  return connectIser(connection, registered, events);
}

/**
 * A connected socket.
 *
 * @throws RiserError `CONNECT` when there is nobody, or nobody answers within `timeoutMs` milliseconds; the
 * signal's reason when it is aborted
 */
function dialPortal(
  { host, port }: PortalAddress,
  timeoutMs: number,
  signal: AbortSignal | null,
): Promise<Socket> {
  return dial(host, port, timeoutMs, signal, (cause) => {
    if (cause === null)
      return refused(`${host} port ${port} does not answer within ${timeoutMs / 1000} s`, null);
    return refused(`cannot connect to ${host} port ${port}: ${reasonOf(cause)}`, cause);
  });
}

function refused(message: string, cause: unknown): RiserError {
  return new RiserError('CONNECT', message, {
    by: 'peer',
    costs: 'session',
    cause,
    remedy: 'Check address and port (3260 unless told otherwise), and that the target is running.',
  });
}

function reasonOf(cause: NodeJS.ErrnoException): string {
  switch (cause.code) {
    case 'ECONNREFUSED':
      return 'nobody listens there';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'there is no such host';
    default:
      return cause.message === '' ? (cause.code ?? 'unknown error') : cause.message;
  }
}
