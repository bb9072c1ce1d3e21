/** Ports for servers that are started as processes and cannot tell which one they got. */

import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** A TCP port on a loopback address that was free a moment ago. */
export async function freePort(address = '127.0.0.1'): Promise<number> {
  const server = createServer();
  server.listen(0, address);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
