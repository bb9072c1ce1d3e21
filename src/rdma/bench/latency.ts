/** The loops of a latency test: one message under way at a time. They allocate nothing but what a turn of the event loop does. */

import { SendOpcode, type SendRequest } from '../work.js';
import { type DataEnd, type Loop, RECEIVE_DEPTH } from './data-end.js';

abstract class LatencyLoop implements Loop {
  /** When each message was posted. */
  readonly times: Float64Array;
  protected readonly end: DataEnd;
  protected readonly iterations: number;
  protected readonly request: SendRequest;
  protected posted = 0;

  constructor(end: DataEnd, opcode: SendOpcode) {
    this.end = end;
    this.iterations = end.plan.iterations;
    this.request = end.request(opcode);
    this.times = new Float64Array(this.iterations);
  }

  abstract step(): boolean;

  protected post(): void {
    this.times[this.posted++] = performance.now();
    this.end.queuePair.postSend(this.request);
    this.end.queuePair.flush();
  }
}

/** Reads, one after the other; the peer does nothing. */
export class ReadLatency extends LatencyLoop {
  #completed = 0;

  constructor(end: DataEnd) {
    super(end, SendOpcode.RDMA_READ);
  }

  step(): boolean {
    this.#completed += this.end.poll(this.end.sendQueue);
    if (this.#completed === this.iterations) return true;
    if (this.posted === this.#completed) this.post();
    return false;
  }
}

/** Sends to and fro; the client begins. */
export class SendLatency extends LatencyLoop {
  readonly #begins: boolean;
  #received = 0;
  #completed = 0;
  #receives: number;

  static prepare(end: DataEnd): void {
    const depth = Math.min(RECEIVE_DEPTH, end.plan.iterations);
    for (let i = 0; i < depth; i++) end.postReceive();
  }

  constructor(end: DataEnd, isClient: boolean) {
    super(end, SendOpcode.SEND);
    this.#begins = isClient;
    this.#receives = Math.min(RECEIVE_DEPTH, this.iterations);
  }

  step(): boolean {
    const { end, iterations } = this;
    this.#completed += end.poll(end.sendQueue);
    const received = end.poll(end.receiveQueue);
    this.#received += received;
    for (let i = 0; i < received && this.#receives < iterations; i++) {
      end.postReceive();
      this.#receives++;
    }
    const due = Math.min(iterations, this.#received + (this.#begins ? 1 : 0));
    if (this.posted < due && end.queuePair.sendRoom > 0) this.post();
    return this.#received === iterations && this.#completed === iterations;
  }
}

/**
 * Writes to and fro, each of which the other side sees in its memory: the last byte is the number of the message. The
 * server begins, as perftest has it.
 */
export class WriteLatency extends LatencyLoop {
  readonly #begins: boolean;
  #seen = 0;
  #completed = 0;

  constructor(end: DataEnd, isClient: boolean) {
    super(end, SendOpcode.RDMA_WRITE);
    this.#begins = !isClient;
  }

  step(): boolean {
    const { end, iterations } = this;
    const { bytes } = end.memory;
    this.#completed += end.poll(end.sendQueue);
    if (this.#seen < iterations && bytes[end.lastByteOfPeer] === ((this.#seen + 1) & 0xff)) this.#seen++;
    const due = Math.min(iterations, this.#seen + (this.#begins ? 1 : 0));
    // What is under way must not change: the one before has to be over.
    if (this.posted < due && this.posted === this.#completed) {
      bytes[end.plan.size - 1] = this.posted + 1;
      this.post();
    }
    if (this.#seen === iterations && this.#completed === iterations) return true;
    // Nothing else tells of a write.
    end.again();
    return false;
  }
}
