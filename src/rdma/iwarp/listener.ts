/** Waits for peers that want to connect. */

import type { AddressInfo, Server } from 'node:net';
import type { ByteStream } from '../../stream/index.js';
import type { ListenerEvents, RdmaListener } from '../verbs.js';
import type { IwarpDevice } from './device.js';
import type { Message } from './message.js';
import { Startups } from './startups.js';
import type { StreamInfo } from './tcp.js';

export class IwarpListener implements RdmaListener {
  readonly #device: IwarpDevice;
  readonly #server: Server;
  readonly #events: ListenerEvents;
  readonly #startups: Startups;

  constructor(device: IwarpDevice, server: Server, events: ListenerEvents) {
    this.#device = device;
    this.#server = server;
    this.#events = events;
    this.#startups = new Startups(device);
  }

  get address(): string {
    return (this.#server.address() as AddressInfo).address;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** A TCP connection came. */
  accepted(stream: ByteStream<Message>, info: StreamInfo): void {
    this.#startups.begin(stream, info, this.#events, () => undefined);
  }

  close(): Promise<void> {
    this.#device.listenerClosed(this);
    this.#startups.giveUp();
    // It stops to listen at once; what it would tell of is the end of the last connection.
    this.#server.close();
    return Promise.resolve();
  }
}
