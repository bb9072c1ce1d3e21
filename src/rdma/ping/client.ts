/** rping's client: has a server read its source buffer and write the same to its sink buffer. */

import { RiserError } from '../../util/errors.js';
import { Memory } from '../../util/memory.js';
import { AccessFlag, type MemoryRegion, type RdmaDevice } from '../verbs.js';
import { advertisementOf } from './advertisement.js';
import { fillPingData } from './data.js';
import { PingEndpoint } from './endpoint.js';

export interface PingOptions {
  host: string;
  port: number;
  /** Bytes of data, 1 to `MAX_PING_SIZE`. A server may have room for less: rping's has it for its own `-S`. */
  size: number;
  /** Milliseconds for connecting, and for each answer. Default 10 000. */
  timeout?: number;
  /** Gives up connecting. */
  signal?: AbortSignal;
}

/** Never in a ping's data, which is text. */
const NOT_WRITTEN = 0xff;

export class PingClient {
  readonly #endpoint: PingEndpoint;
  readonly #source: MemoryRegion;
  readonly #sink: MemoryRegion;
  #sequence = 0;

  /** @throws RiserError when there is no connection */
  static async connect(device: RdmaDevice, options: PingOptions): Promise<PingClient> {
    const { host, port, size, timeout = 10_000, signal } = options;
    const connection = await device.resolve({ host, port, timeout, ...(signal && { signal }) });
    const endpoint = new PingEndpoint(connection, timeout);
    try {
      const client = new PingClient(endpoint, size);
      // The server reads one buffer at a time. This side reads none, but asks for what rping's client asks for.
      await connection.connect({ responderResources: 1, initiatorDepth: 1 });
      return client;
    } catch (error) {
      endpoint.close();
      throw error;
    }
  }

  private constructor(endpoint: PingEndpoint, size: number) {
    this.#endpoint = endpoint;
    this.#source = endpoint.register(Memory.allocate(size), AccessFlag.REMOTE_READ);
    this.#sink = endpoint.register(Memory.allocate(size), AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_WRITE);
  }

  /** Of the connection, in bytes; null on iWARP. */
  get pathMtu(): number | null {
    return this.#endpoint.connection.pathMtu;
  }

  /** The server's. */
  get address(): string {
    return this.#endpoint.connection.remoteAddress;
  }

  /** The connection has failed: no ping will be answered. */
  get isOver(): boolean {
    return this.#endpoint.failure !== null;
  }

  /** What came back of the last ping; the next one overwrites it. */
  get returned(): Buffer {
    return this.#sink.memory.bytes;
  }

  /**
   * One round trip, or rather two: the data there, and back.
   *
   * @throws RiserError as {@link PingEndpoint.receive}
   */
  async ping(): Promise<void> {
    const endpoint = this.#endpoint;
    fillPingData(this.#source.memory.bytes, this.#sequence++);
    this.returned.fill(NOT_WRITTEN);
    await endpoint.send(advertisementOf(this.#source));
    await endpoint.receive();
    await endpoint.send(advertisementOf(this.#sink));
    await endpoint.receive();
  }

  /** @throws RiserError `RDMA_PING_MISMATCH` when not all came back as it was */
  verify(): void {
    const sent = this.#source.memory.bytes;
    if (this.returned.equals(sent)) return;
    const at = sent.findIndex((byte, i) => byte !== this.returned[i]);
    throw new RiserError('RDMA_PING_MISMATCH', `the data came back changed from byte ${at} on`, {
      by: 'peer',
      costs: 'task',
    });
  }

  /** End in order. */
  close(): Promise<void> {
    return this.#endpoint.disconnect();
  }
}
