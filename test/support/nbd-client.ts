/** An NBD client of raw bytes for tests of the server: what it sends is what the test says, right or wrong. */

import { once } from 'node:events';
import net from 'node:net';

const IHAVEOPT = Buffer.from('IHAVEOPT');

export interface OptionReply {
  option: number;
  type: number;
  data: Buffer;
}

export interface Chunk {
  /** Of a simple reply: -1. */
  type: number;
  flags: number;
  cookie: bigint;
  /** Of a simple reply: its error as 4 bytes. */
  payload: Buffer;
}

/** Fields of a request beside its type; what is left out is 0, but for the magic. */
export interface NbdTestRequest {
  flags?: number;
  cookie?: bigint;
  offset?: bigint;
  length?: number;
  /** What follows the header. */
  data?: Buffer;
  magic?: number;
}

export class NbdTestClient {
  readonly socket: net.Socket;
  #chunks: Buffer[] = [];
  #have = 0;
  #wake: (() => void) | null = null;
  #isEnded = false;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.#chunks.push(bytes);
      this.#have += bytes.length;
      this.#wake?.();
    });
    for (const event of ['end', 'error', 'close']) {
      socket.on(event, () => {
        this.#isEnded = true;
        this.#wake?.();
      });
    }
  }

  /** Connected, with the greeting read and `flags` sent. */
  static async connect(path: string, flags = 3): Promise<NbdTestClient> {
    const socket = net.connect({ path });
    await once(socket, 'connect');
    const client = new NbdTestClient(socket);
    const greeting = await client.read(18);
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('this is no greeting');
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(flags);
    client.write(bytes);
    return client;
  }

  /** In the transmission phase of the default export. */
  static async transmitting(
    path: string,
    { structured = true, context = false } = {},
  ): Promise<NbdTestClient> {
    const client = await NbdTestClient.connect(path);
    if (structured) await client.option(8);
    if (context) await client.option(10, Buffer.concat([text(''), u32(1), text('base:allocation')]));
    await client.option(7, Buffer.concat([text(''), Buffer.from([0, 0])]));
    return client;
  }

  write(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** The next `length` bytes; fails when the connection ends before. */
  async read(length: number): Promise<Buffer> {
    while (this.#have < length) {
      if (this.#isEnded) throw new Error(`the server closed the connection, ${length} bytes are missing`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const all = Buffer.concat(this.#chunks);
    this.#chunks = [all.subarray(length)];
    this.#have -= length;
    return all.subarray(0, length);
  }

  /** Resolves when the server has closed the connection; what came before is dropped. */
  async ended(): Promise<void> {
    while (!this.#isEnded) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.socket.destroy();
  }

  sendOption(option: number, data: Buffer = Buffer.alloc(0), length = data.length): void {
    this.write(Buffer.concat([IHAVEOPT, u32(option), u32(length), data]));
  }

  /** Send an option, and read its replies up to the last. */
  async option(option: number, data?: Buffer): Promise<OptionReply[]> {
    this.sendOption(option, data);
    const replies: OptionReply[] = [];
    for (;;) {
      const reply = await this.optionReply();
      replies.push(reply);
      if (reply.type === 1 || reply.type >= 0x8000_0000) return replies;
    }
  }

  async optionReply(): Promise<OptionReply> {
    const header = await this.read(20);
    const data = await this.read(header.readUInt32BE(16));
    return { option: header.readUInt32BE(8), type: header.readUInt32BE(12), data };
  }

  request(
    type: number,
    { flags = 0, cookie = 7n, offset = 0n, length = 0, data, magic = 0x25609513 }: NbdTestRequest = {},
  ): void {
    const header = Buffer.alloc(28);
    header.writeUInt32BE(magic, 0);
    header.writeUInt16BE(flags, 4);
    header.writeUInt16BE(type, 6);
    header.writeBigUInt64BE(cookie, 8);
    header.writeBigUInt64BE(offset, 16);
    header.writeUInt32BE(length, 24);
    this.write(Buffer.concat([header, data ?? Buffer.alloc(0)]));
  }

  async chunk(): Promise<Chunk> {
    const head = await this.read(16);
    const cookie = head.readBigUInt64BE(8);
    if (head.readUInt32BE(0) === 0x67446698) {
      return { type: -1, flags: 1, cookie, payload: head.subarray(4, 8) };
    }
    const payload = await this.read((await this.read(4)).readUInt32BE());
    return { type: head.readUInt16BE(6), flags: head.readUInt16BE(4), cookie, payload };
  }

  /** The error of the next reply, which has one chunk; 0 when all is well. */
  async error(): Promise<number> {
    const { type, payload } = await this.chunk();
    return type === -1 || (type & 0x8000) !== 0 ? payload.readUInt32BE() : 0;
  }
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A string behind its 32-bit length. */
export function text(value: string): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)]);
}
