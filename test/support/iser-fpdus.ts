/** An initiator over RDMA whose FPDUs a test writes: it answers RDMA Reads when and as the test wants, or never. */

import assert from 'node:assert/strict';
import {
  DdpQueue,
  ReadRequestHeader,
  UNTAGGED_HEADER,
  UntaggedHeader,
} from '../../src/rdma/iwarp/headers.js';
import { MAY_NOT_INVALIDATE, parseMessage, type RawMessage } from './raw-iser.js';
import { type IserChannel, IserInitiator } from './raw-iser-initiator.js';
import { RawIwarp } from './raw-iwarp.js';
import { readResponse, untagged } from './ulpdus.js';
import { until } from './verbs-pair.js';

/** What an RDMA Read asks for, and where it goes. */
export interface ReadAsked {
  sinkStag: number;
  sinkOffset: bigint;
  length: number;
}

export class IserFpdus implements IserChannel {
  readonly raw: RawIwarp;
  #sent = 0;
  /** ULPDUs that were looked at. */
  #seen = 0;
  readonly #messages: Buffer[] = [];
  readonly #reads: ReadAsked[] = [];

  private constructor(raw: RawIwarp) {
    this.raw = raw;
  }

  static async connect(port: number): Promise<IserInitiator<IserFpdus>> {
    const raw = await RawIwarp.connect(port, { privateData: MAY_NOT_INVALIDATE });
    return new IserInitiator(new IserFpdus(raw));
  }

  send(message: Buffer): void {
    this.raw.send(untagged({ number: ++this.#sent, payload: message }));
  }

  async next(): Promise<RawMessage> {
    await until(() => this.#look(this.#messages) || this.raw.isEnded, 'an iSER message');
    const message = this.#messages.shift();
    assert.ok(message !== undefined, 'the target has closed');
    return parseMessage(message, 0);
  }

  /** The next RDMA Read that the target asks for. */
  async read(): Promise<ReadAsked> {
    await until(() => this.#look(this.#reads) || this.raw.isEnded, 'an RDMA Read');
    const read = this.#reads.shift();
    assert.ok(read !== undefined, 'the target has closed');
    return read;
  }

  /** A segment of the answer to a read: `bytes` of it from `skip` on. */
  answer({ sinkStag, sinkOffset }: ReadAsked, skip: number, bytes: Buffer, last: boolean): void {
    this.raw.send(readResponse({ stag: sinkStag, offset: sinkOffset + BigInt(skip), payload: bytes, last }));
  }

  #look(wanted: readonly unknown[]): boolean {
    for (const ulpdu of this.raw.ulpdus.slice(this.#seen)) {
      this.#seen++;
      if (UntaggedHeader.queueNumber.get(ulpdu) === DdpQueue.REQUEST) {
        this.#reads.push({
          sinkStag: ReadRequestHeader.sinkStag.get(ulpdu),
          sinkOffset: ulpdu.readBigUInt64BE(22),
          length: ReadRequestHeader.readMessageSize.get(ulpdu),
        });
      } else this.#messages.push(ulpdu.subarray(UNTAGGED_HEADER));
    }
    return wanted.length > 0;
  }
}
