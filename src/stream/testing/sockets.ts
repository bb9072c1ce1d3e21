/** For tests of byte streams: both implementations over loopback sockets, and a listener to what they tell. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { Memory, ScatterList } from '../../util/memory.js';
import { libc, libcMissing } from '../../util/posix/libc.js';
import type { ByteStream, ByteStreamEvents } from '../byte-stream.js';
import { NodeStream } from '../node-stream.js';
import { PolledStream, tcpHandleOf } from '../polled-stream.js';
import { Poller } from '../poller.js';

/** Whose bytes are sent. */
export class Transfer {
  readonly buffer = new ScatterList();
}

/** Collects what a stream tells. */
export class Listener implements ByteStreamEvents<Transfer> {
  readonly received: Buffer[] = [];
  readonly releases: Transfer[] = [];
  closes = 0;
  error: Error | null = null;
  readonly #buffer = Memory.allocate(3000);
  stream!: ByteStream<Transfer>;

  readable(): void {
    for (let n; (n = this.stream.read(this.#buffer, 0, this.#buffer.length)) > 0;) {
      this.received.push(Buffer.from(this.#buffer.bytes.subarray(0, n)));
    }
  }

  released(owner: Transfer): void {
    this.releases.push(owner);
  }

  closed(error: Error | null): void {
    this.closes++;
    this.error = error;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.received);
  }
}

export function pattern(length: number): Memory {
  const memory = Memory.allocate(length);
  for (let i = 0; i < length; i++) memory.bytes[i] = (i * 7 + (i >>> 8)) & 0xff;
  return memory;
}

export async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, 'nothing happened for 10 s');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Both ends of a new connection: the accepted socket, and its peer. */
export async function connected(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[net.Socket]>;
  const peer = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const [socket] = await accepted;
  server.close();
  return [socket, peer];
}

/** A stream on an accepted socket, a listener to it, and its peer. */
export interface Pair {
  listener: Listener;
  stream: ByteStream<Transfer>;
  peer: net.Socket;
}

/** Makes pairs; `close` closes all of them. */
export function pairs(open: Open): { pair: () => Promise<Pair>; close: () => void } {
  const cleanups: (() => void)[] = [];
  return {
    pair: async () => {
      const listener = new Listener();
      const [socket, peer] = await connected();
      const stream = open(socket);
      stream.events = listener;
      listener.stream = stream;
      cleanups.push(() => {
        peer.destroy();
        stream.destroy(null);
      });
      return { listener, stream, peer };
    },
    close: () => {
      for (const cleanup of cleanups.splice(0)) cleanup();
    },
  };
}

export type Open = (socket: net.Socket) => ByteStream<Transfer>;

export const withoutLibc = libc === null ? `foreign functions are ${libcMissing}` : false;
export const poller = libc === null ? null : new Poller(libc, true);

/** Name, why it cannot be tested here, and how a stream is opened. */
export const IMPLEMENTATIONS: readonly [string, string | false, Open][] = [
  ['NodeStream', false, (socket) => new NodeStream<Transfer>(socket)],
  [
    'PolledStream',
    withoutLibc,
    (socket) => {
      const handle = tcpHandleOf(socket);
      assert.ok(handle !== null, 'this Node offers no socket descriptor');
      return new PolledStream<Transfer>(socket, handle, libc!, poller!);
    },
  ],
];
