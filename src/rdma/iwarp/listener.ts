/** Waits for peers that want to connect. */

import type { AddressInfo, Server } from 'node:net';
import type { ByteStream } from '../../stream/index.js';
import type { ListenerEvents, RdmaListener } from '../verbs.js';
import { RequestedConnection } from './connection.js';
import type { IwarpDevice } from './device.js';
import type { Message } from './message.js';
import { MpaResponder } from './mpa/responder.js';
import { StartupExchange } from './startup-exchange.js';
import type { StreamInfo } from './tcp.js';

/** Peers in the midst of startup. One more, and the one that has been at it longest has to go. */
const MOST_STARTING = 256;

export class IwarpListener implements RdmaListener {
  readonly #device: IwarpDevice;
  readonly #server: Server;
  readonly #events: ListenerEvents;
  readonly #starting = new Set<ByteStream<Message>>();

  constructor(device: IwarpDevice, server: Server, events: ListenerEvents) {
    this.#device = device;
    this.#server = server;
    this.#events = events;
  }

  get address(): string {
    return (this.#server.address() as AddressInfo).address;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** A TCP connection came. */
  accepted(stream: ByteStream<Message>, info: StreamInfo): void {
    const responder = new MpaResponder();
    this.#starting.add(stream);
    const ended = (): void => {
      this.#starting.delete(stream);
    };
    const exchange = new StartupExchange(
      stream,
      responder,
      () => responder.request !== null,
      this.#device.options.startupTimeout,
      () => {
        ended();
        const request = new RequestedConnection(this.#device, exchange, info, responder);
        this.#events.requested(request, request.parameters);
      },
      ended,
    );
    if (this.#starting.size > MOST_STARTING) {
      const [oldest] = this.#starting;
      oldest!.destroy(null);
    }
  }

  close(): Promise<void> {
    this.#device.listenerClosed(this);
    for (const stream of this.#starting) stream.destroy(null);
    // It stops to listen at once; what it would tell of is the end of the last connection.
    this.#server.close();
    return Promise.resolve();
  }
}
