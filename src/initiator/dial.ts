/** Makes connections to portals, over TCP or over RDMA. */

import type { Socket } from 'node:net';
import {
  connectIser,
  connectTcp,
  type DatamoverEvents,
  type InitiatorDatamover,
} from '../datamover/index.js';
import { infoOf } from '../rdma/index.js';
import type { RdmaConnection } from '../rdma/verbs.js';
import { dial } from '../stream/index.js';
import { RiserError } from '../util/errors.js';
import { type DeviceChoice, devicesFor, type InitiatorRdma, softwareRdma } from './rdma-devices.js';
import type { PortalAddress } from './url.js';

/** Where there is another way, an adapter's may take this long to come about, milliseconds. */
const ADAPTER_TIMEOUT_MS = 2000;

/**
 * A Datamover that is connected; `events` are told from now on.
 *
 * @throws RiserError `CONNECT`, `NO_ISER` where somebody is there who does not speak it, `RDMA_DEVICE_MISSING`,
 *   `RDMA_DEVICE_AMBIGUOUS`, {@link OWN_ERRORS}; the signal's reason when it is aborted
 */
export async function openDatamover(
  portal: PortalAddress,
  transport: 'tcp' | 'iser',
  events: DatamoverEvents,
  timeoutMs: number,
  signal: AbortSignal | null,
  choice: DeviceChoice = {},
): Promise<InitiatorDatamover> {
  if (transport === 'tcp') return connectTcp(await dialPortal(portal, timeoutMs, signal), events);
  const devices = await devicesFor(choice);
  const last = devices.pop()!;
  // An adapter that does not lead there, or to somebody who does not listen on one, is passed over.
  const remarks: string[] = [];
  for (const { name, open } of devices) {
    try {
      return await connectBy(open, portal, events, Math.min(timeoutMs, ADAPTER_TIMEOUT_MS), signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof RiserError)) throw error;
      if (error.code !== 'RDMA_UNREACHABLE') remarks.push(`${name}: ${error.message}`);
    }
  }
  let isReached = false;
  try {
    return await connectBy(last.open, portal, events, timeoutMs, signal, (connection) => {
      // With a connection of TCP there is an address.
      isReached = connection.localAddress !== '';
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof RiserError)) throw error;
    throw withoutIser(portal, error, isReached, timeoutMs, remarks);
  }
}

/** `failed`: sees the connection that cannot be connected. */
async function connectBy(
  open: () => Promise<InitiatorRdma>,
  portal: PortalAddress,
  events: DatamoverEvents,
  timeout: number,
  signal: AbortSignal | null,
  failed: (connection: RdmaConnection) => void = () => undefined,
): Promise<InitiatorDatamover> {
  const rdma = await open();
  const connection = await rdma.device.resolve({ ...portal, timeout, ...(signal !== null && { signal }) });
  try {
    const datamover = await connectIser(connection, rdma.registered, events);
    rdma.add(datamover);
    return datamover;
  } catch (error) {
    failed(connection);
    throw error;
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
      const { device, registered } = softwareRdma();
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
        throw error instanceof RiserError ? withoutIser(portal, error, true, timeoutMs, []) : error;
      }
    },
  };
}

/** They say themselves what is wrong on this machine. */
const OWN_ERRORS = new Set([
  'OUT_OF_MEMORY',
  'RDMA_DEVICE',
  'RDMA_DEVICE_MISSING',
  'RDMA_MEMORY',
  'RDMA_REGISTRATION',
  'RDMA_RESOURCES',
]);

/** What stands in the way of iSER, in terms of iSCSI: what went wrong in MPA means nothing to who wants a disk. */
function withoutIser(
  { host, port }: PortalAddress,
  cause: RiserError,
  isReached: boolean,
  timeoutMs: number,
  remarks: readonly string[],
): RiserError {
  if (OWN_ERRORS.has(cause.code)) return cause;
  if (cause.code === 'RDMA_UNREACHABLE')
    return unreached(host, port, cause.cause instanceof Error ? cause.cause : cause);
  if (cause.code === 'RDMA_TIMEOUT' && !isReached) return silent(host, port, timeoutMs, cause);
  return new RiserError(
    'NO_ISER',
    `${host} port ${port} ${[saidToIwarp(cause, timeoutMs), ...remarks].join('; ')}`,
    {
      by: 'peer',
      costs: 'session',
      cause,
      remedy:
        'Use iscsi:// for TCP, or auto://, which takes what there is; or switch iSER on at the target (targetcli: enable_iser).',
    },
  );
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
