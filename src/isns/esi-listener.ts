/** Answers the Entity Status Inquiries of a server over TCP (RFC 4171 5.6.5.13, 6.3.5). */

import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { Logger } from '../util/logger.js';
import { decodeAttributes, EID, find, PORTAL_ADDRESS, PORTAL_PORT } from './wire/attributes.js';
import { Flag, FunctionId, RESPONSE, Status } from './wire/codes.js';
import { encodeStatus, type Message } from './wire/message.js';
import { encodeMessage, MessageReader } from './wire/pdu.js';

/** An inquiry is some hundred bytes. */
const INQUIRY_LIMIT = 4096;
/** Anybody may connect; servers do one at a time. */
const MAX_CONNECTIONS = 32;
const IDLE_MS = 30_000;

/** Whether a portal of an entity is here. */
export type IsHere = (entity: string, address: string, port: number) => boolean;

export class EsiListener {
  readonly #isHere: IsHere;
  readonly #log: Logger;
  /** By address. */
  readonly #servers = new Map<string, Server>();
  readonly #sockets = new Set<Socket>();

  constructor(isHere: IsHere, log: Logger) {
    this.#isHere = isHere;
    this.#log = log;
  }

  /**
   * Listen on an address, unless it does already.
   *
   * @returns the port
   * @throws the system's error
   */
  async listen(address: string): Promise<number> {
    const known = this.#servers.get(address);
    if (known !== undefined) return (known.address() as AddressInfo).port;
    const server = createServer((socket) => {
      this.#accept(socket);
    });
    server.maxConnections = MAX_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port: 0, ipv6Only: address === '::' }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    server.on('error', (error) => {
      this.#log.error(`Entity Status Inquiries on ${address}: ${error.message}`);
    });
    this.#servers.set(address, server);
    return (server.address() as AddressInfo).port;
  }

  close(): void {
    for (const server of this.#servers.values()) server.close();
    this.#servers.clear();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    const reader = new MessageReader(INQUIRY_LIMIT);
    this.#sockets.add(socket);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes) => {
      try {
        for (const message of reader.push(bytes)) {
          const answer = this.#answer(message);
          if (answer !== null) socket.write(encodeMessage(answer));
        }
      } catch (error) {
        this.#log.debug(`${socket.remoteAddress ?? 'a peer'}: ${(error as Error).message}`);
        socket.destroy();
      }
    });
  }

  /** @throws RiserError `ISNS_MALFORMED` */
  #answer({ functionId, transactionId, payload }: Message): Message | null {
    if ((functionId & RESPONSE) !== 0) return null;
    const answer = { functionId: functionId | RESPONSE, flags: Flag.CLIENT, transactionId };
    if (functionId !== FunctionId.ESI) return { ...answer, payload: encodeStatus(Status.NOT_SUPPORTED, []) };
    const attributes = decodeAttributes(payload);
    const entity = find(attributes, EID);
    const address = find(attributes, PORTAL_ADDRESS);
    const port = find(attributes, PORTAL_PORT);
    const isComplete = entity !== null && address !== null && port !== null;
    // Another one's registration, of an address that is ours now, is not kept alive.
    const isHere = isComplete && this.#isHere(entity, address, port);
    const status = isHere
      ? Status.SUCCESSFUL
      : isComplete
        ? Status.NO_SUCH_ENTRY
        : Status.MESSAGE_FORMAT_ERROR;
    return { ...answer, payload: encodeStatus(status, attributes) };
  }
}
