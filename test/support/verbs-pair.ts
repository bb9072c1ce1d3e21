/** Two ends of an RDMA connection over one provider, for tests: registered memory, queues, and what completed. */

import assert from 'node:assert/strict';
import {
  AccessFlag,
  type CompletionQueue,
  type ConnectionParameters,
  type Established,
  type MemoryRegion,
  type ProtectionDomain,
  type QueuePair,
  type QueuePairOptions,
  type RdmaConnection,
  type RdmaDevice,
  type RdmaListener,
} from '../../src/rdma/verbs.js';
import type { SendOpcode } from '../../src/rdma/work.js';
import { completionRecords, ReceiveRequest, SendRequest, WorkCompletion } from '../../src/rdma/work.js';
import { Memory } from '../../src/util/memory.js';

export const MEMORY_BYTES = 1 << 20;
const ALL_RIGHTS =
  AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_WRITE | AccessFlag.REMOTE_READ | AccessFlag.WINDOW_BIND;
const DEADLINE_MS = 20_000;

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`${what}: not within ${DEADLINE_MS / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

export interface EndOptions {
  queuePair?: Partial<QueuePairOptions>;
  /** Rights to the memory; default: all. */
  access?: number;
  completions?: number;
  /** Shared with another end, which closes it. */
  domain?: ProtectionDomain;
}

/** One end. Its completion queue is polled by `drain`, or by itself when `completed` tells. */
export class End {
  readonly device: RdmaDevice;
  readonly domain: ProtectionDomain;
  readonly queue: CompletionQueue;
  readonly memory = Memory.allocate(MEMORY_BYTES);
  readonly region: MemoryRegion;
  readonly completions: WorkCompletion[] = [];
  readonly #records = completionRecords(7);
  readonly #options: EndOptions;
  #connection: RdmaConnection | null = null;
  queuePair!: QueuePair;
  /** Undefined while connected. */
  ended: Error | null | undefined;
  wakeUps = 0;
  overruns = 0;

  constructor(device: RdmaDevice, options: EndOptions = {}) {
    this.device = device;
    this.#options = options;
    this.domain = options.domain ?? device.allocateProtectionDomain();
    this.queue = device.createCompletionQueue(options.completions ?? 256, {
      completed: () => {
        this.wakeUps++;
      },
      overrun: () => {
        this.overruns++;
      },
    });
    this.region = this.domain.registerMemory(this.memory, options.access ?? ALL_RIGHTS);
  }

  get isAttached(): boolean {
    return this.#connection !== null;
  }

  get connection(): RdmaConnection {
    assert.ok(this.#connection !== null, 'there is no connection yet');
    return this.#connection;
  }

  attach(connection: RdmaConnection): void {
    this.#connection = connection;
    this.queuePair = connection.createQueuePair(
      this.domain,
      {
        sendQueue: this.queue,
        receiveQueue: this.queue,
        maxSendRequests: 32,
        maxReceiveRequests: 32,
        maxSges: 4,
        ...this.#options.queuePair,
      },
      {
        disconnected: (error) => {
          assert.equal(this.ended, undefined, 'disconnected is told once');
          this.ended = error;
        },
      },
    );
  }

  receive(id: number, offset: number, length: number): void {
    const request = new ReceiveRequest();
    request.id = id;
    request.sges.add(this.region, offset, length);
    this.queuePair.postReceive(request);
  }

  /** A request on bytes of the memory; not posted. */
  request(opcode: SendOpcode, id: number, offset: number, length: number): SendRequest {
    const request = new SendRequest();
    request.opcode = opcode;
    request.id = id;
    request.sges.add(this.region, offset, length);
    return request;
  }

  /** A request that reaches the peer's memory from byte `at` on. */
  remote(opcode: SendOpcode, id: number, offset: number, length: number, peer: End, at: number): SendRequest {
    const request = this.request(opcode, id, offset, length);
    request.remoteKey = peer.region.remoteKey;
    request.setRemoteAddress(peer.region.address + at);
    return request;
  }

  post(...requests: SendRequest[]): void {
    for (const request of requests) this.queuePair.postSend(request);
    this.queuePair.flush();
  }

  drain(): WorkCompletion[] {
    for (let n; (n = this.queue.poll(this.#records)) > 0;) {
      for (let i = 0; i < n; i++)
        this.completions.push(Object.assign(new WorkCompletion(), this.#records[i]));
    }
    return this.completions;
  }

  async completed(count: number): Promise<WorkCompletion[]> {
    await until(() => this.drain().length >= count, `${count} completions`);
    return this.completions;
  }

  async disconnected(): Promise<Error | null> {
    await until(() => this.ended !== undefined, 'the end of the connection');
    return this.ended!;
  }

  /** Everything, in the order in which it has to be. */
  close(): void {
    this.#connection?.close();
    this.region.deregister();
    this.queue.close();
    if (this.#options.domain === undefined) this.domain.close();
  }
}

/** A connected pair. */
export class Pair {
  readonly active: End;
  readonly passive: End;
  established!: Established;
  requested!: Established;
  readonly #listener: RdmaListener;

  private constructor(active: End, passive: End, listener: RdmaListener) {
    this.active = active;
    this.passive = passive;
    this.#listener = listener;
  }

  static async connect(
    devices: readonly [RdmaDevice, RdmaDevice],
    address: string,
    options: {
      active?: EndOptions;
      passive?: EndOptions;
      connect?: ConnectionParameters;
      accept?: ConnectionParameters;
      /** Before the passive side accepts. */
      beforeAccept?: (passive: End) => void;
    } = {},
  ): Promise<Pair> {
    const active = new End(devices[0], options.active);
    const passive = new End(devices[1], options.passive);
    let accepted = Promise.resolve();
    let requested: Established | null = null;
    const listener = await devices[1].listen(
      { address, port: 0 },
      {
        requested: (request, parameters) => {
          requested = parameters;
          passive.attach(request);
          options.beforeAccept?.(passive);
          accepted = request.accept(options.accept);
        },
      },
    );
    const pair = new Pair(active, passive, listener);
    active.attach(await devices[0].resolve({ host: address, port: listener.port }));
    pair.established = await active.connection.connect(options.connect);
    await accepted;
    pair.requested = requested!;
    return pair;
  }

  async close(): Promise<void> {
    this.active.close();
    this.passive.close();
    await this.#listener.close();
  }
}
