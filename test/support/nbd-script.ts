/** NBD servers that do what a test's script says: honest where it says nothing. */

import net from 'node:net';

export const SIZE = 1 << 20;
/** HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES. */
export const FLAGS = 0b110_1101;

export const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
export const u32 = (value: number): Buffer =>
  Buffer.from([value >>> 24, value >> 16, value >> 8, value].map((b) => b & 0xff));
export const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};

export interface NbdRequest {
  type: number;
  cookie: Buffer;
  offset: bigint;
  length: number;
}

export interface NbdScript {
  greeting?: Buffer;
  /** The answer to an option; undefined for the honest one. */
  option?: (option: number) => Buffer | undefined;
  /** The answer to a request. */
  request?: (request: NbdRequest, socket: net.Socket) => Buffer | null;
}

export const optionReply = (
  option: number,
  type: number,
  data: Buffer = Buffer.alloc(0),
  length = data.length,
): Buffer =>
  Buffer.concat([Buffer.from('0003e889045565a9', 'hex'), u32(option), u32(type), u32(length), data]);
export const info = (size: bigint, flags: number): Buffer => Buffer.concat([u16(0), u64(size), u16(flags)]);
export const blockSize = (...sizes: number[]): Buffer => Buffer.concat([u16(3), ...sizes.map(u32)]);
export const chunk = (
  { cookie }: NbdRequest,
  type: number,
  payload: Buffer = Buffer.alloc(0),
  done = true,
  length = payload.length,
) => Buffer.concat([u32(0x668e33ef), u16(done ? 1 : 0), u16(type), cookie, u32(length), payload]);
export const data = (request: NbdRequest, offset: bigint, length: number, done = true): Buffer =>
  chunk(request, 1, Buffer.concat([u64(offset), Buffer.alloc(length, 0xab)]), done);
export const simple = ({ cookie }: NbdRequest, error = 0): Buffer =>
  Buffer.concat([u32(0x67446698), u32(error), cookie]);

export function honestOption(option: number): Buffer {
  if (option === 8) return optionReply(8, 1);
  if (option === 10) {
    return Buffer.concat([
      optionReply(10, 4, Buffer.concat([u32(5), Buffer.from('base:allocation')])),
      optionReply(10, 1),
    ]);
  }
  return Buffer.concat([
    optionReply(7, 3, info(BigInt(SIZE), FLAGS)),
    optionReply(7, 3, blockSize(512, 4096, 1 << 20)),
    optionReply(7, 1),
  ]);
}

export function honestRequest(request: NbdRequest): Buffer | null {
  if (request.type === 2) return null;
  return request.type === 0 ? data(request, request.offset, request.length) : chunk(request, 0);
}

/**
 * Serve on the Unix domain socket `path`, each connection with a script of its own; null hangs up at once.
 *
 * @returns what stops the server and its connections
 */
export function serveScript(path: string, scriptOf: () => NbdScript | null): Promise<() => void> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const script = scriptOf();
    sockets.add(socket);
    socket.on('error', () => undefined);
    if (script === null) socket.destroy();
    else converse(socket, script);
  });
  const stop = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return new Promise((resolve) => server.listen(path, () => resolve(stop)));
}

function converse(socket: net.Socket, script: NbdScript): void {
  let buffer = Buffer.alloc(0);
  let phase: 'flags' | 'options' | 'requests' = 'flags';
  socket.write(script.greeting ?? Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]));
  const step = (): number => {
    if (phase === 'flags') {
      if (buffer.length < 4) return 0;
      phase = 'options';
      return 4;
    }
    if (phase === 'options') {
      if (buffer.length < 16 || buffer.length < 16 + buffer.readUInt32BE(12)) return 0;
      const option = buffer.readUInt32BE(8);
      const length = 16 + buffer.readUInt32BE(12);
      if (option === 7) phase = 'requests';
      socket.write(script.option?.(option) ?? honestOption(option));
      return length;
    }
    if (buffer.length < 28) return 0;
    const type = buffer.readUInt16BE(6);
    const length = buffer.readUInt32BE(24);
    const whole = 28 + (type === 1 ? length : 0);
    if (buffer.length < whole) return 0;
    const request = {
      type,
      length,
      cookie: Buffer.from(buffer.subarray(8, 16)),
      offset: buffer.readBigUInt64BE(16),
    };
    const answer = (script.request ?? honestRequest)(request, socket);
    if (answer !== null) socket.write(answer);
    return whole;
  };
  socket.on('data', (bytes) => {
    buffer = Buffer.concat([buffer, bytes]);
    for (let taken; (taken = step()) > 0;) buffer = buffer.subarray(taken);
  });
}

/** A server that answers GO with this information. */
export function exporting(...infos: Buffer[]): NbdScript {
  return {
    option: (o) =>
      o === 7
        ? Buffer.concat([...infos.map((each) => optionReply(7, 3, each)), optionReply(7, 1)])
        : undefined,
  };
}
