/** How a portal is asked whether it speaks a transport, and measured by it. */

import { Session } from '../../initiator/index.js';
import type { IscsiUrl } from '../../initiator/url.js';
import type { RdmaConnection, RdmaDevice } from '../../rdma/index.js';
import { Load } from '../bench/load.js';
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
  /**
   * Connect, and end that at once, without a login; milliseconds that it took. Null where only a login tells anything.
   *
   * @throws RiserError why not; the signal's reason
   */
  connects(): Promise<number | null>;
  /** Log in, and measure round trips. @throws RiserError why not; the signal's reason */
  roundTrips(): Promise<RoundTripTimes>;
  /** Read from the LUN that the URL names; bytes a second. @throws RiserError why not; the signal's reason */
  bandwidth(): Promise<number>;
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

/** What both transports have in common: sessions of the initiator. */
abstract class SessionProbe implements TransportProbe {
  abstract readonly transport: TransportProbe['transport'];
  protected readonly url: IscsiUrl;
  protected readonly flags: ClientFlags & { timeout: number };
  protected readonly interruption: Interruption;

  constructor(url: IscsiUrl, flags: ClientFlags & { timeout: number }, interruption: Interruption) {
    this.url = url;
    this.flags = flags;
    this.interruption = interruption;
  }

  abstract connects(): Promise<number | null>;

  protected get options() {
    return sessionOptionsOf(this.url, this.flags, this.interruption.signal);
  }

  async roundTrips(): Promise<RoundTripTimes> {
    const session = await Session.open(this.options);
    try {
      const times = new RoundTripTimes();
      const data = Buffer.alloc(PING_BYTES, 'riser doctor ');
      // The first one pays for what is done once.
      await roundTrip(session, data);
      while (times.sent < ROUND_TRIPS) {
        this.interruption.signal.throwIfAborted();
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
    const device = await openLunDevice(urlText(this.url), this.flags, this.interruption.signal);
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
      this.interruption.whenCame(() => {
        load.stop();
      });
      await load.run();
      this.interruption.signal.throwIfAborted();
      return (load.reads.count * blockSize) / load.seconds;
    } finally {
      await device.close();
    }
  }
}

function urlText({ transport, portal, targetName, lun, user }: IscsiUrl): string {
  const scheme = transport === 'iser' ? 'iser' : 'iscsi';
  const where = formatPortal({ address: portal.host, port: portal.port });
  return `${scheme}://${user === null ? '' : `${user}@`}${where}/${targetName ?? ''}/${lun ?? ''}`;
}

export class TcpProbe extends SessionProbe {
  readonly transport = 'iSCSI over TCP';

  connects(): Promise<null> {
    return Promise.resolve(null);
  }
}

export class IserProbe extends SessionProbe {
  readonly transport = 'iSER';

  /** MPA's startup with iSER's private data: whoever accepts it speaks iWARP, and is asked nothing more. */
  async connects(): Promise<number> {
    const device = await openRdmaDevice({ device: 'iwarp' });
    try {
      const { host, port } = this.url.portal;
      const { signal } = this.interruption;
      const connection = await device.resolve({ host, port, timeout: this.flags.timeout, signal });
      return await connectOnce(device, connection);
    } finally {
      await device.close();
    }
  }
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
