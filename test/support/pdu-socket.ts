/**
 * A TCP connection that speaks PDUs and nothing more: it frames what arrives, adds and checks digests,
 * and sends whatever a test wants sent, right or wrong.
 */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

import { crc32c } from '@node-rs/crc32';

import { Bhs, BHS_LENGTH, DIGEST_LENGTH } from '../../src/iscsi/wire/headers.js';
import { OPCODE_MASK } from '../../src/iscsi/wire/opcodes.js';

const DEFAULT_TIMEOUT_MS = 10_000;

/** One PDU as it arrived. */
export interface Pdu {
  opcode: number;
  /** The basic header segment, 48 bytes. */
  header: Buffer;
  ahs: Buffer;
  /** The data segment without its padding. */
  data: Buffer;
}

/** How to send a PDU wrongly. */
export interface SendFaults {
  corruptHeaderDigest?: boolean;
  corruptDataDigest?: boolean;
}

/** The peer closed the connection, or the test did. */
export class ConnectionClosed extends Error {
  constructor() {
    super('the connection is closed');
    this.name = 'ConnectionClosed';
  }
}

/** A queue that is awaited: PDUs in order of arrival, and its end. */
export class Inbox {
  readonly #pdus: Pdu[] = [];
  #failure: Error | null = null;
  #wake: (() => void) | null = null;

  /** PDUs that arrived and were not taken. */
  get length(): number {
    return this.#pdus.length;
  }

  put(pdu: Pdu): void {
    this.#pdus.push(pdu);
    this.#wake?.();
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  /** The next PDU. Rejects when the connection ended or nothing arrives for `timeoutMs`. */
  async next(timeoutMs = DEFAULT_TIMEOUT_MS): Promise<Pdu> {
    if (this.#pdus.length === 0 && this.#failure === null) await this.#arrival(timeoutMs);
    const pdu = this.#pdus.shift();
    if (pdu !== undefined) return pdu;
    throw this.#failure ?? new Error(`no PDU within ${timeoutMs} ms`);
  }

  async #arrival(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }
}

export class PduSocket {
  /** Whether PDUs carry digests, both ways; set when a login has agreed on it. */
  headerDigest = false;
  dataDigest = false;
  readonly socket: Socket;
  /** Resolves when the connection is closed by either side; never rejects. */
  readonly closed: Promise<void>;
  /** Given every PDU; until set, PDUs wait in {@link PduSocket.inbox}. */
  readonly inbox = new Inbox();
  #receive: (pdu: Pdu) => void = (pdu) => this.inbox.put(pdu);
  #end: (error: Error) => void = () => undefined;
  #pending: Buffer[] = [];
  #pendingLength = 0;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    // A reset is one way for a target to close; `closed` tells of both.
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => this.#arrived(chunk));
    socket.once('close', () => this.#fail(new ConnectionClosed()));
  }

  /** `holdsOpen`: when the target ends its side, this one is not ended. */
  static async connect(
    port: number,
    address = '127.0.0.1',
    holdsOpen = false,
    localAddress?: string,
  ): Promise<PduSocket> {
    const socket = connect({
      port,
      host: address,
      allowHalfOpen: holdsOpen,
      ...(localAddress !== undefined && { localAddress }),
    });
    await once(socket, 'connect');
    return new PduSocket(socket);
  }

  /** The other end of a connection: of a server. */
  static accept(socket: Socket): PduSocket {
    return new PduSocket(socket);
  }

  /** From now on hand every PDU to `receive`, and the end of the connection to `end`. */
  deliver(receive: (pdu: Pdu) => void, end: (error: Error) => void): void {
    this.#receive = receive;
    this.#end = end;
  }

  /** Send a PDU. The length of `data` is written into the header; `ahs` comes padded. */
  send(header: Buffer, data: Buffer = EMPTY, ahs: Buffer = EMPTY, faults: SendFaults = {}): void {
    Bhs.totalAHSLength.set(header, ahs.length / 4);
    Bhs.dataSegmentLength.set(header, data.length);
    const headers = Buffer.concat([header, ahs]);
    const padded = Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
    const parts: Buffer[] = [headers];
    if (this.headerDigest) parts.push(digestOf(headers, faults.corruptHeaderDigest));
    parts.push(padded);
    if (this.dataDigest && data.length > 0) parts.push(digestOf(padded, faults.corruptDataDigest));
    this.sendBytes(Buffer.concat(parts));
  }

  /** Send bytes as they are. */
  sendBytes(bytes: Uint8Array): void {
    if (this.socket.writable) this.socket.write(bytes);
  }

  destroy(): void {
    this.socket.destroy();
  }

  #fail(error: Error): void {
    this.inbox.fail(error);
    this.#end(error);
  }

  #arrived(chunk: Buffer): void {
    this.#pending.push(chunk);
    this.#pendingLength += chunk.length;
    try {
      for (;;) {
        const pdu = this.#takePdu();
        if (pdu === null) return;
        this.#receive(pdu);
      }
    } catch (error) {
      this.#fail(error as Error);
      this.socket.destroy();
    }
  }

  /** The first whole PDU of what is pending, or null while some of it is missing. */
  #takePdu(): Pdu | null {
    if (this.#pendingLength < BHS_LENGTH) return null;
    if (this.#pending[0]!.length < BHS_LENGTH) this.#pending = [Buffer.concat(this.#pending)];
    const first = this.#pending[0]!;
    const ahsEnd = BHS_LENGTH + Bhs.totalAHSLength.get(first) * 4;
    const dataLength = Bhs.dataSegmentLength.get(first);
    const dataStart = ahsEnd + (this.headerDigest ? DIGEST_LENGTH : 0);
    const dataEnd = dataStart + dataLength + (-dataLength & 3);
    const end = dataEnd + (this.dataDigest && dataLength > 0 ? DIGEST_LENGTH : 0);
    if (this.#pendingLength < end) return null;

    const bytes = Buffer.concat(this.#pending);
    this.#pending = end < bytes.length ? [bytes.subarray(end)] : [];
    this.#pendingLength = bytes.length - end;
    if (this.headerDigest) checkDigest('header', bytes.subarray(0, ahsEnd), bytes.readUInt32LE(ahsEnd));
    if (end > dataEnd) checkDigest('data', bytes.subarray(dataStart, dataEnd), bytes.readUInt32LE(dataEnd));
    const header = bytes.subarray(0, BHS_LENGTH);
    return {
      opcode: header[0]! & OPCODE_MASK,
      header,
      ahs: bytes.subarray(BHS_LENGTH, ahsEnd),
      data: bytes.subarray(dataStart, dataStart + dataLength),
    };
  }
}

const EMPTY: Buffer = Buffer.alloc(0);

/** Least significant byte first, as the examples of RFC 7143 appendix A.4 show. */
function digestOf(bytes: Buffer, corrupt = false): Buffer {
  const digest = Buffer.alloc(DIGEST_LENGTH);
  digest.writeUInt32LE((crc32c(bytes) ^ (corrupt ? 1 : 0)) >>> 0);
  return digest;
}

function checkDigest(what: string, bytes: Buffer, received: number): void {
  const computed = crc32c(bytes);
  if (computed !== received) {
    throw new Error(
      `wrong ${what} digest: received ${received.toString(16)}, computed ${computed.toString(16)}`,
    );
  }
}
