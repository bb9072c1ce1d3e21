/**
 * A peer that speaks iWARP as a test tells it to, right or wrong: MPA's startup as either side with any bytes, then
 * any FPDUs; what comes back is kept.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import {
  encodeFrame,
  FrameReader,
  NOT_NEGOTIATED,
  type StartupFrame,
} from '../../src/rdma/iwarp/mpa/frames.js';
import { encodeStream } from '../../src/rdma/iwarp/mpa/testing/fpdus.js';
import { crc32c } from '../../src/util/crc32c.js';
import { until } from './verbs-pair.js';

/** Of a client without special wishes: no CRC, no markers, no ready-to-receive message. */
const PLAIN: StartupFrame = {
  revision: 2,
  markers: false,
  crc: false,
  isRejected: false,
  enhanced: { ird: 16, ord: 16, peerToPeer: null },
  privateData: Buffer.alloc(0),
};

export function startupFrame(kind: 'request' | 'reply', fields: Partial<StartupFrame> = {}): Buffer {
  return encodeFrame(kind, { ...PLAIN, ...fields });
}

export { NOT_NEGOTIATED };

export class RawIwarp {
  readonly socket: Socket;
  /** What came after startup. */
  readonly ulpdus: Buffer[] = [];
  /** All bytes that came, startup frames included. */
  received = 0;
  /** The peer has sent its FIN, or a reset. */
  isEnded = false;
  /** Both directions are over. */
  isClosed = false;
  /** CRCs are put into what is sent, and checked in what comes. */
  crc = false;
  readonly #frames: FrameReader;
  #pending: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket, expects: 'request' | 'reply') {
    this.socket = socket;
    this.#frames = new FrameReader(expects);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => {
      this.#arrived(bytes);
    });
    socket.on('end', () => {
      this.isEnded = true;
    });
    socket.on('close', () => {
      this.isEnded = true;
      this.isClosed = true;
    });
  }

  /** A TCP connection on which nothing is sent yet. */
  static async dial(port: number): Promise<RawIwarp> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await once(socket, 'connect');
    return new RawIwarp(socket, 'reply');
  }

  /** A connection after the startup. */
  static async connect(port: number, request: Partial<StartupFrame> = {}): Promise<RawIwarp> {
    const peer = await RawIwarp.dial(port);
    peer.sendBytes(startupFrame('request', request));
    const reply = await peer.frame();
    peer.crc = reply.crc;
    return peer;
  }

  /** Wait for one connection on a port of its own. `port` is told before. */
  static async accept(listening: (port: number) => void): Promise<RawIwarp> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1', () => {
      listening((server.address() as AddressInfo).port);
    });
    const [socket] = (await once(server, 'connection')) as [Socket];
    server.close();
    return new RawIwarp(socket, 'request');
  }

  /** The peer's startup frame. */
  async frame(): Promise<StartupFrame & { privateData: Buffer }> {
    await until(() => this.#frames.frame !== null || this.isEnded, 'a startup frame');
    assert.ok(this.#frames.frame !== null, 'the peer closed instead of sending a startup frame');
    return this.#frames.frame;
  }

  /** Send ULPDUs, each in an FPDU of its own, all of them at once. */
  send(...ulpdus: Buffer[]): void {
    this.sendBytes(encodeStream(ulpdus, { crc: this.crc, markers: false }));
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.socket.writable) this.socket.write(bytes);
  }

  /** The `index`th ULPDU that came. */
  async ulpdu(index: number): Promise<Buffer> {
    await until(() => this.ulpdus.length > index || this.isEnded, `ULPDU ${index}`);
    const found = this.ulpdus[index];
    assert.ok(found !== undefined, `the peer closed after ${this.ulpdus.length} ULPDUs`);
    return found;
  }

  /** The peer closed. */
  async ended(): Promise<void> {
    await until(() => this.isEnded, "the peer's end of the connection");
  }

  destroy(): void {
    this.socket.destroy();
  }

  #arrived(bytes: Buffer): void {
    this.received += bytes.length;
    if (this.#frames.frame === null) bytes = bytes.subarray(this.#frames.handleBytes(bytes));
    this.#pending = Buffer.concat([this.#pending, bytes]);
    while (this.#takeFpdu());
  }

  #takeFpdu(): boolean {
    const pending = this.#pending;
    if (pending.length < 2) return false;
    const length = pending.readUInt16BE(0);
    const covered = (2 + length + 3) & ~3;
    if (pending.length < covered + 4) return false;
    if (this.crc)
      assert.equal(pending.readUInt32LE(covered), crc32c(pending.subarray(0, covered)), 'CRC of an FPDU');
    this.ulpdus.push(pending.subarray(2, 2 + length));
    this.#pending = pending.subarray(covered + 4);
    return true;
  }
}
