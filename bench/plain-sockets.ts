/**
 * The best simple program on plain sockets of Node: a server (without PORT; it prints the port) and a client, which prints
 * how many seconds it took.
 *
 *     plain-sockets.ts stream|ping-pong SIZE ITERATIONS [PORT]
 *
 * `stream`: the client writes buffers of SIZE bytes, the server counts, and says when it has them all. `ping-pong`: SIZE bytes to and fro.
 */

import { connect, createServer, type Socket } from 'node:net';

const [kind, sizeText, iterationsText, port] = process.argv.slice(2);
const size = Number(sizeText);
const iterations = Number(iterationsText);
const buffer = Buffer.alloc(size);
/** Both sides read into a buffer of their own: the fastest that Node has. */
const incoming = Buffer.alloc(Math.max(size, 65_536));

function reader(received: (bytes: number) => void) {
  return {
    buffer: incoming,
    callback: (bytes: number): boolean => {
      received(bytes);
      return true;
    },
  };
}

if (port === undefined) serve();
else if (kind === 'stream') stream(Number(port));
else pingPong(Number(port));

function serve(): void {
  const server = createServer({ noDelay: true }, (socket) => {
    let left = kind === 'stream' ? size * iterations : size;
    socket.on('data', (chunk) => {
      left -= chunk.length;
      if (left > 0) return;
      socket.write(kind === 'stream' ? 'x' : buffer);
      left = size;
    });
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1', () => {
    console.log((server.address() as { port: number }).port);
  });
}

function client(to: number, received: (bytes: number) => void): Socket {
  return connect({ port: to, host: '127.0.0.1', noDelay: true, onread: reader(received) });
}

function stream(to: number): void {
  let start = 0;
  let sent = 0;
  const socket = client(to, () => {
    console.log((performance.now() - start) / 1000);
    process.exit(0);
  });
  const fill = (): void => {
    while (sent < iterations) {
      sent++;
      if (!socket.write(buffer)) {
        socket.once('drain', fill);
        return;
      }
    }
  };
  socket.once('connect', () => {
    start = performance.now();
    fill();
  });
}

function pingPong(to: number): void {
  let start = 0;
  let done = 0;
  let left = size;
  const socket = client(to, (bytes) => {
    left -= bytes;
    if (left > 0) return;
    left = size;
    if (++done < iterations) {
      socket.write(buffer);
      return;
    }
    console.log((performance.now() - start) / 1000);
    process.exit(0);
  });
  socket.once('connect', () => {
    start = performance.now();
    socket.write(buffer);
  });
}
