/**
 * What is posted to a queue and not over yet, in the order of posting. A request is known to the device by its number, which counts
 * on and comes back in its completion: that a later one is over says that it is, too.
 */

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
    this.faults = new Uint8Array(this.capacity);
  }

  /** Append one; its number. The device has it from now on, too, unless `isHeld`. */
  push(id: number, isSignaled: boolean, opcode: number, length: number, fault: number, isHeld: boolean): number {
    const number = this.next;
    const at = this.at(number);
    this.ids[at] = id;
    this.areSignaled[at] = isSignaled ? 1 : 0;
    this.opcodes[at] = opcode;
    this.lengths[at] = length;
    this.faults[at] = fault;
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

  /** Whether the device has `number`; completions may name others when a queue is lost. */
  hasAtDevice(number: number): boolean {
    return after(number, -this.oldest) < this.atDevice;
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
