/** Whether a server that was started as a process listens already. */

import { once } from 'node:events';
import { connect, type NetConnectOpts } from 'node:net';

/** Whether `address` takes a connection, which is closed at once. A Unix domain socket's file is there a moment before. */
export async function accepts(address: NetConnectOpts): Promise<boolean> {
  const socket = connect(address);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
