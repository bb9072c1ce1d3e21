/**
 * What is posted to a queue and not over yet, in the order of posting. A request is known to the device by its number, which counts
 * on and comes back in its completion: that a later one is over says that it is, too.
 */

import { CompletionStatus, SendOpcode } from '../work.js';

/** Numbers are 32 bits unsigned, and wrap. */
function after(number: number, by: number): number {
  return (number + by) >>> 0;
}

export class WorkRing {
  readonly capacity: number;
  readonly ids: Float64Array;
  /** Whether a success gives the user a completion. */
  readonly areSignaled: Uint8Array;
  readonly opcodes: Uint8Array;
  readonly lengths: Float64Array;
  /** Status of what is done, plus 1. */
  readonly #done: Uint8Array;
  /** Status that a failure has whatever the device says, 0 for none. */
  readonly faults: Uint8Array;
  /** Numbers: of the oldest that is not over; of the first that the device has not got; of the next that will be posted. */
  oldest = 0;
  next = 0;
  nativeEnd = 0;
  /** Requests that may still be posted. */
  room: number;

  constructor(capacity: number) {
    // Numbers wrap at 2^32, where the place must go on, too.
    this.capacity = 2 ** Math.ceil(Math.log2(capacity));
    this.room = capacity;
    this.ids = new Float64Array(this.capacity);
    this.areSignaled = new Uint8Array(this.capacity);
    this.opcodes = new Uint8Array(this.capacity);
    this.lengths = new Float64Array(this.capacity);
    this.#done = new Uint8Array(this.capacity);
    this.faults = new Uint8Array(this.capacity);
  }

  /** Append one; its number. The device has it from now on, too, unless `isHeld`. */
  push(
    id: number,
    isSignaled: boolean,
    opcode: number,
    length: number,
    fault: number,
    isHeld: boolean,
  ): number {
    const number = this.next;
    const at = this.at(number);
    this.ids[at] = id;
    this.areSignaled[at] = isSignaled ? 1 : 0;
    this.opcodes[at] = opcode;
    this.lengths[at] = length;
    this.faults[at] = fault;
    this.#done[at] = 0;
    this.next = after(number, 1);
    if (!isHeld) this.nativeEnd = this.next;
    return number;
  }

  at(number: number): number {
    return number & (this.capacity - 1);
  }

  /** Requests that are not over. */
  get outstanding(): number {
    return after(this.next, -this.oldest);
  }

  /** Of these, what the device has. */
  get atDevice(): number {
    return after(this.nativeEnd, -this.oldest);
  }

  /** The device has not taken the last `count` of those that it was given. */
  takeBack(count: number): void {
    this.nativeEnd = after(this.nativeEnd, -count);
  }

  /** The device has refused the last `count`: unless the connection is ending, of which this side will hear, the first was to blame. */
  refused(count: number): void {
    this.takeBack(count);
    this.faults[this.at(this.nativeEnd)] ||= CompletionStatus.LOCAL_QP_OPERATION_ERROR;
  }

  /** Whether the device has `number`; completions may name others when a queue is lost. */
  hasAtDevice(number: number): boolean {
    return after(number, -this.oldest) < this.atDevice;
  }

  /** {@link isNextDone}: the device has done `number`, out of turn maybe. */
  setDone(number: number, status: number): void {
    this.#done[this.at(number)] = status + 1;
  }

  doneStatus(number: number): CompletionStatus {
    return (this.#done[this.at(number)]! - 1) as CompletionStatus;
  }

  /** Whether all before `number` are done, too: those that tell have told. */
  isNextDone(number: number): boolean {
    for (let n = this.oldest; n !== number; n = after(n, 1))
      if (this.#tells(n) && this.#done[this.at(n)] === 0) return false;
    return true;
  }

  /** Whether one that the device has done comes right behind `number`, which is done. */
  hasDoneBehind(number: number): boolean {
    return this.#firstDone(after(number, 1)) >= 0;
  }

  /** The number of the next that is done when all before it are over; -1 for none. */
  get nextDone(): number {
    return this.#firstDone(this.oldest);
  }

  #firstDone(from: number): number {
    for (let n = from; n !== this.nativeEnd; n = after(n, 1)) {
      if (this.#done[this.at(n)] !== 0) return n;
      if (this.#tells(n)) return -1;
    }
    return -1;
  }

  #tells(number: number): boolean {
    const at = this.at(number);
    return this.areSignaled[at] !== 0 || this.opcodes[at] === SendOpcode.RDMA_READ;
  }

  /** `number` and all before it are over: how many these are. */
  complete(number: number): number {
    const end = after(number, 1);
    const requests = after(end, -this.oldest);
    this.oldest = end;
    // What the device never had is over, too.
    if (after(this.nativeEnd, -end) > after(this.next, -end)) this.nativeEnd = end;
    return requests;
  }
}
