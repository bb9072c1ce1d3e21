/**
 * Text Requests of the full feature phase (RFC 7143 11.10, 11.11): SendTargets discovery and the keys
 * that may be negotiated then, with continuation in both directions.
 */

import type { OperationalParameters } from '../login/keys.js';
import { FullFeatureKeys } from '../login/full-feature-keys.js';
import { Bhs, TextRequest, TextResponse } from '../wire/headers.js';
import { Opcode, RejectReason, RESERVED_TAG, TextFlag } from '../wire/opcodes.js';
import { buildText, parseText, TextAssembler, type TextPair, TextSplitter } from '../wire/text.js';
import type { FullFeature } from './full-feature.js';

/** What there is to discover. */
export interface TargetDirectory {
  /**
   * The answer to SendTargets=`value` (RFC 7143 Appendix C): TargetName and TargetAddress pairs, empty if
   * there is nothing to tell; null if this session may not ask that.
   */
  sendTargets(value: string): readonly TextPair[] | null;
}

export class TextExchange {
  readonly #phase: FullFeature;
  readonly #directory: TargetDirectory;
  readonly #parameters: OperationalParameters;
  readonly #isDiscovery: boolean;
  readonly #incoming = new TextAssembler();
  readonly #outgoing = new TextSplitter();
  /** Initiator Task Tag of the exchange under way; there is one at a time. */
  #tag = RESERVED_TAG;
  /** Target Transfer Tag that the initiator is to repeat; changes with every response that has one. */
  #transferTag = RESERVED_TAG;
  #lastTransferTag = 0;
  /** The keys of the exchange under way; null before its first complete text. */
  #keys: FullFeatureKeys | null = null;

  constructor(
    phase: FullFeature,
    directory: TargetDirectory,
    parameters: OperationalParameters,
    isDiscovery: boolean,
  ) {
    this.#phase = phase;
    this.#directory = directory;
    this.#parameters = parameters;
    this.#isDiscovery = isDiscovery;
  }

  /** Whether this is the tag of an exchange under way. */
  isUnderWay(initiatorTaskTag: number): boolean {
    return this.#tag !== RESERVED_TAG && this.#tag === initiatorTaskTag;
  }

  handleRequest(header: Buffer, data: Buffer): void {
    const tag = TextRequest.initiatorTaskTag.get(header);
    const transferTag = TextRequest.targetTransferTag.get(header);
    const flags = TextRequest.flags.get(header);
    const isFinal = (flags & TextFlag.FINAL) !== 0;
    const isContinued = (flags & TextFlag.CONTINUE) !== 0;
    if (transferTag === RESERVED_TAG) {
      // A reserved tag begins anew, and drops what was under way (RFC 7143 11.10.4).
      this.#reset();
      this.#tag = tag;
    } else if (tag !== this.#tag || transferTag !== this.#transferTag) {
      this.#refuse(header, RejectReason.INVALID_PDU_FIELD);
      return;
    }
    if (tag === RESERVED_TAG || (isFinal && isContinued)) {
      this.#refuse(header, RejectReason.PROTOCOL_ERROR);
      return;
    }
    if (this.#outgoing.pending) {
      this.#respond(header, isFinal);
      return;
    }
    if (!this.#incoming.append(data)) {
      this.#refuse(header, RejectReason.PROTOCOL_ERROR);
      return;
    }
    if (!isContinued) {
      const answer = this.#answer(this.#incoming.take());
      if (answer === null) {
        this.#refuse(header, RejectReason.PROTOCOL_ERROR);
        return;
      }
      this.#outgoing.start(answer);
    }
    this.#respond(header, isFinal);
  }

  #answer(text: Buffer): Buffer | null {
    const parsed = parseText(text);
    if ('error' in parsed) return null;
    const answers: TextPair[] = [];
    const others: TextPair[] = [];
    for (const pair of parsed.pairs) {
      if (pair.key !== 'SendTargets') {
        others.push(pair);
        continue;
      }
      const found = this.#directory.sendTargets(pair.value);
      if (found === null) return null;
      answers.push(...found);
    }
    this.#keys ??= new FullFeatureKeys(this.#parameters, this.#isDiscovery);
    const negotiated = this.#keys.answer(others);
    if (negotiated === null) return null;
    answers.push(...negotiated);
    return buildText(answers);
  }

  /** Send the next part of the answer, or an empty response that asks for more of the request. */
  #respond(request: Buffer, isRequestFinal: boolean): void {
    const part = this.#outgoing.next(this.#parameters.initiatorMaxRecvDataSegmentLength);
    const isContinued = this.#outgoing.pending;
    const isFinal = isRequestFinal && !isContinued;
    const header = this.#phase.responses.begin(Opcode.TEXT_RESPONSE, this.#tag);
    Bhs.flags.set(header, (isFinal ? TextFlag.FINAL : 0) | (isContinued ? TextFlag.CONTINUE : 0));
    TextResponse.lunHigh.set(header, TextRequest.lunHigh.get(request));
    TextResponse.lunLow.set(header, TextRequest.lunLow.get(request));
    this.#transferTag = isFinal
      ? RESERVED_TAG
      : (this.#lastTransferTag = (this.#lastTransferTag + 1) & 0xffff);
    TextResponse.targetTransferTag.set(header, this.#transferTag);
    this.#phase.responses.send(header, part, part.length);
    if (!isFinal) return;
    this.#keys?.conclude();
    this.#phase.parametersChanged();
    this.#reset();
  }

  #refuse(header: Buffer, reason: RejectReason): void {
    this.#reset();
    this.#phase.responses.reject(header, reason);
  }

  #reset(): void {
    this.#incoming.take();
    this.#outgoing.start(Buffer.alloc(0));
    this.#keys = null;
    this.#tag = RESERVED_TAG;
    this.#transferTag = RESERVED_TAG;
  }
}
