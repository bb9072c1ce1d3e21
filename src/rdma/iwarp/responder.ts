/** The passive half of a queue pair: answers the peer's RDMA Reads and atomics, in their order (RFC 5040 5.2.2, 5.5 rule 20). */

import type { ScatterList } from '../../util/memory.js';
import { CompletionStatus } from '../work.js';
import { AtomicRequest, writeAtomicResponse } from './atomics.js';
import { RdmapOpcode } from './headers.js';
import type { Grant, KeyTable } from './keys.js';
import { Message } from './message.js';
import type { FpduWriter } from './mpa/fpdu-writer.js';

/** What a Read Request or an Atomic Request asks for. Offsets are those of the requester, any 64 bits. */
export class Response extends Message {
  readonly #responder: Responder;
  sinkKey = 0;
  sinkHigh = 0;
  sinkLow = 0;
  sourceKey = 0;
  /** What the source key grants; null for a read of nothing. */
  grant: Grant | null = null;
  /** First byte in the grant's list. */
  from = 0;
  length = 0;
  /** It is an Atomic Request, which is carried out when its turn has come. */
  isAtomic = false;
  readonly atomic = new AtomicRequest();

  constructor(responder: Responder) {
    super();
    this.#responder = responder;
  }

  check(): CompletionStatus {
    const isGranted = this.length === 0 || this.#responder.keys.find(this.sourceKey) === this.grant;
    return isGranted ? CompletionStatus.SUCCESS : CompletionStatus.REMOTE_ACCESS_ERROR;
  }

  protected segment(writer: FpduWriter<Message>): boolean {
    if (this.isAtomic) {
      const original = this.atomic.perform(this.grant!.list, this.from);
      const number = this.#responder.nextAtomicNumber();
      writeAtomicResponse(writer, this.atomic, original, number, this);
      return true;
    }
    const list: ScatterList | null = this.grant?.list ?? null;
    return this.tagged(
      writer,
      RdmapOpcode.READ_RESPONSE,
      list,
      this.from,
      this.length,
      this.sinkKey,
      this.sinkHigh,
      this.sinkLow,
    );
  }

  protected sent(): void {
    this.grant = null;
    this.#responder.answered();
  }
}

export class Responder {
  readonly keys: KeyTable;
  readonly #resources: number;
  readonly #responses: Response[];
  #first = 0;
  /** Requests that are not answered, and how many of their answers have begun. */
  #count = 0;
  #begun = 0;
  #atomicNumber = 0;

  /**
   * `resources`: requests that the peer may have under way. There are places for twice as many: a stream that is Node's tells
   * late that bytes have left, and the peer, which has them, may have asked for as much again.
   */
  constructor(keys: KeyTable, resources: number) {
    this.keys = keys;
    this.#resources = resources;
    this.#responses = Array.from({ length: 2 * resources }, () => new Response(this));
  }

  /** The place of a new request; null when there are more of them than were agreed. */
  take(): Response | null {
    if (this.#count - this.#begun === this.#resources || this.#count === this.#responses.length) return null;
    return this.#responses[(this.#first + this.#count++) % this.#responses.length]!;
  }

  /** The next response to send; null when there is none. */
  next(): Response | null {
    if (this.#begun === this.#count) return null;
    return this.#responses[(this.#first + this.#begun++) % this.#responses.length]!;
  }

  /** MSN of an Atomic Response. */
  nextAtomicNumber(): number {
    this.#atomicNumber = (this.#atomicNumber + 1) >>> 0;
    return this.#atomicNumber;
  }

  answered(): void {
    this.#first = (this.#first + 1) % this.#responses.length;
    this.#count--;
    this.#begun--;
  }
}
