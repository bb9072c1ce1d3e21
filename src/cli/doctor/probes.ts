/** How a portal is asked whether it speaks a transport, and measured by it. */

import { type IscsiUrl, schemeOf, Session } from '../../initiator/index.js';
import type { RdmaConnection, RdmaDevice } from '../../rdma/index.js';
import { Load } from '../bench/load.js';
import { RiserError } from '../../util/errors.js';
import type { ClientFlags } from '../connection-flags.js';
import { sessionOptionsOf } from '../connection-options.js';
import { roundTrip } from '../inspect/ping.js';
import type { Interruption } from '../interruption.js';
import { openLunDevice } from '../open-device.js';
import { formatPortal } from '../portal.js';
import { openRdmaDevice } from '../rdma/providers.js';
import { RoundTripTimes } from '../round-trips.js';

/** One way to a portal. */
export interface TransportProbe {
  readonly transport: 'iSCSI over TCP' | 'iSER';
  /** The RDMA device that it went by; null before, and over TCP. */
  readonly device: string | null;
  /** Log in, and measure round trips. @throws RiserError why not; the signal's reason */
  roundTrips(): Promise<RoundTripTimes>;
  /** Read from the LUN that the URL names; bytes a second. @throws RiserError why not; the signal's reason */
  bandwidth(): Promise<number>;
}

/** What came of iWARP's startup. */
export interface IwarpAnswer {
  /** Of the TCP connection; empty if there was none. */
  readonly localAddress: string;
  readonly remoteAddress: string;
  /** Milliseconds until the connection stood; or why it did not come about. */
  readonly outcome: number | RiserError;
}

const ROUND_TRIPS = 5;
const PING_BYTES = 56;
/** What every transport is measured with. */
export const LOAD = { blockSize: 128 * 1024, depth: 16, seconds: 2, rampSeconds: 0.25 } as const;
/** Milliseconds that the other end may take to end a connection, before it is left. */
const END_LIMIT = 1000;

/**
 * The private data of iSER's request to connect as the kernel's initiator fills it: neither zero-based addresses nor Send with
 * Invalidate (annex A12 of the InfiniBand architecture). Zeroes may follow; with so many the request is longer than
 * the header of a PDU, which lets a target that speaks iSCSI over TCP see at once that it is none.
 */
const ISER_PRIVATE_DATA = Buffer.alloc(32);
ISER_PRIVATE_DATA[0] = 0xc0;

/** By sessions of the initiator. */
export class SessionProbe implements TransportProbe {
  readonly transport: TransportProbe['transport'];
  device: string | null = null;
  readonly #url: IscsiUrl;
  readonly #flags: ClientFlags;
  readonly #interruption: Interruption;

  constructor(url: IscsiUrl, flags: ClientFlags, interruption: Interruption) {
    this.transport = url.transport === 'iser' ? 'iSER' : 'iSCSI over TCP';
    this.#url = url;
    this.#flags = flags;
    this.#interruption = interruption;
  }

  async roundTrips(): Promise<RoundTripTimes> {
    const session = await Session.open(sessionOptionsOf(this.#url, this.#flags, this.#interruption.signal));
    this.device = session.device;
    try {
      const times = new RoundTripTimes();
      const data = Buffer.alloc(PING_BYTES, 'riser doctor ');
      // The first one pays for what is done once.
      await roundTrip(session, data);
      while (times.sent < ROUND_TRIPS) {
        this.#interruption.signal.throwIfAborted();
        const start = performance.now();
        times.sent++;
        await roundTrip(session, data);
        times.add(performance.now() - start);
      }
      return times;
    } finally {
      await session.close();
    }
  }

  async bandwidth(): Promise<number> {
    const device = await openLunDevice(urlText(this.#url), this.#flags, this.#interruption.signal);
    try {
      const blockSize = Math.min(LOAD.blockSize, device.size);
      const load = new Load({
        ...LOAD,
        devices: [device],
        blockSize,
        isRandom: false,
        readPercent: 100,
        sharesMemory: true,
      });
      this.#interruption.whenCame(() => {
        load.stop();
      });
      await load.run();
      this.#interruption.signal.throwIfAborted();
      return (load.reads.count * blockSize) / load.seconds;
    } finally {
      await device.close();
    }
  }
}

function urlText({ transport, portal, targetName, lun, user }: IscsiUrl): string {
  const where = formatPortal({ address: portal.host, port: portal.port });
  return `${schemeOf(transport)}://${user === null ? '' : `${user}@`}${where}/${targetName ?? ''}/${lun ?? ''}`;
}

/**
 * MPA's startup with iSER's private data: whoever accepts it speaks iWARP, and is asked nothing more. In revision 1, where a
 * connection stands with the reply: in revision 2 the initiator says that it is ready, which Linux' siw may overlook, and then
 * its kernel does not survive the connection's end (docs/PEERS.md).
 *
 * @throws the signal's reason
 */
export async function askIwarp(
  { portal: { host, port } }: IscsiUrl,
  timeout: number,
  signal: AbortSignal,
): Promise<IwarpAnswer> {
  const device = await openRdmaDevice({ device: 'iwarp/iwarp' }, { revision: 1 });
  let connection: RdmaConnection | null = null;
  let outcome: number | RiserError;
  try {
    connection = await device.resolve({ host, port, timeout, signal });
    outcome = await connectOnce(device, connection);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof RiserError)) throw error;
    outcome = error;
  } finally {
    await device.close();
  }
  const { localAddress = '', remoteAddress = '' } = connection ?? {};
  return { localAddress, remoteAddress, outcome };
}

/** Connect, disconnect; milliseconds for the former. */
async function connectOnce(device: RdmaDevice, connection: RdmaConnection): Promise<number> {
  const domain = device.allocateProtectionDomain();
  const queue = device.createCompletionQueue(4);
  let isOver: () => void = () => undefined;
  const over = new Promise<void>((resolve) => (isOver = resolve));
  connection.createQueuePair(
    domain,
    { sendQueue: queue, receiveQueue: queue, maxSendRequests: 1, maxReceiveRequests: 1 },
    { disconnected: () => isOver() },
  );
  try {
    const start = performance.now();
    await connection.connect({ privateData: ISER_PRIVATE_DATA });
    const time = performance.now() - start;
    const timer = setTimeout(isOver, END_LIMIT);
    connection.disconnect();
    await over;
    clearTimeout(timer);
    return time;
  } finally {
    connection.close();
    queue.close();
    domain.close();
  }
}
