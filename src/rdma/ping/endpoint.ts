/**
 * What both ends of a ping have: a queue pair, a receive for the peer's next message, and work whose completion is waited for,
 * one step at a time and each for a limited time.
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
} from '../verbs.js';
import {
  CompletionOpcode,
  completionRecords,
  CompletionStatus,
  ReceiveRequest,
  SendFlag,
  SendOpcode,
  SendRequest,
  type WorkCompletion,
} from '../work.js';
import {
  type Advertisement,
  ADVERTISEMENT_BYTES,
  getAdvertisement,
  putAdvertisement,
} from './advertisement.js';

/** A message in, and one out. */
const IN = 0;
const OUT = ADVERTISEMENT_BYTES;

/** The server has two requests outstanding at most, a Write and the Send after it; both sides one receive. */
const MAX_SEND_REQUESTS = 2;
const MAX_RECEIVE_REQUESTS = 1;

/** How long an end in order may take, milliseconds. */
const GRACE = 1000;

export class PingEndpoint {
  readonly connection: RdmaConnection;
  readonly #timeout: number;
  readonly #domain: ProtectionDomain;
  readonly #queue: CompletionQueue;
  readonly #queuePair: QueuePair;
  readonly #regions: MemoryRegion[] = [];
  readonly #messages: MemoryRegion;
  readonly #records = completionRecords(MAX_SEND_REQUESTS + MAX_RECEIVE_REQUESTS);
  readonly #request = new SendRequest();
  readonly #receiveRequest = new ReceiveRequest();
  /** Ids of the last request that was posted, and of the last that was completed. */
  #posted = 0;
  #completed = 0;
  /** Bytes of a message that nobody has taken yet. */
  #received: number | null = null;
  #isDisconnected = false;
  #isClosed = false;
  #failure: Error | null = null;
  #wake: () => void = () => undefined;

  /** Takes over `connection`, and closes it if that fails. `timeout`: milliseconds for each step. */
  constructor(connection: RdmaConnection, timeout: number) {
    const { device } = connection;
    this.connection = connection;
    this.#timeout = timeout;
    this.#domain = device.allocateProtectionDomain();
    this.#queue = device.createCompletionQueue(MAX_SEND_REQUESTS + MAX_RECEIVE_REQUESTS, {
      completed: () => {
        this.#poll();
      },
    });
    this.#queue.arm();
    const options = {
      sendQueue: this.#queue,
      receiveQueue: this.#queue,
      maxSendRequests: MAX_SEND_REQUESTS,
      maxReceiveRequests: MAX_RECEIVE_REQUESTS,
    };
    try {
      this.#queuePair = connection.createQueuePair(this.#domain, options, {
        disconnected: (error) => {
          this.#isDisconnected = true;
          this.#fail(error ?? closedByPeer());
        },
      });
      this.#messages = this.register(Memory.allocate(2 * ADVERTISEMENT_BYTES), AccessFlag.LOCAL_WRITE);
      this.#receiveRequest.sges.add(this.#messages, IN, ADVERTISEMENT_BYTES);
      this.#queuePair.postReceive(this.#receiveRequest);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Why nothing more can be done, or null. */
  get failure(): Error | null {
    return this.#failure;
  }

  /** Memory of this end, until it is closed. `access`: of {@link AccessFlag}. */
  register(memory: Memory, access: number): MemoryRegion {
    const region = this.#domain.registerMemory(memory, access);
    this.#regions.push(region);
    return region;
  }

  /**
   * The peer's next message.
   *
   * @throws RiserError `RDMA_PING_MESSAGE` when it has another length than an advertisement; `RDMA_CLOSED` when the peer ends
   *   the connection instead; and as {@link read}
   */
  async receive(): Promise<Advertisement> {
    await this.#until(() => this.#received !== null);
    const bytes = this.#received;
    this.#received = null;
    if (bytes !== ADVERTISEMENT_BYTES)
      throw badMessage(`a message of ${bytes} bytes instead of ${ADVERTISEMENT_BYTES}`);
    const advertisement = getAdvertisement(this.#messages.memory.bytes, IN);
    // Before the answer that lets the peer send its next message.
    this.#queuePair.postReceive(this.#receiveRequest);
    return advertisement;
  }

  /** Send a message; resolves when it was sent. Throws as {@link read}. */
  async send(message: Advertisement): Promise<void> {
    putAdvertisement(this.#messages.memory.bytes, OUT, message);
    this.#request.remoteKey = 0;
    this.#request.setRemoteAddress(0);
    await this.#perform(SendOpcode.SEND, this.#messages, OUT, ADVERTISEMENT_BYTES);
  }

  /**
   * Read the start of the peer's memory `from` into that of `region`; all of it, which must not be larger.
   *
   * @throws RiserError `RDMA_TIMEOUT`, `RDMA_WORK_FAILED`, or what ended the connection
   */
  async read(region: MemoryRegion, from: Advertisement): Promise<void> {
    this.#aim(from);
    await this.#perform(SendOpcode.RDMA_READ, region, 0, from.size);
  }

  /** Write `length` bytes of `region` to the start of the peer's memory `to`, before what is sent next. */
  write(region: MemoryRegion, length: number, to: Advertisement): void {
    this.#aim(to);
    this.#post(SendOpcode.RDMA_WRITE, region, 0, length, 0);
  }

  /** End in order, then let go of everything. */
  async disconnect(): Promise<void> {
    if (!this.#isDisconnected) {
      this.connection.disconnect();
      await this.#ended();
    }
    this.close();
  }

  /** End at once; who waits for something waits no more. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#fail(closedHere());
    this.connection.close();
    for (const region of this.#regions) region.deregister();
    this.#regions.length = 0;
    this.#queue.close();
    this.#domain.close();
  }

  #aim({ addressHigh, addressLow, remoteKey }: Advertisement): void {
    this.#request.remoteAddressHigh = addressHigh;
    this.#request.remoteAddressLow = addressLow;
    this.#request.remoteKey = remoteKey;
  }

  #post(opcode: SendOpcode, region: MemoryRegion, offset: number, length: number, flags: number): void {
    if (this.#failure !== null) throw this.#failure;
    const request = this.#request;
    request.id = ++this.#posted;
    request.opcode = opcode;
    request.flags = flags;
    request.sges.clear().add(region, offset, length);
    this.#queuePair.postSend(request);
  }

  async #perform(opcode: SendOpcode, region: MemoryRegion, offset: number, length: number): Promise<void> {
    this.#post(opcode, region, offset, length, SendFlag.SIGNALED);
    this.#queuePair.flush();
    await this.#until(() => this.#completed === this.#posted);
  }

  /** What is there counts before what ended the connection since. */
  async #until(isThere: () => boolean): Promise<void> {
    const timer = setTimeout(() => {
      this.#fail(silent(this.#timeout));
    }, this.#timeout);
    try {
      while (!isThere()) {
        if (this.#failure !== null) throw this.#failure;
        await this.#news();
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async #ended(): Promise<void> {
    const deadline = performance.now() + GRACE;
    const timer = setTimeout(() => {
      this.#wake();
    }, GRACE);
    while (!this.#isDisconnected && performance.now() < deadline) await this.#news();
    clearTimeout(timer);
  }

  #news(): Promise<void> {
    const wakeBefore = this.#wake;
    return new Promise((resolve) => {
      this.#wake = () => {
        wakeBefore();
        resolve();
      };
    });
  }

  #poll(): void {
    // Armed before, so that what comes while it is polled is told of, too.
    this.#queue.arm();
    for (let n; (n = this.#queue.poll(this.#records)) > 0;) {
      for (let i = 0; i < n; i++) this.#handle(this.#records[i]!);
    }
    this.#tell();
  }

  #handle({ id, status, opcode, byteLength }: WorkCompletion): void {
    if (status === CompletionStatus.FLUSH_ERROR) return; // `disconnected` follows, and says why.
    if (status !== CompletionStatus.SUCCESS) this.#fail(workFailed(status));
    else if (opcode === CompletionOpcode.RECEIVE) this.#received = byteLength;
    else this.#completed = id;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#tell();
  }

  #tell(): void {
    const wake = this.#wake;
    this.#wake = () => undefined;
    wake();
  }
}

/** What a peer did wrong that the protocol has no word for. */
export function badMessage(what: string): RiserError {
  return new RiserError('RDMA_PING_MESSAGE', `the peer sent ${what}`, {
    by: 'peer',
    costs: 'connection',
    remedy: "Check that it speaks rping's protocol.",
  });
}

function closedByPeer(): RiserError {
  return new RiserError('RDMA_CLOSED', 'the peer closed the connection', { by: 'peer', costs: 'connection' });
}

function closedHere(): RiserError {
  return new RiserError('RDMA_CLOSED', 'the connection is closed', { by: 'local', costs: 'connection' });
}

function silent(timeout: number): RiserError {
  return new RiserError('RDMA_TIMEOUT', `the peer was silent for ${timeout / 1000} s`, {
    by: 'peer',
    costs: 'connection',
  });
}

const WHY: Partial<Record<CompletionStatus, string>> = {
  [CompletionStatus.LOCAL_LENGTH_ERROR]: 'the peer sent more than an advertisement',
  [CompletionStatus.REMOTE_ACCESS_ERROR]:
    'the peer does not grant access to the memory that it had advertised',
  [CompletionStatus.RETRY_EXCEEDED_ERROR]: 'the peer does not answer any more',
  [CompletionStatus.RNR_RETRY_EXCEEDED_ERROR]: 'the peer was not ready to receive',
};

function workFailed(status: CompletionStatus): RiserError {
  const name = Object.entries(CompletionStatus).find(([, value]) => value === status)![0];
  return new RiserError('RDMA_WORK_FAILED', `${WHY[status] ?? 'the work failed'} (${name})`, {
    by: 'peer',
    costs: 'connection',
  });
}
