/**
 * A relay before a portal of Riser, which answers iSER and iSCSI over TCP on one port: it tells the two by their first byte, as the
 * portal does, and treats each as a test wants. So it makes a portal that speaks TCP only.
 */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * `pass`: everything goes both ways. `close`: at the first byte, as a target does that takes it for a broken PDU. `wait`: nothing is
 * answered, as by a target that waits for the rest of a PDU. `stall`: what comes first is passed on, and nothing after it.
 */
export type Treatment = 'pass' | 'close' | 'wait' | 'stall';

export interface Treatments {
  iser: Treatment;
  tcp: Treatment;
}

/** The first byte of an MPA Request (RFC 5044 7.1.1). */
const FIRST_OF_MPA = 'M'.charCodeAt(0);

export class PortalRelay {
  readonly port: number;
  /** Of connections from now on. */
  readonly treatments: Treatments;
  /** Connections that have come, by their first byte. */
  readonly counts = { iser: 0, tcp: 0 };
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #waiting = new Set<() => void>();

  private constructor(server: Server, target: () => number, treatments: Treatments) {
    this.port = (server.address() as AddressInfo).port;
    this.treatments = treatments;
    this.#server = server;
    server.on('connection', (client) => {
      this.#keep(client);
      client.once('data', (first) => {
        this.#begin(client, first, target);
      });
    });
  }

  /** `target`: port of the portal behind it on 127.0.0.1, asked for every connection. */
  static async start(target: () => number, treatments: Partial<Treatments> = {}): Promise<PortalRelay> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new PortalRelay(server, target, { iser: 'pass', tcp: 'pass', ...treatments });
  }

  /** Resolves when so many connections of this kind have come. */
  async came(kind: keyof Treatments, count = 1): Promise<void> {
    while (this.counts[kind] < count) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  /** End all connections that there are. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }

  #begin(client: Socket, first: Buffer, target: () => number): void {
    const kind = first[0] === FIRST_OF_MPA ? 'iser' : 'tcp';
    const treatment = this.treatments[kind];
    this.counts[kind]++;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
    if (treatment === 'close') client.end();
    else if (treatment === 'wait') client.resume();
    else {
      const portal = this.#keep(connect(target(), '127.0.0.1'));
      portal.write(first);
      portal.pipe(client);
      if (treatment === 'pass') client.pipe(portal);
      else client.resume();
      client.once('close', () => portal.destroy());
      portal.once('close', () => client.destroy());
    }
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    return socket.on('error', () => undefined).once('close', () => this.#sockets.delete(socket));
  }
}
