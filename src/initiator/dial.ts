/** Makes connections to portals, over TCP or over RDMA. */

import type { Socket } from 'node:net';
import {
  connectIser,
  connectTcp,
  type DatamoverEvents,
  type InitiatorDatamover,
  RegisteredMemory,
} from '../datamover/index.js';
import { infoOf } from '../rdma/index.js';
import { IwarpDevice } from '../rdma/iwarp/device.js';
import type { RdmaConnection } from '../rdma/verbs.js';
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
 * @throws RiserError `CONNECT`, `NO_ISER` where somebody is there who does not speak it; the signal's reason when it is aborted
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
  let connection: RdmaConnection | null = null;
  try {
    connection = await device.resolve({
      ...portal,
      timeout: timeoutMs,
      ...(signal !== null && { signal }),
    });
    return await connectIser(connection, registered, events);
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof RiserError)) throw error;
    // With a connection of TCP there is an address.
    const isReached = connection !== null && connection.localAddress !== '';
    throw withoutIser(portal, error, isReached, timeoutMs);
  }
}

/** A login in TCP's streaming mode. */
export interface StreamingMode {
  readonly datamover: InitiatorDatamover;
  /** When it is over: let RDMA take the connection over. @throws RiserError `NO_ISER` */
  enterRdma(): Promise<InitiatorDatamover>;
}

/**
 * A Datamover over TCP, on a connection that RDMA can take over behind the login (RFC 7145 5.1); both tell `events`.
 *
 * @throws RiserError `CONNECT`; the signal's reason when it is aborted
 */
export async function openStreamingMode(
  portal: PortalAddress,
  events: DatamoverEvents,
  timeoutMs: number,
  signal: AbortSignal | null,
): Promise<StreamingMode> {
  const socket = await dialPortal(portal, timeoutMs, signal);
  const info = infoOf(socket);
  const datamover = connectTcp(socket, events);
  return {
    datamover,
    enterRdma: async () => {
      const stream = datamover.handOver();
      const { device, registered } = useRdma();
      // It has told its end.
      if (stream === null)
        throw new RiserError('NO_ISER', 'the target has sent more behind the login', {
          by: 'peer',
          costs: 'session',
        });
      const options = { timeout: timeoutMs, ...(signal !== null && { signal }) };
      try {
        return await connectIser(device.connectStream(stream, info, options), registered, events);
      } catch (error) {
        signal?.throwIfAborted();
        throw error instanceof RiserError ? withoutIser(portal, error, true, timeoutMs) : error;
      }
    },
  };
}

/** What stands in the way of iSER, in terms of iSCSI: what went wrong in MPA means nothing to who wants a disk. */
function withoutIser(
  { host, port }: PortalAddress,
  cause: RiserError,
  isReached: boolean,
  timeoutMs: number,
): RiserError {
  if (cause.code === 'RDMA_UNREACHABLE') return unreached(host, port, cause.cause as NodeJS.ErrnoException);
  if (cause.code === 'RDMA_TIMEOUT' && !isReached) return silent(host, port, timeoutMs, cause);
  return new RiserError('NO_ISER', `${host} port ${port} ${saidToIwarp(cause, timeoutMs)}`, {
    by: 'peer',
    costs: 'session',
    cause,
    remedy:
      'Use iscsi:// for TCP, or auto://, which takes what there is; or switch iSER on at the target (targetcli: enable_iser).',
  });
}

function saidToIwarp({ code, message }: RiserError, timeoutMs: number): string {
  switch (code) {
    case 'RDMA_REJECTED':
      return 'speaks iWARP, but rejects iSER';
    case 'RDMA_CLOSED':
      return 'does not speak iSER (it closed the connection when it was asked for iWARP)';
    case 'RDMA_TIMEOUT':
      return `does not speak iSER (it did not answer within ${timeoutMs / 1000} s when it was asked for iWARP)`;
    default:
      return `does not speak iSER (asked for iWARP: ${message})`;
  }
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
    return cause === null ? silent(host, port, timeoutMs, null) : unreached(host, port, cause);
  });
}

function silent(host: string, port: number, timeoutMs: number, cause: unknown): RiserError {
  return refused(`${host} port ${port} does not answer within ${timeoutMs / 1000} s`, cause);
}

function unreached(host: string, port: number, cause: NodeJS.ErrnoException): RiserError {
  return refused(`cannot connect to ${host} port ${port}: ${reasonOf(cause)}`, cause);
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
