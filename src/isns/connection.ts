/** A TCP connection to an iSNS server: requests, one after the other (RFC 4171 2.9.1). */

import type { Socket } from 'node:net';
import { dial } from '../stream/dial.js';
import { IsnsRefusal, type ServerAddress, unanswered, unreachable } from './errors.js';
import { Flag, RESPONSE, Status } from './wire/codes.js';
import { decodeResponse, encodeRequest, type Message, type Request, type Response } from './wire/message.js';
import { encodeMessage, MessageReader } from './wire/pdu.js';

/** The longest answer that is read, bytes. */
const RESPONSE_LIMIT = 1 << 20;

export interface ConnectionOptions {
  /** For the connection, and for each answer, milliseconds. */
  timeoutMs: number;
  /** Gives up whatever goes on; its reason is thrown. */
  signal?: AbortSignal;
}

interface Waiting {
  functionId: number;
  transactionId: number;
  resolve(message: Message): void;
  reject(error: Error): void;
}

export class IsnsConnection {
  readonly server: ServerAddress;
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal | null;
  readonly #reader = new MessageReader(RESPONSE_LIMIT);
  #waiting: Waiting | null = null;
  #lastTransactionId = 0;
  /** Why it is of no use any more. */
  #ended: Error | null = null;

  private constructor(server: ServerAddress, socket: Socket, { timeoutMs, signal }: ConnectionOptions) {
    this.server = server;
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    this.#signal = signal ?? null;
    socket.on('data', (bytes) => {
      this.#receive(bytes);
    });
    socket.on('error', (error) => {
      this.#end(unanswered(server, error.message, error));
    });
    socket.on('close', () => {
      this.#end(unanswered(server, 'it closed the connection'));
    });
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** @throws RiserError `ISNS_UNREACHABLE`; the signal's reason */
  static async open(server: ServerAddress, options: ConnectionOptions): Promise<IsnsConnection> {
    const { host, port } = server;
    const socket = await dial(host, port, options.timeoutMs, options.signal ?? null, (cause) =>
      unreachable(server, cause),
    );
    return new IsnsConnection(server, socket, options);
  }

  /** Our end of it. */
  get localAddress(): string {
    return this.#socket.localAddress ?? '';
  }

  /**
   * Ask, and wait for the answer. One request at a time.
   *
   * @param what such as "the registration", for errors
   * @param flags those of `Flag` besides the ones of every request of a client
   * @returns an answer with the status Successful
   * @throws RiserError `ISNS_REFUSED` (an {@link IsnsRefusal}), `ISNS_UNANSWERED`, `ISNS_MALFORMED`; the signal's reason
   */
  async request(functionId: number, what: string, request: Request, flags = 0): Promise<Response> {
    if (this.#ended !== null) throw this.#ended;
    const transactionId = (this.#lastTransactionId = (this.#lastTransactionId + 1) & 0xffff);
    const message = {
      functionId,
      flags: Flag.CLIENT | flags,
      transactionId,
      payload: encodeRequest(request),
    };
    const { payload } = await new Promise<Message>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#end(unanswered(this.server, `nothing for ${this.#timeoutMs / 1000} s`));
      }, this.#timeoutMs);
      const settle = (): void => {
        clearTimeout(timer);
        this.#waiting = null;
      };
      this.#waiting = {
        functionId,
        transactionId,
        resolve: (answer) => {
          settle();
          resolve(answer);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      this.#socket.write(encodeMessage(message));
    });
    const response = decodeResponse(payload);
    if (response.status !== Status.SUCCESSFUL) throw new IsnsRefusal(this.server, what, response.status);
    return response;
  }

  close(): void {
    this.#end(unanswered(this.server, 'the connection was closed'));
  }

  readonly #onAbort = (): void => {
    this.#end(this.#signal!.reason as Error);
  };

  #receive(bytes: Uint8Array): void {
    try {
      for (const message of this.#reader.push(bytes)) {
        const waiting = this.#waiting;
        // What nobody waits for, such as a notification, is of no interest.
        const isAnswer =
          message.transactionId === waiting?.transactionId &&
          message.functionId === (waiting.functionId | RESPONSE);
        if (isAnswer) waiting.resolve(message);
      }
    } catch (error) {
      this.#end(error as Error);
    }
  }

  #end(why: Error): void {
    if (this.#ended !== null) return;
    this.#ended = why;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#socket.destroy();
    this.#waiting?.reject(why);
  }
}
