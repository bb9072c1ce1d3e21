/** rping's server, for any number of clients at once: reads what each has, and writes it back. */

import { RiserError } from '../../util/errors.js';
import { Memory } from '../../util/memory.js';
import {
  AccessFlag,
  type Established,
  type ListenOptions,
  type MemoryRegion,
  type RdmaConnection,
  type RdmaDevice,
  type RdmaListener,
} from '../verbs.js';
import type { Advertisement } from './advertisement.js';
import { MAX_PING_SIZE, stringSize } from './data.js';
import { badMessage, PingEndpoint } from './endpoint.js';

/** A client as events tell of it. */
export interface ServedClient {
  /** Counted from 1. */
  readonly number: number;
  readonly address: string;
  /** Pings that were answered. */
  readonly pings: number;
}

export interface PingServerEvents {
  connected?(client: ServedClient): void;
  /** A ping's data was read; `data` changes after the call. */
  pinged?(client: ServedClient, data: Buffer): void;
  /** It is gone; null: between two pings and in order, or because the server is closed. */
  ended?(client: ServedClient, error: Error | null): void;
}

export interface PingServerOptions extends ListenOptions {
  /** Milliseconds that a client may be silent. Default 60 000. */
  timeout?: number;
}

const GO_AHEAD: Advertisement = { addressHigh: 0, addressLow: 0, remoteKey: 0, size: 0 };

export class PingServer {
  readonly #timeout: number;
  readonly #events: PingServerEvents;
  readonly #sessions = new Set<Session>();
  #listener: RdmaListener | null = null;
  #lastNumber = 0;
  #isClosing = false;

  /** @throws RiserError `ADDRESS_IN_USE` and the like */
  static async listen(
    device: RdmaDevice,
    options: PingServerOptions,
    events: PingServerEvents = {},
  ): Promise<PingServer> {
    const server = new PingServer(options.timeout ?? 60_000, events);
    server.#listener = await device.listen(options, {
      requested: (connection, parameters) => {
        server.#requested(connection, parameters);
      },
    });
    return server;
  }

  private constructor(timeout: number, events: PingServerEvents) {
    this.#timeout = timeout;
    this.#events = events;
  }

  get address(): string {
    return this.#listener!.address;
  }

  get port(): number {
    return this.#listener!.port;
  }

  /** Ends all connections in order; the pings that are under way are not answered any more. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#listener!.close();
    await Promise.all([...this.#sessions].map((session) => session.stop()));
  }

  #requested(connection: RdmaConnection, parameters: Established): void {
    const client = { number: ++this.#lastNumber, address: connection.remoteAddress, pings: 0 };
    const ended = (error: Error | null): void => {
      this.#events.ended?.(client, this.#isClosing ? null : error);
    };
    if (this.#isClosing || parameters.initiatorDepth === 0) {
      connection.reject();
      connection.close();
      ended(noReads());
      return;
    }
    try {
      const session = new Session(connection, this.#timeout, client, this.#events);
      this.#sessions.add(session);
      void session.run().then((error) => {
        this.#sessions.delete(session);
        ended(error);
      });
    } catch (error) {
      ended(error as Error);
    }
  }
}

/** One client's connection. */
class Session {
  readonly #endpoint: PingEndpoint;
  readonly #buffer: MemoryRegion;
  readonly #client: ServedClient & { pings: number };
  readonly #events: PingServerEvents;
  #run: Promise<Error | null> | null = null;

  constructor(
    connection: RdmaConnection,
    timeout: number,
    client: ServedClient & { pings: number },
    events: PingServerEvents,
  ) {
    this.#client = client;
    this.#events = events;
    this.#endpoint = new PingEndpoint(connection, timeout);
    const { readNeedsRemoteWrite } = connection.device.attributes;
    const access = AccessFlag.LOCAL_WRITE | (readNeedsRemoteWrite ? AccessFlag.REMOTE_WRITE : 0);
    this.#buffer = this.#endpoint.register(Memory.allocate(MAX_PING_SIZE), access);
  }

  /** Resolves when nothing is left of the connection, by null when the client has ended it in order. */
  run(): Promise<Error | null> {
    this.#run = this.#serve().then(
      () => null,
      (error: unknown) => error as Error,
    );
    return this.#run;
  }

  /** End the connection in order. */
  async stop(): Promise<void> {
    await this.#endpoint.disconnect();
    await this.#run;
  }

  async #serve(): Promise<void> {
    const endpoint = this.#endpoint;
    try {
      await endpoint.connection.accept({ initiatorDepth: 1 });
      this.#events.connected?.(this.#client);
      for (;;) {
        const source = await this.#nextSource();
        if (source === null) return;
        await this.#answer(source);
        this.#client.pings++;
      }
    } finally {
      endpoint.close();
    }
  }

  /** Null when the client ends the connection instead. */
  async #nextSource(): Promise<Advertisement | null> {
    try {
      return await this.#endpoint.receive();
    } catch (error) {
      if (error instanceof RiserError && error.code === 'RDMA_CLOSED') return null;
      throw error;
    }
  }

  async #answer(source: Advertisement): Promise<void> {
    const endpoint = this.#endpoint;
    if (source.size === 0 || source.size > MAX_PING_SIZE)
      throw badMessage(`an advertisement of ${source.size} bytes: 1 to ${MAX_PING_SIZE} can be read`);
    await endpoint.read(this.#buffer, source);
    const data = this.#buffer.memory.bytes.subarray(0, source.size);
    this.#events.pinged?.(this.#client, data);
    await endpoint.send(GO_AHEAD);
    const sink = await endpoint.receive();
    // As rping: the data is a string, and what follows it is none of it.
    const length = stringSize(data);
    if (sink.size < length)
      throw badMessage(`an advertisement of ${sink.size} bytes, too few for the ${length} of its data`);
    endpoint.write(this.#buffer, length, sink);
    // A Send comes after the Writes that were posted before it, so that one completion tells of both (RFC 5040 5.5).
    await endpoint.send(GO_AHEAD);
  }
}

function noReads(): RiserError {
  return new RiserError('RDMA_NO_READS', 'the client serves no RDMA Reads, which a ping needs', {
    by: 'peer',
    costs: 'connection',
  });
}
