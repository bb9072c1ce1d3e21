/**
 * An NBD server for one block device: fixed newstyle, on a Unix domain socket or a loopback port. NBD has no
 * authentication, so nobody else is let in: the socket is its owner's, the port this machine's.
 */

import { once } from 'node:events';
import { lstat, unlink } from 'node:fs/promises';
import net from 'node:net';
import type { BlockDevice } from '../../block/device.js';
import { RiserError } from '../../util/errors.js';
import { silentLogger, type Logger } from '../../util/logger.js';
import { isPowerOfTwo } from '../../util/power-of-two.js';
import { formatNbdUri, type NbdAddress } from '../uri.js';
import { MAXIMUM_STRING, TransmissionFlag } from '../wire.js';
import { ServerConnection, type ConnectionOwner } from './connection.js';
import type { ExportDescription } from './handshake.js';

export interface NbdServerOptions {
  /** Name of the export beside the empty one, which is always there. */
  exportName?: string;
  log?: Logger;
  /** Milliseconds that a client may take for its handshake; default 10 000. */
  handshakeTimeout?: number;
  /** Clients at a time; default 64. More are turned away. */
  maximumConnections?: number;
}

/** A server that listens. */
export interface ServedNbd {
  /** What a client is given; with the port that the system chose. */
  readonly uri: string;
  /** Stop listening, answer what is under way, close the connections. The device stays open. */
  close(): Promise<void>;
}

/** Milliseconds that requests under way have when the server closes. */
const GRACE = 2000;
/** The smallest block that is good for the page cache, bytes. */
const PAGE = 4096;
const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1)$/;

/**
 * Serve `device` over NBD until `close`.
 *
 * @param address port 0 lets the system choose
 * @throws RiserError `NBD_IN_USE`, `NBD_NOT_LOOPBACK`, `NBD_LISTEN`, `NBD_EXPORT_NAME`
 *
 * @example
 * const { uri, close } = await serveNbd(new MemoryDevice({ size: 1 << 30 }), { socket: '/run/user/1000/nbd' });
 */
export async function serveNbd(
  device: BlockDevice,
  address: NbdAddress,
  options: NbdServerOptions = {},
): Promise<ServedNbd> {
  const server = new NbdServer(device, options);
  const uri = await server.listen(address);
  return { uri, close: () => server.close() };
}

/** Serves one device to any number of clients; what one has flushed, all of them find flushed. */
export class NbdServer {
  readonly #owner: ConnectionOwner;
  readonly #exportName: string;
  readonly #connections = new Set<ServerConnection>();
  readonly #server: net.Server;
  #onIdle: (() => void) | null = null;

  /** The device stays the caller's, who also listens to its events. */
  constructor(device: BlockDevice, options: NbdServerOptions = {}) {
    this.#exportName = options.exportName ?? '';
    if (Buffer.byteLength(this.#exportName) > MAXIMUM_STRING || this.#exportName.includes('\0')) {
      throw failure('NBD_EXPORT_NAME', 'the name of the export is impossible', 'Choose a shorter one.');
    }
    this.#owner = {
      device,
      log: options.log ?? silentLogger,
      handshakeTimeout: options.handshakeTimeout ?? 10_000,
      grace: GRACE,
      describe: () => describe(device, this.#exportName),
      ended: (connection) => this.#ended(connection),
    };
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#server.maxConnections = options.maximumConnections ?? 64;
  }

  /**
   * Begin to listen, once.
   *
   * @returns the URI of the export
   * @throws as {@link serveNbd}
   */
  async listen(address: NbdAddress): Promise<string> {
    try {
      if ('socket' in address) await this.#listenOnSocket(address.socket);
      else await this.#listenOnPort(address.host, address.port);
    } catch (error) {
      throw explain(address, error as NodeJS.ErrnoException);
    }
    const bound = this.#server.address();
    const actual =
      'socket' in address || bound === null || typeof bound === 'string'
        ? address
        : { host: address.host, port: bound.port };
    return formatNbdUri({ address: actual, exportName: this.#exportName });
  }

  async close(): Promise<void> {
    const closed = this.#server.listening ? once(this.#server, 'close') : null;
    if (closed !== null) this.#server.close();
    for (const connection of this.#connections) connection.leave();
    if (this.#connections.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await closed;
  }

  /** A socket that a server left behind when it died is in nobody's use. */
  async #listenOnSocket(path: string): Promise<void> {
    try {
      await this.#bindToSocket(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !(await isLeftBehind(path))) throw error;
      await unlink(path);
      await this.#bindToSocket(path);
    }
  }

  /** The socket comes to be inside of `listen`, for its owner alone. */
  async #bindToSocket(path: string): Promise<void> {
    const umask = process.umask(0o177);
    try {
      this.#server.listen({ path });
    } finally {
      process.umask(umask);
    }
    await once(this.#server, 'listening');
  }

  async #listenOnPort(host: string, port: number): Promise<void> {
    if (!LOOPBACK.test(host)) {
      const remedy = 'Choose 127.0.0.1 or ::1, or a Unix domain socket.';
      throw failure(
        'NBD_NOT_LOOPBACK',
        `${host} is reached from other machines, and NBD asks for no password`,
        remedy,
      );
    }
    this.#server.listen({ host, port });
    await once(this.#server, 'listening');
  }

  #accept(socket: net.Socket): void {
    this.#connections.add(new ServerConnection(socket, this.#owner));
  }

  #ended(connection: ServerConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#onIdle?.();
  }
}

function describe(device: BlockDevice, name: string): ExportDescription {
  const { unmapGranularity, readOnly, blockSize } = device;
  const always =
    TransmissionFlag.HAS_FLAGS |
    TransmissionFlag.SEND_FLUSH |
    TransmissionFlag.SEND_FUA |
    TransmissionFlag.CAN_MULTI_CONN;
  const writable =
    TransmissionFlag.SEND_WRITE_ZEROES | (unmapGranularity > 0 ? TransmissionFlag.SEND_TRIM : 0);
  return {
    name,
    description: device.description,
    size: device.size,
    minimumBlock: blockSize,
    // It must be a power of two, which a granularity need not be.
    preferredBlock: isPowerOfTwo(unmapGranularity)
      ? Math.max(PAGE, Math.min(unmapGranularity, 1 << 20))
      : PAGE,
    flags: (structured) =>
      always |
      (structured ? TransmissionFlag.SEND_DF : 0) |
      (readOnly ? TransmissionFlag.READ_ONLY : writable),
  };
}

/** Whether there is a Unix domain socket at `path`, and not any other file, that nobody listens on. */
async function isLeftBehind(path: string): Promise<boolean> {
  if (!(await lstat(path)).isSocket()) return false;
  const socket = net.connect({ path });
  try {
    await once(socket, 'connect');
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
  } finally {
    socket.destroy();
  }
}

function explain(address: NbdAddress, error: NodeJS.ErrnoException): Error {
  if (error instanceof RiserError) return error;
  const where = 'socket' in address ? address.socket : `${address.host}:${address.port}`;
  if (error.code === 'EADDRINUSE') {
    return failure(
      'NBD_IN_USE',
      `${where} is in use by another program`,
      'Stop that program, or choose another.',
      error,
    );
  }
  return failure('NBD_LISTEN', `cannot listen on ${where}: ${error.message}`, 'Choose another.', error);
}

function failure(code: string, message: string, remedy: string, cause?: Error): RiserError {
  return new RiserError(code, message, { by: 'local', costs: 'process', remedy, ...(cause && { cause }) });
}
