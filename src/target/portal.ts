/** A portal: one TCP port on which initiators arrive (RFC 7143 4.2.6), whatever they speak. */

import net from 'node:net';
import { acceptIser, acceptTcp, type DataTransfer, type TargetDatamover } from '../datamover/index.js';
import { formatPortal, plainAddress, TargetConnection } from '../iscsi/index.js';
import { type Established, infoOf, type RdmaConnection, type StreamInfo } from '../rdma/index.js';
import { type ByteStream, openStream } from '../stream/index.js';
import type { Logger } from '../util/logger.js';
import type { MonotonicClock } from './clock.js';
import type { IwarpDevice } from '../rdma/iwarp/device.js';
import type { TargetRdma } from './rdma.js';
import type { PortalHost } from './session-registry.js';

export interface Address {
  /** IPv4 or IPv6 address, without brackets. */
  address: string;
  port: number;
}

/** Connections that the kernel holds ready until they are accepted. */
const BACKLOG = 4096;

/** The first byte of an MPA Request's key (RFC 5044 7.1.1); no PDU of iSCSI begins with it. */
const FIRST_OF_MPA = 'M'.charCodeAt(0);

export class Portal {
  /** Where it listens. */
  address: Address = { address: '', port: 0 };
  readonly portalGroupTag: number;
  readonly #host: PortalHost;
  readonly #clock: MonotonicClock;
  readonly #log: Logger;
  readonly #rdma: TargetRdma<IwarpDevice>;
  readonly #server: net.Server;

  /** `portalGroupTag`: 1 to 65535 (RFC 7143 13.9). */
  constructor(
    portalGroupTag: number,
    host: PortalHost,
    clock: MonotonicClock,
    rdma: TargetRdma<IwarpDevice>,
    log: Logger,
  ) {
    this.portalGroupTag = portalGroupTag;
    this.#host = host;
    this.#clock = clock;
    this.#log = log;
    this.#rdma = rdma;
    this.#server = net.createServer((socket) => {
      this.#accept(socket);
    });
  }

  listen({ address, port }: Address): Promise<Address> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: address, port, backlog: BACKLOG, ipv6Only: address === '::' }, () => {
        this.#server.off('error', reject);
        this.#server.on('error', (error) => {
          this.#log.error(
            `portal ${formatPortal(this.address.address, this.address.port)}: ${error.message}`,
          );
        });
        this.address = { address, port: (this.#server.address() as net.AddressInfo).port };
        resolve(this.address);
      });
    });
  }

  /** Accept no more. Resolves when the last connection is gone. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  /** A connection that is asked for by an adapter. */
  acceptRdma(request: RdmaConnection, asked: Established, rdma: TargetRdma): TargetConnection {
    const address = plainAddress(request.remoteAddress);
    const host = this.#host.hostFor(this, request.localAddress || this.address.address, address);
    const connection = new TargetConnection(host, address, address, this.#clock.now(), (error) => {
      request.close();
      connection.connectionTerminateNotify(error);
    });
    this.#host.connectionAccepted(connection);
    answer(request, asked, rdma, connection, (datamover) => {
      connection.attach(datamover);
      const { pathMtu } = request;
      this.#log.debug(
        `${address}: connected by ${datamover.device}${pathMtu === null ? '' : `, path MTU ${pathMtu}`}`,
      );
    });
    return connection;
  }

  #accept(socket: net.Socket): void {
    const { remoteAddress } = socket;
    // The peer has gone before it was greeted.
    if (remoteAddress === undefined || socket.remotePort === undefined) {
      socket.destroy();
      return;
    }
    const address = plainAddress(remoteAddress);
    const remote = formatPortal(address, socket.remotePort);
    const localAddress = socket.localAddress ?? this.address.address;
    const host = this.#host.hostFor(this, localAddress, address);
    const info = infoOf(socket);
    const stream = openStream<DataTransfer>(socket);
    const connection = new TargetConnection(host, remote, address, this.#clock.now(), (error) => {
      stream.destroy(error);
    });
    stream.events = {
      readable: () => {
        this.#begin(connection, stream, info);
      },
      released: () => undefined,
      closed: (error) => {
        connection.connectionTerminateNotify(error);
      },
    };
    this.#host.connectionAccepted(connection);
  }

  /** The first byte tells what the initiator speaks. */
  #begin(connection: TargetConnection, stream: ByteStream<DataTransfer>, info: StreamInfo): void {
    const first = stream.peekByte();
    if (first < 0) return;
    if (first === FIRST_OF_MPA) {
      this.#enterRdma(connection, stream, info, (datamover) => {
        connection.attach(datamover);
      });
      return;
    }
    const datamover = acceptTcp(stream, connection);
    connection.attach(datamover, () => {
      if (datamover.handOver() === null) return;
      this.#enterRdma(connection, stream, info, (successor) => {
        connection.enteredRdma(successor);
      });
    });
  }

  /** Await an MPA Request; `entered` gets the Datamover that has answered it. */
  #enterRdma(
    connection: TargetConnection,
    stream: ByteStream<DataTransfer>,
    info: StreamInfo,
    entered: (datamover: TargetDatamover) => void,
  ): void {
    const rdma = this.#rdma;
    const requested = (request: RdmaConnection, asked: Established): void => {
      if (connection.isClosed) request.close();
      else answer(request, asked, rdma, connection, entered);
    };
    rdma.device.acceptStream(stream, info, { requested }, (error) => {
      connection.connectionTerminateNotify(error);
    });
  }
}

/** `entered` gets the Datamover that answers `request`; where there is no room for it, the connection is over. */
function answer(
  request: RdmaConnection,
  asked: Established,
  { registered }: TargetRdma,
  connection: TargetConnection,
  entered: (datamover: TargetDatamover) => void,
): void {
  let datamover: TargetDatamover;
  try {
    datamover = acceptIser(request, asked, registered, connection);
  } catch (error) {
    request.close();
    connection.connectionTerminateNotify(error as Error);
    return;
  }
  entered(datamover);
}
