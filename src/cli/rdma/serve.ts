/** `riser rdma serve`: answers `riser rdma ping`, and rping. */

import { PingServer, type PingServerEvents, pingText, type ServedClient } from '../../rdma/index.js';
import type { Logger } from '../../util/logger.js';
import { ExitCode } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { type LogFlags, openLog } from '../log.js';
import { DEFAULT_PORTAL, formatPortal } from '../portal.js';
import { openRdmaDevice, type RdmaDeviceFlags } from './providers.js';

export interface RdmaServeFlags extends LogFlags, RdmaDeviceFlags {
  address?: string;
  port: number;
  verbose?: boolean;
  /** Milliseconds that a client may be silent. */
  timeout: number;
}

/** Serve until a signal comes. */
export async function runRdmaServe(flags: RdmaServeFlags, interruption: Interruption): Promise<number> {
  const { address = DEFAULT_PORTAL.address, port, timeout, verbose = false } = flags;
  const log = await openLog({ level: flags.logLevel ?? 'info', json: flags.jsonLogs ?? false });
  const device = await openRdmaDevice(flags);
  const server = await PingServer.listen(device, { address, port, timeout }, eventsFor(log, verbose));
  const stopped = new Promise<void>((resolve) => {
    interruption.whenCame(resolve);
  });
  const where = { address: server.address, port: server.port };
  log.info(`listening on ${formatPortal(where)} for rping, on ${device.name}; Ctrl+C stops`, where);
  await stopped;
  await server.close();
  await device.close();
  log.info('stopped');
  return ExitCode.SUCCESS;
}

function eventsFor(log: Logger, isVerbose: boolean): PingServerEvents {
  return {
    connected: (client) => {
      log.info(`${nameOf(client)} connected`, fieldsOf(client));
    },
    ...(isVerbose && {
      pinged: (client, data) => {
        log.info(`${nameOf(client)} ping data: ${pingText(data)}`, fieldsOf(client));
      },
    }),
    ended: (client, error) => {
      const what = `${nameOf(client)} ended after ${client.pings} pings`;
      if (error === null) log.info(what, fieldsOf(client));
      else log.warn(`${what}: ${error.message}`, fieldsOf(client));
    },
  };
}

/** `client 3 (192.0.2.7)` */
function nameOf({ number, address }: ServedClient): string {
  return `client ${number} (${address})`;
}

function fieldsOf({ number, address, pings }: ServedClient): object {
  return { client: number, address, pings };
}
