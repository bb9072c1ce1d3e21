/**
 * The connection by which both sides of a benchmark agree and keep in step, as perftest does with `-R`: RDMA Sends
 * that take turns, the client's first. There is one receive posted at any time, and never more under way.
 */

import { RiserError } from '../../util/errors.js';
import { Memory } from '../../util/memory.js';
import {
  AccessFlag,
  type CompletionQueue,
  type MemoryRegion,
  type ProtectionDomain,
  type QueuePair,
  type RdmaConnection,
  type RdmaDevice,
} from '../verbs.js';
import {
  completionRecords,
  CompletionOpcode,
  CompletionStatus,
  ReceiveRequest,
  SendRequest,
} from '../work.js';
import { LONGEST_RECORD, strange } from './wire.js';

/** perftest sleeps a second between its steps at times; a machine under load takes longer. */
const PATIENCE_MS = 30_000;

export type Role = 'client' | 'server';

export class Control {
  readonly #role: Role;
  readonly #connection: RdmaConnection;
  readonly #domain: ProtectionDomain;
  readonly #queue: CompletionQueue;
  readonly #queuePair: QueuePair;
  readonly #region: MemoryRegion;
  readonly #records = completionRecords(4);
  readonly #send = new SendRequest();
  readonly #receive = new ReceiveRequest();
  #received: Buffer | null = null;
  #error: Error | null = null;
  #wake: () => void = () => undefined;

  constructor(device: RdmaDevice, connection: RdmaConnection, role: Role) {
    this.#role = role;
    this.#connection = connection;
    this.#domain = device.allocateProtectionDomain();
    this.#region = this.#domain.registerMemory(Memory.allocate(2 * LONGEST_RECORD), AccessFlag.LOCAL_WRITE);
    this.#queue = device.createCompletionQueue(8, {
      completed: () => {
        this.#drain();
      },
    });
    const options = {
      sendQueue: this.#queue,
      receiveQueue: this.#queue,
      maxSendRequests: 4,
      maxReceiveRequests: 4,
    };
    this.#queuePair = connection.createQueuePair(this.#domain, options, {
      disconnected: (error) => {
        this.fail(endedBy(error));
      },
    });
    this.#receive.sges.add(this.#region, LONGEST_RECORD, LONGEST_RECORD);
    this.#queuePair.postReceive(this.#receive);
    this.#queue.arm();
  }

  get remoteAddress(): string {
    return this.#connection.remoteAddress;
  }

  /** Nothing comes any more; the first reason is told. */
  fail(error: Error): void {
    this.#error ??= error;
    this.#wake();
  }

  /**
   * Give `mine`, and get what the peer gives for it, of the same length. `patience`: how long it may take, milliseconds;
   * Infinity while a run is on.
   *
   * @throws RiserError `BENCH_PEER`, `BENCH_ENDED`, `RDMA_TIMEOUT`
   */
  async exchange(mine: Uint8Array, patience = PATIENCE_MS): Promise<Buffer> {
    if (this.#role === 'client') this.#give(mine);
    const theirs = await this.#take(patience);
    if (this.#role === 'server') this.#give(mine);
    if (theirs.length < mine.length)
      throw strange(`it sent ${theirs.length} bytes where ${mine.length} are due`);
    return theirs;
  }

  #give(mine: Uint8Array): void {
    if (this.#error !== null) throw this.#error;
    const { memory } = this.#region;
    memory.bytes.set(mine);
    this.#send.sges.clear().add(this.#region, 0, mine.length);
    this.#queuePair.postSend(this.#send);
    this.#queuePair.flush();
  }

  async #take(patience: number): Promise<Buffer> {
    if (this.#received === null && this.#error === null) {
      await new Promise<void>((resolve) => {
        const timer = Number.isFinite(patience) ? setTimeout(resolve, patience) : undefined;
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = () => undefined;
    }
    const received = this.#received;
    this.#received = null;
    if (received !== null) return received;
    throw this.#error ?? silence(patience);
  }

  #drain(): void {
    this.#queue.arm();
    for (let n; (n = this.#queue.poll(this.#records)) > 0;) {
      for (let i = 0; i < n; i++) {
        const { status, opcode, byteLength } = this.#records[i]!;
        if (status !== CompletionStatus.SUCCESS) continue; // The end of the connection follows.
        if (opcode !== CompletionOpcode.RECEIVE) continue;
        // A copy: the receive is posted again at once, so that the peer may go on.
        this.#received = Buffer.from(
          this.#region.memory.bytes.subarray(LONGEST_RECORD, LONGEST_RECORD + byteLength),
        );
        this.#queuePair.postReceive(this.#receive);
        this.#wake();
      }
    }
  }

  close(): void {
    this.#connection.close();
    this.#region.deregister();
    this.#queue.close();
    this.#domain.close();
  }
}

/** A connection is over before the run is: for `error`, or in good order. */
export function endedBy(error: Error | null): RiserError {
  if (error instanceof RiserError) return error;
  const how = error === null ? '' : `: ${error.message}`;
  return new RiserError('BENCH_ENDED', `the peer ended before the run was over${how}`, {
    ...ENDED,
    cause: error,
  });
}

const ENDED = {
  by: 'peer',
  costs: 'process',
  remedy: 'Look what it says; operation, size and iterations have to be the same on both sides.',
} as const;

function silence(patience: number): RiserError {
  return new RiserError('RDMA_TIMEOUT', `the peer sent nothing within ${patience / 1000} s`, ENDED);
}
