/** What is posted to a send queue, as it goes on the wire. */

import { CompletionStatus, isAtomic, SendFlag, SendOpcode } from '../work.js';
import { writeAtomicRequest } from './atomics.js';
import {
  DdpQueue,
  IMMEDIATE_DATA_HEADER,
  putUntaggedHeader,
  RdmapOpcode,
  READ_REQUEST_HEADER,
  ReadRequestHeader as Header,
  UNTAGGED_HEADER,
} from './headers.js';
import { Message } from './message.js';
import type { FpduWriter } from './mpa/fpdu-writer.js';
import type { Requester } from './requester.js';
import type { SendWork } from './work-queue.js';

/** Whether the peer answers: these share depth, queue and numbers (RFC 7306 5.2). */
export function isAnsweredByPeer(opcode: SendOpcode): boolean {
  return opcode === SendOpcode.RDMA_READ || isAtomic(opcode);
}

/** The opcode of a Send without immediate data. */
export function sendOpcodeOf(opcode: SendOpcode, flags: number): RdmapOpcode {
  const plain =
    opcode === SendOpcode.SEND_WITH_INVALIDATE ? RdmapOpcode.SEND_WITH_INVALIDATE : RdmapOpcode.SEND;
  // The opcodes with solicited event are two above those without (RFC 5040 4.1).
  return (plain + ((flags & SendFlag.SOLICITED) !== 0 ? 2 : 0)) as RdmapOpcode;
}

/** A posted request as it goes on the wire. */
export class WorkMessage extends Message {
  readonly #requester: Requester;
  readonly #work: SendWork;

  constructor(requester: Requester, work: SendWork) {
    super();
    this.#requester = requester;
    this.#work = work;
  }

  check(): CompletionStatus {
    const work = this.#work;
    // Of what an answer brings nothing is sent; it is looked at when the data comes.
    if (isAnsweredByPeer(work.opcode)) return CompletionStatus.SUCCESS;
    return this.#requester.checkWork(work);
  }

  protected segment(writer: FpduWriter<Message>): boolean {
    const work = this.#work;
    const { list } = work.memory;
    switch (work.opcode) {
      case SendOpcode.RDMA_WRITE:
        return this.#write(writer, work);
      case SendOpcode.RDMA_WRITE_WITH_IMMEDIATE:
        // A write of nothing is not sent.
        if (this.position < list.length) {
          this.#write(writer, work);
          return false;
        }
        this.#immediateData(writer, work);
        return true;
      case SendOpcode.ATOMIC_FETCH_ADD:
      case SendOpcode.ATOMIC_COMPARE_SWAP:
        writeAtomicRequest(writer, work, this.#requester.requestSequenceNumber, this);
        return true;
      case SendOpcode.RDMA_READ:
        this.#readRequest(writer, work);
        return true;
      default: {
        return this.untagged(
          writer,
          sendOpcodeOf(work.opcode, work.flags),
          DdpQueue.SEND,
          this.#requester.sendSequenceNumber,
          work.opcode === SendOpcode.SEND_WITH_INVALIDATE ? work.invalidateKey : 0,
          list,
        );
      }
    }
  }

  #write(writer: FpduWriter<Message>, work: SendWork): boolean {
    const { list } = work.memory;
    return this.tagged(
      writer,
      RdmapOpcode.WRITE,
      list,
      0,
      list.length,
      work.remoteKey,
      work.remoteAddressHigh,
      work.remoteAddressLow,
    );
  }

  /** RFC 5040 4.4 */
  #readRequest(writer: FpduWriter<Message>, work: SendWork): void {
    writer.begin(READ_REQUEST_HEADER);
    const { view } = writer.region;
    const at = writer.offset;
    putUntaggedHeader(
      view,
      at,
      RdmapOpcode.READ_REQUEST,
      true,
      DdpQueue.REQUEST,
      this.#requester.requestSequenceNumber,
      0,
      0,
    );
    view.setUint32(at + Header.sinkStag.offset, work.sinkKey);
    view.setUint32(at + Header.sinkTaggedOffset.offset, 0);
    view.setUint32(at + Header.sinkTaggedOffset.offset + 4, 0);
    view.setUint32(at + Header.readMessageSize.offset, work.memory.list.length);
    view.setUint32(at + Header.sourceStag.offset, work.remoteKey);
    view.setUint32(at + Header.sourceTaggedOffset.offset, work.remoteAddressHigh);
    view.setUint32(at + Header.sourceTaggedOffset.offset + 4, work.remoteAddressLow);
    writer.finish(null, 0, 0, this);
  }

  /**
   * RFC 7306 6.3. Of the 8 bytes verbs have the first four, as Chelsio's adapters have it (`imm_data32` in Linux'
   * drivers/infiniband/hw/cxgb4/t4fw_ri_api.h).
   */
  #immediateData(writer: FpduWriter<Message>, work: SendWork): void {
    writer.begin(IMMEDIATE_DATA_HEADER);
    const { view } = writer.region;
    const at = writer.offset;
    const isSolicited = (work.flags & SendFlag.SOLICITED) !== 0;
    const opcode = isSolicited ? RdmapOpcode.IMMEDIATE_DATA_WITH_SOLICITED_EVENT : RdmapOpcode.IMMEDIATE_DATA;
    putUntaggedHeader(view, at, opcode, true, DdpQueue.SEND, this.#requester.sendSequenceNumber, 0, 0);
    view.setUint32(at + UNTAGGED_HEADER, work.immediate);
    view.setUint32(at + UNTAGGED_HEADER + 4, 0);
    writer.finish(null, 0, 0, this);
  }

  protected sent(): void {
    this.#requester.sent(this.#work);
  }
}
