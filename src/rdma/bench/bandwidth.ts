/** The loops of a bandwidth test: as much as the depth allows under way. They allocate nothing. */

import { SendOpcode, type SendRequest } from '../work.js';
import { type DataEnd, type Loop, RECEIVE_DEPTH } from './data-end.js';
import type { Operation } from './plan.js';
import { type BandwidthTimes, MOST_WITH_PEAK } from './results.js';

const OPCODES: Record<Operation, SendOpcode> = {
  write: SendOpcode.RDMA_WRITE,
  read: SendOpcode.RDMA_READ,
  send: SendOpcode.SEND,
};

/** Who writes, reads or sends. */
export class BandwidthRequester implements Loop {
  readonly times: BandwidthTimes;
  readonly #end: DataEnd;
  readonly #request: SendRequest;
  readonly #iterations: number;
  readonly #hasCredits: boolean;
  readonly #receiveDepth: number;
  #posted = 0;
  #completed = 0;

  constructor(end: DataEnd) {
    const { operation, iterations } = end.plan;
    this.#end = end;
    this.#iterations = iterations;
    this.#hasCredits = operation === 'send' && end.hasCredits;
    this.#receiveDepth = receiveDepthFor(iterations);
    this.#request = end.request(OPCODES[operation]);
    const kept = iterations <= MOST_WITH_PEAK ? iterations : 0;
    this.times = {
      begin: performance.now(),
      end: 0,
      posted: new Float64Array(kept),
      completed: new Float64Array(kept),
    };
  }

  step(): boolean {
    const end = this.#end;
    for (let n; (n = end.poll(end.sendQueue)) > 0;) this.#completedNow(n);
    if (this.#completed === this.#iterations) {
      this.times.end = performance.now();
      return true;
    }
    this.#post();
    return false;
  }

  #completedNow(count: number): void {
    const { completed } = this.times;
    if (completed.length > 0) completed.fill(performance.now(), this.#completed, this.#completed + count);
    this.#completed += count;
  }

  #post(): void {
    const { queuePair } = this.#end;
    const before = this.#posted;
    const most = Math.min(queuePair.sendRoom, this.#iterations - this.#posted);
    const allowed = this.#hasCredits ? Math.min(most, this.#credits()) : most;
    for (let i = 0; i < allowed; i++) queuePair.postSend(this.#request);
    this.#posted += allowed;
    const { posted } = this.times;
    if (posted.length > 0) posted.fill(performance.now(), before, this.#posted);
    if (allowed > 0) queuePair.flush();
    // The peer's word of new receives comes without completion.
    if (allowed < most) this.#end.again();
  }

  /** Sends for which a receive is left; one is kept back, as perftest does. */
  #credits(): number {
    const taken = (this.#posted - this.#end.credit) >>> 0;
    return Math.max(0, this.#receiveDepth - 1 - taken);
  }
}

/** Who takes sends, and tells how many it has taken. */
export class BandwidthReceiver implements Loop {
  readonly times: BandwidthTimes = {
    begin: 0,
    end: 0,
    posted: new Float64Array(0),
    completed: new Float64Array(0),
  };
  readonly #end: DataEnd;
  readonly #iterations: number;
  readonly #receiveDepth: number;
  readonly #creditStep: number;
  readonly #credit: SendRequest | null;
  #received = 0;
  #posted = 0;
  #told = 0;

  /** Post the receives for a start: before the peer may begin. */
  static prepare(end: DataEnd): void {
    const depth = receiveDepthFor(end.plan.iterations);
    for (let i = 0; i < depth; i++) end.postReceive();
  }

  constructor(end: DataEnd) {
    this.#end = end;
    this.#iterations = end.plan.iterations;
    this.#receiveDepth = receiveDepthFor(this.#iterations);
    this.#creditStep = Math.max(1, Math.floor(this.#receiveDepth / 3));
    this.#posted = this.#receiveDepth;
    this.#credit = end.hasCredits ? end.creditRequest(SendOpcode.RDMA_WRITE) : null;
  }

  step(): boolean {
    const end = this.#end;
    for (let n; (n = end.poll(end.receiveQueue)) > 0;) {
      if (this.#received === 0) this.times.begin = performance.now();
      this.#received += n;
      for (let i = 0; i < n && this.#posted < this.#iterations; i++) {
        end.postReceive();
        this.#posted++;
      }
    }
    this.#tell();
    if (this.#received < this.#iterations) return false;
    this.times.end = performance.now();
    return true;
  }

  #tell(): void {
    const end = this.#end;
    while (end.poll(end.sendQueue) > 0);
    if (this.#credit === null || this.#received - this.#told < this.#creditStep) return;
    // Without room, the completion of what is under way gives another step.
    if (end.queuePair.sendRoom === 0) return;
    end.creditToTell = this.#received;
    end.queuePair.postSend(this.#credit);
    end.queuePair.flush();
    this.#told = this.#received;
  }
}

/** An even number, as perftest makes it. */
function receiveDepthFor(iterations: number): number {
  return Math.min(RECEIVE_DEPTH, iterations + (iterations % 2));
}
