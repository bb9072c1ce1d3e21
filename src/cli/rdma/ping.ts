/** `riser rdma ping`: round trips of an RDMA Read and an RDMA Write, with rping's protocol. */

import { PingClient, pingText } from '../../rdma/index.js';
import type { Interruption } from '../interruption.js';
import { printable } from '../log.js';
import { print, printJson } from '../output.js';
import { formatPortal } from '../portal.js';
import { measureRoundTrips, type RoundTripFlags, type RoundTripTimes } from '../round-trips.js';
import { openRdmaDevice, type RdmaDeviceFlags } from './providers.js';

export interface RdmaPingFlags extends RoundTripFlags, RdmaDeviceFlags {
  port: number;
  /** Bytes. */
  size: number;
  verbose?: boolean;
  verify?: boolean;
  /** Milliseconds. */
  timeout: number;
}

export async function runRdmaPing(
  host: string,
  flags: RdmaPingFlags,
  interruption: Interruption,
): Promise<number> {
  const { port, size, timeout, verbose = false, verify = false, json = false } = flags;
  const device = await openRdmaDevice(flags);
  const client = await PingClient.connect(device, { host, port, size, timeout, signal: interruption.signal });
  const { address, pathMtu } = client;
  let times: RoundTripTimes;
  try {
    const roundTrip = {
      answer: `${size} bytes from ${formatPortal({ address, port })}`,
      perform: async () => {
        await client.ping();
        if (verify) client.verify();
      },
      details: () => (verbose ? `ping data: ${printable(pingText(client.returned))}\n` : ''),
      isOver: () => client.isOver,
    };
    times = await measureRoundTrips(roundTrip, flags, interruption);
  } finally {
    await client.close();
    await device.close();
  }
  if (json)
    await printJson({
      host,
      address,
      port,
      device: device.name,
      pathMtu,
      size,
      verified: verify,
      ...times.toJSON(),
    });
  else await print(times.summary());
  return times.exitCode;
}
