/** A relay between an initiator and a target that damages one byte of the first connection that goes through it, or cuts it there. */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class FlippingRelay {
  readonly port: number;
  /** Which byte of those that this end sends, counted from 0; null for none. */
  flip: { from: 'initiator' | 'target'; at: number } | null = null;
  /** Before which byte the first connection ends; null for nowhere. */
  sever: { from: 'initiator' | 'target'; at: number } | null = null;
  /** Bytes of the connections from each end, the first connection's last. */
  readonly sent = { initiator: 0, target: 0 };
  /** And what they were. */
  readonly heard: Record<'initiator' | 'target', Buffer[]> = { initiator: [], target: [] };
  connections = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, target: number) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (initiator) => {
      const isFirst = this.connections++ === 0;
      const peer = connect(target, '127.0.0.1');
      this.#join(initiator, peer, 'initiator', isFirst);
      this.#join(peer, initiator, 'target', isFirst);
    });
  }

  static async start(target: number): Promise<FlippingRelay> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FlippingRelay(server, target);
  }

  #join(from: Socket, to: Socket, end: 'initiator' | 'target', isFirst: boolean): void {
    this.#sockets.add(from);
    from.setNoDelay(true);
    from.on('error', () => undefined);
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    from.on('data', (bytes) => {
      if (isFirst) {
        const at = (this.flip?.at ?? -1) - this.sent[end];
        if (this.flip?.from === end && at >= 0 && at < bytes.length) bytes[at]! ^= 0x5a;
        this.heard[end].push(Buffer.from(bytes));
        const left = this.sever?.from === end ? this.sever.at - this.sent[end] : Infinity;
        this.sent[end] += bytes.length;
        if (left < bytes.length) {
          // What came before it arrives, and then the end.
          if (left > 0) to.write(bytes.subarray(0, left));
          to.end();
          from.destroy();
          return;
        }
      }
      to.write(bytes);
    });
  }

  /** Cut the newest connection. */
  cut(): void {
    const newest = [...this.#sockets].at(-1);
    newest?.destroy();
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
