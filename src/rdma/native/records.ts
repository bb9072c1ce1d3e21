/** Work requests as records in memory that the addon reads: native/work_requests.h has their layout. */

import type { ReceiveRequest, SendRequest, SgeList } from '../work.js';
import { SendOpcode } from '../work.js';
import { WR_OPCODE, WrFlag } from './constants.js';
import type { NativeMemoryRegion, NativeMemoryWindow } from './memory.js';

const SGE_WORDS = 4;
const RECEIVE_WORDS = 4;
const SEND_WORDS = 20;
const HIGH = 0x1_0000_0000;

/** Records that wait for one call that posts them all. */
abstract class Batch {
  readonly buffer: ArrayBuffer;
  readonly capacity: number;
  count = 0;
  protected readonly words: Uint32Array;
  protected readonly stride: number;

  constructor(capacity: number, stride: number) {
    this.capacity = capacity;
    this.stride = stride;
    this.buffer = new ArrayBuffer(capacity * stride * 4);
    this.words = new Uint32Array(this.buffer);
  }

  get isFull(): boolean {
    return this.count === this.capacity;
  }

  protected putSges(at: number, sges: SgeList): void {
    const { words } = this;
    for (let i = 0; i < sges.count; i++, at += SGE_WORDS) {
      const region = sges.regions[i] as NativeMemoryRegion;
      const address = region.address + sges.offsets[i]!;
      words[at] = address >>> 0;
      words[at + 1] = address / HIGH;
      words[at + 2] = sges.lengths[i]!;
      words[at + 3] = region.localKey;
    }
  }
}

export class ReceiveBatch extends Batch {
  constructor(capacity: number, maxSges: number) {
    super(capacity, RECEIVE_WORDS + SGE_WORDS * maxSges);
  }

  /** `low`, `high`: the work request's number. */
  add(low: number, high: number, { sges }: ReceiveRequest): void {
    const at = this.count++ * this.stride;
    const { words } = this;
    words[at] = low;
    words[at + 1] = high;
    words[at + 2] = sges.count;
    this.putSges(at + RECEIVE_WORDS, sges);
  }
}

const LOW_WORD = 0xffff_ffffn;

export class SendBatch extends Batch {
  /** Windows and their regions, of the bindings among the requests. */
  readonly objects: object[] = [];

  constructor(capacity: number, maxSges: number) {
    super(capacity, SEND_WORDS + SGE_WORDS * maxSges);
  }

  /** `flags`: of `WrFlag`. */
  add(low: number, high: number, flags: number, request: SendRequest): void {
    const at = this.count++ * this.stride;
    const { words } = this;
    const { opcode } = request;
    words[at] = WR_OPCODE[opcode]!;
    words[at + 1] = flags;
    words[at + 2] = low;
    words[at + 3] = high;
    words[at + 4] = request.remoteAddressLow;
    words[at + 5] = request.remoteAddressHigh;
    words[at + 6] = request.remoteKey;
    words[at + 7] =
      opcode === SendOpcode.SEND_WITH_INVALIDATE || opcode === SendOpcode.LOCAL_INVALIDATE
        ? request.invalidateKey
        : request.immediate;
    words[at + 12] = request.sges.count;
    if (opcode === SendOpcode.ATOMIC_FETCH_ADD || opcode === SendOpcode.ATOMIC_COMPARE_SWAP)
      this.#putOperands(at, request);
    if (opcode === SendOpcode.BIND_WINDOW) this.#putBinding(at, request);
    else this.putSges(at + SEND_WORDS, request.sges);
  }

  #putOperands(at: number, { compare, operand }: SendRequest): void {
    const { words } = this;
    words[at + 8] = Number(compare & LOW_WORD);
    words[at + 9] = Number(compare >> 32n);
    words[at + 10] = Number(operand & LOW_WORD);
    words[at + 11] = Number(operand >> 32n);
  }

  #putBinding(at: number, request: SendRequest): void {
    const { words } = this;
    const window = request.window as NativeMemoryWindow;
    const region = request.bindRegion as NativeMemoryRegion;
    const address = region.address + request.bindOffset;
    words[at + 12] = 0;
    words[at + 13] = request.bindAccess;
    words[at + 14] = this.objects.push(window.handle, region.handle) / 2 - 1;
    words[at + 15] = window.remoteKey;
    words[at + 16] = address >>> 0;
    words[at + 17] = address / HIGH;
    words[at + 18] = request.bindLength >>> 0;
    words[at + 19] = request.bindLength / HIGH;
  }

  /** The last one is to give a completion, whether the user wants one or not. */
  signalLast(): void {
    const at = (this.count - 1) * this.stride + 1;
    this.words[at] = this.words[at]! | WrFlag.SIGNALED;
  }

  /** All were posted, or none will be. */
  clear(): void {
    this.count = 0;
    if (this.objects.length > 0) this.objects.length = 0;
  }
}
