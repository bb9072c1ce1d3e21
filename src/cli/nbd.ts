/** `riser nbd`: a LUN, or any disk that a command can name, for programs that speak NBD. */

import { serveNbd } from '../nbd/index.js';
import type { ConnectionFlags } from './connection-flags.js';
import { ExitCode } from './failure.js';
import type { Interruption } from './interruption.js';
import { openDevice } from './open-device.js';
import { note, print, printJson } from './output.js';
import type { Portal } from './portal.js';

export interface NbdFlags extends ConnectionFlags {
  /** Path of a Unix socket; it comes before an address. */
  socket?: string;
  portal?: Portal;
  readOnly?: boolean;
  json?: boolean;
}

/** Where NBD clients look; the port is the protocol's own. */
const DEFAULT_PORTAL: Portal = { address: '127.0.0.1', port: 10809 };

/** Serve until a signal comes. */
export async function runNbd(where: string, flags: NbdFlags, interruption: Interruption): Promise<number> {
  const readOnly = flags.readOnly === true;
  const { device, paths } = await openDevice(where, flags, { readOnly, signal: interruption.signal });
  try {
    const { socket, portal = DEFAULT_PORTAL } = flags;
    const address = socket === undefined ? { host: portal.address, port: portal.port } : { socket };
    const server = await serveNbd(device, address);
    const stopped = new Promise<void>((resolve) => {
      interruption.whenCame(resolve);
    });
    if (flags.json === true) await printJson({ uri: server.uri, size: device.size, paths });
    else {
      await print(`${server.uri}\n`);
      note(`serving ${device.description} until a signal comes (Ctrl-C)`);
    }
    await stopped;
    await server.close();
  } finally {
    await device.close();
  }
  return ExitCode.SUCCESS;
}
