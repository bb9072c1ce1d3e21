/**
 * A TCP proxy that is a bad network: from a seed it passes bytes on late, in pieces, in part or not at all, and
 * ends connections in every way. Without faults it can still be a slow one. It never changes a byte: TCP does
 * not either.
 */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { randomFrom } from './random.js';

export interface FaultProxyOptions {
  seed: number;
  /** Port of the target on 127.0.0.1; asked for every connection. */
  targetPort: () => number;
  /** Milliseconds that a connection lives, on average, until its fault. */
  lifeMs: number;
  /** The most that goes each way of a connection; no limit by default. */
  bytesPerSecond?: number;
}

/** How often each fault happened. */
export interface FaultCounts {
  connections: number;
  /** Both sides are reset. */
  resets: number;
  /** Both sides are closed in order. */
  ends: number;
  /** The rest of a chunk is swallowed, then the connection is closed. */
  truncations: number;
  /** Nothing is passed on any more, and nobody is told. */
  blackholes: number;
  /** Chunks that were held back for a while. */
  delays: number;
}

const FAULTS = ['resets', 'ends', 'truncations', 'blackholes'] as const;
type Fault = (typeof FAULTS)[number];

export class FaultProxy {
  readonly counts: FaultCounts = {
    connections: 0,
    resets: 0,
    ends: 0,
    truncations: 0,
    blackholes: 0,
    delays: 0,
  };
  /** While false, connections are passed on without faults. */
  isFaulty = true;
  readonly #options: FaultProxyOptions;
  readonly #random: () => number;
  readonly #server: Server;
  readonly #pipes = new Set<Pipe>();

  private constructor(server: Server, options: FaultProxyOptions) {
    this.#server = server;
    this.#options = options;
    this.#random = randomFrom(options.seed);
    server.on('connection', (client) => {
      this.counts.connections++;
      const pipe: Pipe = new Pipe(
        client,
        connect(options.targetPort(), '127.0.0.1'),
        this.#random,
        this.counts,
        options.bytesPerSecond ?? Infinity,
        () => {
          clearTimeout(timer);
          this.#pipes.delete(pipe);
        },
      );
      this.#pipes.add(pipe);
      const fault = FAULTS[Math.floor(this.#random() * FAULTS.length)]!;
      const life = -Math.log(1 - this.#random()) * this.#options.lifeMs;
      const timer = setTimeout(() => {
        if (this.isFaulty) pipe.fail(fault);
      }, life);
    });
  }

  static async start(options: FaultProxyOptions): Promise<FaultProxy> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FaultProxy(server, options);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#server.close();
    for (const pipe of [...this.#pipes]) pipe.destroy();
    await once(this.#server, 'close');
  }
}

/** One connection through the proxy. */
class Pipe {
  readonly #client: Socket;
  readonly #target: Socket;
  readonly #random: () => number;
  readonly #counts: FaultCounts;
  readonly #bytesPerSecond: number;
  readonly #ended: () => void;
  /** What happens to the next chunk. */
  #next: Fault | null = null;
  #isDark = false;
  #isOver = false;

  constructor(
    client: Socket,
    target: Socket,
    random: () => number,
    counts: FaultCounts,
    bytesPerSecond: number,
    ended: () => void,
  ) {
    this.#client = client;
    this.#target = target;
    this.#random = random;
    this.#counts = counts;
    this.#bytesPerSecond = bytesPerSecond;
    this.#ended = ended;
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      from.setNoDelay(true);
      from.on('error', () => {
        this.destroy();
      });
      from.on('close', () => {
        this.destroy();
      });
      from.on('data', (chunk) => {
        this.#pass(from, to, chunk);
      });
    }
  }

  fail(fault: Fault): void {
    if (this.#isOver) return;
    this.#counts[fault]++;
    if (fault === 'resets') {
      this.#client.resetAndDestroy();
      this.#target.resetAndDestroy();
    } else if (fault === 'ends') this.destroy();
    else if (fault === 'truncations') this.#next = fault;
    else this.#isDark = true;
  }

  destroy(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#client.destroy();
    this.#target.destroy();
    this.#ended();
  }

  #pass(from: Socket, to: Socket, chunk: Buffer): void {
    if (this.#isDark || this.#isOver) return;
    if (this.#next === 'truncations') {
      this.#isDark = true;
      to.end(chunk.subarray(0, Math.floor(this.#random() * chunk.length)), () => {
        this.destroy();
      });
      return;
    }
    const dice = this.#random();
    if (dice < 0.02) {
      // Late, but in order: nothing else comes from there meanwhile.
      this.#counts.delays++;
      from.pause();
      setTimeout(() => {
        // The write resumes it: were it resumed twice, the second time could overtake a chunk held back like this.
        if (this.#isDark) from.resume();
        else this.#write(from, to, chunk);
      }, this.#random() * 100);
    } else if (dice < 0.2) {
      const at = Math.floor(this.#random() * chunk.length);
      to.write(chunk.subarray(0, at));
      this.#write(from, to, chunk.subarray(at));
    } else this.#write(from, to, chunk);
  }

  /** Nothing more is taken from `from` until there is room, and time, for it. */
  #write(from: Socket, to: Socket, chunk: Buffer): void {
    if (this.#isOver) return;
    const pauseMs = (chunk.length / this.#bytesPerSecond) * 1000;
    const goOn = (): void => {
      if (pauseMs > 0) setTimeout(() => from.resume(), pauseMs);
      else from.resume();
    };
    from.pause();
    if (to.write(chunk)) goOn();
    else to.once('drain', goOn);
  }
}
