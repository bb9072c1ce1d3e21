/** One end of the connection that is measured: its memory, queues and completions, and the loop that is run on it. */

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
  CompletionStatus,
  ReceiveRequest,
  SendRequest,
  type SendOpcode,
  type WorkCompletion,
} from '../work.js';
import { endedBy } from './control.js';
import type { Plan } from './plan.js';
import { type Destination, strange } from './wire.js';

/** Receives that are posted at a time, and sends that wait for one at most. As perftest has it. */
export const RECEIVE_DEPTH = 512;
const POLL_BATCH = 64;
/** Two counts of credits, 32 bits each: the one to tell the peer, then the one that the peer writes. */
const CREDIT_BYTES = 8;
const OWN_CREDIT = 4;
/** What perftest gives its memory at least, whatever the size of a message: a page of either side. */
const LARGEST_PAGE = 2 << 20;
/** Until the peer has noticed an end in good order, milliseconds. */
const FAREWELL_MS = 2000;

/** A part of a run, on one side. Its `step` posts and polls what it can, and returns whether it is over. */
export interface Loop {
  step(): boolean;
}

export class DataEnd {
  readonly device: RdmaDevice;
  readonly plan: Plan;
  readonly sendQueue: CompletionQueue;
  readonly receiveQueue: CompletionQueue;
  readonly #records: WorkCompletion[] = completionRecords(POLL_BATCH);
  readonly memory: Memory;
  queuePair!: QueuePair;
  readonly #domain: ProtectionDomain;
  readonly #region: MemoryRegion;
  readonly #credits: MemoryRegion;
  readonly #receive = new ReceiveRequest();
  readonly #sendDepth: number;
  #connection: RdmaConnection | null = null;
  #peer: Destination | null = null;
  #loop: Loop | null = null;
  #settle: () => void = () => undefined;
  #isAwaited = false;
  #error: Error | null = null;
  #isConnected = false;
  #isOver = false;
  #failed: (error: Error) => void = () => undefined;
  #farewell: () => void = () => undefined;
  readonly #turn = (): void => {
    this.#isAwaited = false;
    this.#step();
  };

  /** `depth`: sends, writes or reads under way. `page`: bytes of a page, the larger of both sides'. */
  constructor(device: RdmaDevice, plan: Plan, depth: number, page: number) {
    if (!(page > 0 && page <= LARGEST_PAGE)) throw strange(`its pages have ${page} bytes`);
    this.device = device;
    this.plan = plan;
    this.#sendDepth = depth;
    this.#domain = device.allocateProtectionDomain();
    const half = Math.max(plan.size, page);
    this.memory = Memory.allocate(2 * half);
    this.#region = this.#domain.registerMemory(this.memory, accessFor(plan, device));
    this.#credits = this.#domain.registerMemory(
      Memory.allocate(CREDIT_BYTES),
      AccessFlag.LOCAL_WRITE | AccessFlag.REMOTE_WRITE,
    );
    const events = {
      completed: (): void => {
        this.#step();
      },
    };
    this.sendQueue = device.createCompletionQueue(depth + 1, events);
    this.receiveQueue = device.createCompletionQueue(RECEIVE_DEPTH + 1, events);
    this.#receive.sges.add(this.#region, half, plan.size);
  }

  /** Where the peer's data is in the memory; own data to send is at its beginning. */
  get #peerOffset(): number {
    return this.memory.length / 2;
  }

  /** The last byte of what the peer writes. */
  get lastByteOfPeer(): number {
    return this.#peerOffset + this.plan.size - 1;
  }

  /** Who takes sends writes how many it has taken: as perftest does on iWARP, where one too many ends the connection. */
  get hasCredits(): boolean {
    return !this.device.attributes.hasRnrRetry;
  }

  attach(connection: RdmaConnection): void {
    this.#connection?.close();
    this.#connection = connection;
    const options = {
      sendQueue: this.sendQueue,
      receiveQueue: this.receiveQueue,
      maxSendRequests: this.#sendDepth,
      maxReceiveRequests: RECEIVE_DEPTH,
    };
    this.queuePair = connection.createQueuePair(this.#domain, options, {
      disconnected: (error) => {
        if (connection !== this.#connection) return;
        this.#isOver = true;
        if (this.#isConnected) this.fail(endedBy(error));
      },
    });
  }

  /** From now on the end of the connection is a failure, of which `failed` is told, too. */
  connected(failed: (error: Error) => void): void {
    this.#failed = failed;
    this.#isConnected = true;
    if (this.#isOver) this.fail(endedBy(null));
  }

  /** What the peer has to know. */
  get destination(): Destination {
    const isSend = this.plan.operation === 'send';
    const region = isSend ? this.#credits : this.#region;
    const address = region.address + (isSend ? OWN_CREDIT : this.#peerOffset);
    return {
      outstandingReads: this.plan.operation === 'read' ? this.device.attributes.maxInitiatorDepth : 1,
      queuePairNumber: this.queuePair.number,
      addressHigh: Math.floor(address / 2 ** 32),
      addressLow: address >>> 0,
      remoteKey: region.remoteKey,
    };
  }

  set peer(destination: Destination) {
    this.#peer = destination;
  }

  /** A request for one message of the plan's size, signalled. */
  request(opcode: SendOpcode): SendRequest {
    const request = new SendRequest();
    request.opcode = opcode;
    request.sges.add(this.#region, 0, this.plan.size);
    this.#aim(request);
    return request;
  }

  /** A request that writes {@link creditToTell} where the peer expects it. */
  creditRequest(opcode: SendOpcode): SendRequest {
    const request = new SendRequest();
    request.opcode = opcode;
    request.sges.add(this.#credits, 0, OWN_CREDIT);
    this.#aim(request);
    return request;
  }

  #aim(request: SendRequest): void {
    request.remoteAddressHigh = this.#peer!.addressHigh;
    request.remoteAddressLow = this.#peer!.addressLow;
    request.remoteKey = this.#peer!.remoteKey;
  }

  /** perftest writes a number of its machine: little-endian on all but few. */
  set creditToTell(count: number) {
    this.#credits.memory.view.setUint32(0, count, true);
  }

  get credit(): number {
    return this.#credits.memory.view.getUint32(OWN_CREDIT, true);
  }

  /** Post a receive for a message of the plan's size. */
  postReceive(): void {
    this.queuePair.postReceive(this.#receive);
  }

  /** Take completions off `queue`, at most a batch; how many. @throws RiserError `BENCH_WORK` */
  poll(queue: CompletionQueue): number {
    const n = queue.poll(this.#records);
    for (let i = 0; i < n; i++) {
      const { status } = this.#records[i]!;
      if (status === CompletionStatus.SUCCESS) continue;
      // Why the connection is over comes with its end.
      if (status === CompletionStatus.FLUSH_ERROR) return i;
      throw workFailed(status);
    }
    return n;
  }

  /** Run `loop` to its end. @throws RiserError `BENCH_WORK`, `BENCH_ENDED` and the connection's errors */
  async run(loop: Loop): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#loop = loop;
      this.#settle = resolve;
      this.#step();
    });
    if (this.#loop !== null) throw this.#error!;
  }

  /** For a loop that waits for what gives no completion: a turn of the event loop later it gets its step. */
  again(): void {
    if (this.#isAwaited) return;
    this.#isAwaited = true;
    setImmediate(this.#turn);
  }

  #step(): void {
    if (this.#loop === null) return;
    try {
      // First armed, then polled: what comes from now on is told.
      this.sendQueue.arm();
      this.receiveQueue.arm();
      if (this.#loop.step()) this.#loop = null;
    } catch (error) {
      this.#error ??= error as Error;
    }
    if (this.#loop === null || this.#error !== null) this.#settle();
  }

  /** The end has come from elsewhere; the first reason is told. What came before it still counts. */
  fail(error: Error): void {
    this.#error ??= error;
    this.#step();
    this.#farewell();
    this.#failed(this.#error);
  }

  /** End in good order, and wait until the peer has, too. */
  async disconnect(): Promise<void> {
    this.#connection?.disconnect();
    await this.ended();
  }

  /** Wait for the peer's end, for a while. */
  async ended(limitMs = FAREWELL_MS): Promise<void> {
    if (this.#isOver || this.#connection === null) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.#farewell = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  close(): void {
    this.#connection?.close();
    this.#region.deregister();
    this.#credits.deregister();
    this.sendQueue.close();
    this.receiveQueue.close();
    this.#domain.close();
  }
}

/** What the peer does with the memory; and an adapter's reads of its own need the right to write. */
function accessFor({ operation }: Plan, { attributes }: RdmaDevice): number {
  const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ } = AccessFlag;
  if (operation === 'send') return LOCAL_WRITE;
  if (operation === 'write') return LOCAL_WRITE | REMOTE_WRITE;
  return LOCAL_WRITE | REMOTE_READ | (attributes.readNeedsRemoteWrite ? REMOTE_WRITE : 0);
}

function workFailed(status: CompletionStatus): RiserError {
  const [name = `${status}`] = Object.entries(CompletionStatus).find(([, value]) => value === status) ?? [];
  return new RiserError('BENCH_WORK', `a work request failed: ${name.toLowerCase().replaceAll('_', ' ')}`, {
    by: 'peer',
    costs: 'process',
    remedy: 'Operation, size and iterations have to be the same on both sides.',
  });
}
