/**
 * What both roles of the Datamover over RDMA have in common (RFC 7145): a queue pair, the Sends that carry control-type
 * PDUs, and the end. All completions that one input brought are handled before what they cause is sent.
 */

import { Bhs, BHS_LENGTH, putLengths } from '../../iscsi/wire/headers.js';
import { Opcode, OPCODE_MASK } from '../../iscsi/wire/opcodes.js';
import {
  CompletionFlag,
  completionRecords,
  CompletionStatus,
  ReceiveRequest,
  SendFlag,
  SendOpcode,
  SendRequest,
  type WorkCompletion,
} from '../../rdma/work.js';
import type { CompletionQueue, QueuePair, RdmaConnection } from '../../rdma/verbs.js';
import { RiserError } from '../../util/errors.js';
import { copyBytes, copyMemory, type Memory } from '../../util/memory.js';
import {
  type ConnectionParameters,
  ControlPdu,
  type Datamover,
  type DatamoverEvents,
  type DataTransfer,
  LOGIN_DATA_SEGMENT,
  LOGIN_PARAMETERS,
  type RemoteBuffers,
} from '../datamover.js';
import { getControlHeader, ISER_HEADER_LENGTH, IserOpcode, iserOpcode, putControlHeader } from './header.js';
import { IncomingMessages, lostMessage, type OutgoingMessage, OutgoingMessages } from './message-buffers.js';
import type { DomainMemory } from './registered-memory.js';

/** iSER header and basic header segment. */
export const HEADERS = ISER_HEADER_LENGTH + BHS_LENGTH;
/** The longest additional header segments, MaxAHSLength by default (RFC 7145 6.8), and padding. */
const AHS_ROOM = 256 + 3;
/** Messages that are no longer than this wait in memory that is used again and again: all but texts and pings. */
const USUAL_MESSAGE = 640;
/** Those that have no data, as most commands and responses, are copied when they are posted, where the device can. */
const INLINE = HEADERS;
/** Requests of a queue pair, as far as its device goes. Both are more than a peer that keeps the rules makes use of. */
const SEND_REQUESTS = 2048;
const RECEIVE_REQUESTS = 1024;
const COMPLETIONS_AT_ONCE = 64;
/** Of Sends that nobody waits for, one in so many has a completion: by that the queue's room comes back. */
const SENDS_PER_COMPLETION = 64;
/**
 * Requests that a command takes at most, bar those with many pieces: two windows, the command, and data that goes along; or writes
 * and the response. And messages of either side that belong to no command, or whose room has not come back yet.
 */
const REQUESTS_OF_COMMAND = 4;
const OTHER_MESSAGES = 80;
/** Parts of a list, of which large buffers have many. */
const SGES = 32;

/** What a completion is of: the lower bits of its id, below the index. */
export const Work = { RECEIVE: 0, MESSAGE: 1, READ: 2, OTHER: 3 } as const;
const WORK_KINDS = 4;

export function workId(kind: number, index: number): number {
  return index * WORK_KINDS + kind;
}

export abstract class IserDatamover implements Datamover {
  readonly kind = 'iser';
  readonly device: string;
  protected readonly connection: RdmaConnection;
  protected readonly registered: DomainMemory;
  protected readonly queuePair: QueuePair;
  protected readonly sges: number;
  /** Commands at a time that the queues have room for; at least 1. */
  protected readonly commandRoom: number;
  protected readonly messages: OutgoingMessages;
  protected parameters: Readonly<ConnectionParameters> = LOGIN_PARAMETERS;
  protected isTerminated = false;
  /** Work is posted by this one, again and again. */
  protected readonly request = new SendRequest();
  readonly #receive = new ReceiveRequest();
  readonly #events: DatamoverEvents;
  readonly #queue: CompletionQueue;
  readonly #completions: WorkCompletion[] = completionRecords(COMPLETIONS_AT_ONCE);
  readonly #incoming: IncomingMessages;
  readonly #maxReceives: number;
  readonly #pdu = new ControlPdu();
  #isHandling = false;
  /** The last Send that has no completion of its own, and is not {@link OutgoingMessage.before} another one; and how many there are. */
  #unsignaled: OutgoingMessage | null = null;
  #unsignaledCount = 0;
  #inlineCount = 0;

  /** `loginReceives`: PDUs that the peer may send before {@link enable}. */
  constructor(
    connection: RdmaConnection,
    registered: DomainMemory,
    events: DatamoverEvents,
    loginReceives: number,
  ) {
    this.connection = connection;
    this.registered = registered;
    this.#events = events;
    const { device } = connection;
    this.device = device.name;
    const { attributes } = device;
    const { domain } = registered;
    this.sges = Math.min(SGES, attributes.maxSges);
    this.#incoming = new IncomingMessages(domain);
    const maxSendRequests = Math.min(SEND_REQUESTS, attributes.maxSendRequests);
    const maxReceiveRequests = Math.min(RECEIVE_REQUESTS, attributes.maxReceiveRequests);
    this.#maxReceives = maxReceiveRequests;
    const room = Math.min(
      (maxSendRequests - OTHER_MESSAGES) / REQUESTS_OF_COMMAND,
      maxReceiveRequests - OTHER_MESSAGES,
    );
    this.commandRoom = Math.max(1, Math.floor(room));
    this.#queue = device.createCompletionQueue(maxSendRequests + maxReceiveRequests, {
      completed: () => {
        this.#complete();
      },
    });
    this.messages = new OutgoingMessages(domain, USUAL_MESSAGE, Math.min(INLINE, attributes.maxInlineData));
    const options = {
      sendQueue: this.#queue,
      receiveQueue: this.#queue,
      maxSendRequests,
      maxReceiveRequests,
      maxSges: this.sges,
      maxInlineData: this.messages.inlineLength,
    };
    try {
      this.queuePair = connection.createQueuePair(domain, options, {
        disconnected: (error) => {
          // What came before the end is handled first: a Logout Response is the reason for it.
          this.#complete();
          this.#finish(error);
        },
      });
      this.#postReceives(loginReceives, LOGIN_DATA_SEGMENT);
    } catch (error) {
      // A device has only so much room.
      this.isTerminated = true;
      connection.close();
      this.#queue.close();
      this.#incoming.close();
      throw error;
    }
    this.#queue.arm();
  }

  // ---- what the roles differ in ----

  /** A control-type PDU arrived in full. `invalidatedKey`: what it has invalidated here; 0 for nothing. */
  protected abstract control(pdu: ControlPdu, invalidatedKey: number): void;
  /** A Hello or HelloReply Message arrived, of the right length. */
  protected abstract hello(message: Uint8Array): void;
  /** An RDMA Read is complete, or will never be. */
  protected abstract readCompleted(index: number): void;
  /** A Send that had data of the transfer's buffer, or that ends its task, has left, or never will. */
  protected abstract messageLeft(transfer: DataTransfer): void;
  /** The connection is gone, and nothing touches any buffer. */
  protected abstract terminated(): void;
  /** The connection has nothing registered any more. */
  protected released(): void {
    // The registered memory is others', too.
  }

  /** Whether only a Hello or HelloReply Message may come. */
  protected abstract readonly awaitsHello: boolean;
  /** Of the two, the one that the peer's role sends. */
  protected abstract readonly helloOpcode: number;

  protected enable(parameters: ConnectionParameters): void {
    this.parameters = parameters;
    this.#postReceives(parameters.maxReceivePDUs, parameters.maxRecvDataSegmentLength);
  }

  noticeKeyValues(parameters: ConnectionParameters): void {
    this.parameters = parameters;
  }

  #postReceives(count: number, dataLength: number): void {
    const first = this.#incoming.count;
    this.#incoming.add(Math.min(count, this.#maxReceives - first), HEADERS + AHS_ROOM + dataLength);
    for (let index = first; index < this.#incoming.count; index++) this.#postReceive(index);
  }

  #postReceive(index: number): void {
    const { region, first, size, length } = this.#incoming.slabOf(index);
    const request = this.#receive;
    request.id = workId(Work.RECEIVE, index);
    request.sges.clear().add(region, (index - first) * size, length);
    this.queuePair.postReceive(request);
  }

  // ---- completions ----

  #complete(): void {
    if (this.isTerminated || this.#isHandling) return;
    this.#isHandling = true;
    try {
      while (this.#handleSome()) {
        // More may have come.
      }
    } catch (error) {
      // A defect of ours that a peer's bytes brought to light costs its connection, not the process.
      this.#finish(error instanceof Error ? error : new Error(String(error)));
    }
    this.#isHandling = false;
    if (!this.hasEnded()) this.queuePair.flush();
  }

  /** What is called in between may end the connection. */
  protected hasEnded(): boolean {
    return this.isTerminated;
  }

  #handleSome(): boolean {
    let count = this.#queue.poll(this.#completions);
    if (count === 0) {
      this.#queue.arm();
      count = this.#queue.poll(this.#completions);
    }
    for (let i = 0; i < count && !this.isTerminated; i++) this.#handle(this.#completions[i]!);
    return count > 0 && !this.isTerminated;
  }

  #handle(completion: WorkCompletion): void {
    const { id, status } = completion;
    const index = Math.floor(id / WORK_KINDS);
    switch (id % WORK_KINDS) {
      case Work.RECEIVE:
        if (status === CompletionStatus.SUCCESS) this.#received(index, completion);
        return;
      case Work.MESSAGE:
        // What failed ends the connection, and is let go of then.
        if (status === CompletionStatus.SUCCESS) this.#messageLeft(this.messages.all[index]!);
        return;
      case Work.READ:
        if (status === CompletionStatus.SUCCESS) this.readCompleted(index);
        return;
    }
  }

  /** It has left, and so has what was posted before it. */
  #messageLeft(message: OutgoingMessage): void {
    for (let left: OutgoingMessage | null = message; left !== null;) {
      const before: OutgoingMessage | null = left.before;
      left.before = null;
      this.#release(left);
      left = before;
    }
  }

  #release(message: OutgoingMessage): void {
    const { transfer, held } = message;
    message.held = null;
    this.messages.give(message);
    if (held !== null) this.registered.release(held);
    if (transfer !== null) this.messageLeft(transfer);
  }

  #received(index: number, completion: WorkCompletion): void {
    const { region, first, size } = this.#incoming.slabOf(index);
    const { memory } = region;
    const offset = (index - first) * size;
    const length = completion.byteLength;
    const invalidated =
      (completion.flags & CompletionFlag.WITH_INVALIDATE) !== 0 ? completion.invalidatedKey : 0;
    const { bytes } = memory;
    const opcode = length < ISER_HEADER_LENGTH ? 0 : iserOpcode(bytes, offset);
    const isHello = opcode === IserOpcode.HELLO || opcode === IserOpcode.HELLO_REPLY;
    if (isHello !== this.awaitsHello) {
      this.violation('ISER_HELLO', isHello ? 'a Hello that was not agreed on' : 'something before its Hello');
    } else if (opcode === this.helloOpcode && length === ISER_HEADER_LENGTH) {
      this.hello(bytes.subarray(offset, offset + length));
    } else if (opcode === IserOpcode.CONTROL && length >= HEADERS) {
      this.#receivedControl(memory, offset, length, invalidated);
    } else {
      this.violation('ISER_FORMAT', `an iSER message of ${length} bytes with opcode ${opcode}`);
    }
    if (!this.isTerminated) this.#postReceive(index);
  }

  #receivedControl(memory: ControlPdu['region'], offset: number, length: number, invalidated: number): void {
    const pdu = this.#pdu;
    const { header, remote } = pdu;
    copyMemory(memory, offset + ISER_HEADER_LENGTH, pdu.headerMemory, 0, BHS_LENGTH);
    const ahsLength = Bhs.totalAHSLength.get(header) * 4;
    const dataLength = Bhs.dataSegmentLength.get(header);
    const needed = HEADERS + ahsLength + dataLength;
    // Padding goes along with some peers and not with others.
    if (length < needed || length > needed + 3) {
      this.violation('ISER_FORMAT', `a PDU of ${needed} bytes in a message of ${length}`);
      return;
    }
    const isConsistent = getControlHeader(memory, offset, remote);
    const hasKeys = remote.readKey !== 0 || remote.writeKey !== 0;
    if (!isConsistent || (hasKeys && (header[0]! & OPCODE_MASK) !== Opcode.SCSI_COMMAND)) {
      this.violation('ISER_FORMAT', 'an iSER header that advertises memory where there is none');
      return;
    }
    pdu.region = memory;
    pdu.ahsOffset = offset + HEADERS;
    pdu.ahsLength = ahsLength;
    pdu.dataOffset = offset + HEADERS + ahsLength;
    pdu.dataLength = dataLength;
    this.control(pdu, invalidated);
  }

  protected notifyControl(pdu: ControlPdu): void {
    this.#events.controlNotify(pdu);
  }

  // ---- output ----

  sendControl(header: Buffer, data: Uint8Array | null, length: number): void {
    if (!this.isTerminated) this.sendPdu(header, data, length, 0);
  }

  /** `invalidates`: the peer's key that this Send invalidates; 0 for none. */
  protected sendPdu(header: Buffer, data: Uint8Array | null, length: number, invalidates: number): void {
    const message = this.beginHeaders(null, length, true);
    const at = message.offset + ISER_HEADER_LENGTH;
    copyBytes(header, 0, message.bytes, at, BHS_LENGTH);
    putLengths(message.memory, at, 0, length);
    if (length > 0) copyBytes(data!, 0, message.bytes, message.offset + HEADERS, length);
    this.postMessage(message, invalidates);
  }

  /**
   * A message with the headers of a PDU in it, and room for `length` bytes behind; {@link request} sends all of it. `isWhole`: that is
   * all, and nobody waits for it to leave.
   */
  protected beginPdu(
    header: Memory,
    remote: RemoteBuffers | null,
    length: number,
    isWhole: boolean,
  ): OutgoingMessage {
    const message = this.beginHeaders(remote, length, isWhole);
    copyMemory(header, 0, message.memory, message.offset + ISER_HEADER_LENGTH, BHS_LENGTH);
    return message;
  }

  /** The same, but the basic header segment, behind the iSER header, is up to the caller. */
  protected beginHeaders(remote: RemoteBuffers | null, length: number, isWhole: boolean): OutgoingMessage {
    const message = this.beginMessage(HEADERS + length, isWhole);
    putControlHeader(message.memory, message.offset, remote);
    return message;
  }

  /** Where there is no memory for it, the connection ends, and the message goes nowhere. */
  protected beginMessage(length: number, isWhole: boolean): OutgoingMessage {
    const { messages } = this;
    let message: OutgoingMessage;
    try {
      message = isWhole && length <= messages.inlineLength ? messages.inline : messages.take(length);
    } catch (error) {
      this.#finish(error as Error);
      message = lostMessage(length);
    }
    this.request.sges.clear().add(message.region, message.offset, length);
    return message;
  }

  /** Post a message, and whatever else the request's list has behind it. */
  protected postMessage(message: OutgoingMessage, invalidates = 0): void {
    const { request } = this;
    request.opcode = invalidates === 0 ? SendOpcode.SEND : SendOpcode.SEND_WITH_INVALIDATE;
    request.invalidateKey = invalidates;
    if (this.messages.isInline(message)) {
      const isLast = ++this.#inlineCount % SENDS_PER_COMPLETION === 0;
      request.id = workId(Work.OTHER, 0);
      request.flags = SendFlag.SOLICITED | SendFlag.INLINE | (isLast ? SendFlag.SIGNALED : 0);
      this.postRequest();
      return;
    }
    request.id = workId(Work.MESSAGE, message.index);
    message.before = this.#unsignaled;
    const isAwaited =
      message.transfer !== null || message.isLong || this.#unsignaledCount === SENDS_PER_COMPLETION - 1;
    request.flags = SendFlag.SOLICITED | (isAwaited ? SendFlag.SIGNALED : 0);
    this.#unsignaled = isAwaited ? null : message;
    this.#unsignaledCount = isAwaited ? 0 : this.#unsignaledCount + 1;
    this.postRequest();
  }

  protected sendHello(message: Buffer): void {
    const outgoing = this.beginMessage(message.length, true);
    message.copy(outgoing.bytes, outgoing.offset);
    this.postMessage(outgoing);
  }

  /** Post {@link request}. A peer for which the queue has no room any more asks, and takes nothing of what it gets. */
  protected postRequest(): void {
    if (this.isTerminated) return;
    if (this.queuePair.sendRoom > 0) this.queuePair.postSend(this.request);
    else {
      this.#finish(
        new RiserError('ISER_CONGESTED', 'the peer does not take what it has asked for', {
          by: 'peer',
          costs: 'connection',
        }),
      );
    }
  }

  flush(): void {
    // While completions are handled, what they cause leaves together at the end.
    if (!this.#isHandling && !this.isTerminated) this.queuePair.flush();
  }

  connectionTerminate(): void {
    this.flush();
    this.connection.disconnect();
  }

  deallocateConnectionResources(reason: Error | null): void {
    this.#finish(reason);
  }

  /** It has never been connected: let go of everything, and tell nobody. */
  discard(): void {
    this.#letGo();
  }

  /** The peer broke a rule: the RDMA connection ends (RFC 7145 10.1.3.3). */
  protected violation(code: string, what: string): void {
    this.#finish(new RiserError(code, `the peer sent ${what}`, { by: 'peer', costs: 'connection' }));
  }

  /** The one place where the connection ends. */
  #finish(reason: Error | null): void {
    if (this.#letGo()) this.#events.connectionTerminateNotify(reason);
  }

  /** False if that was done before. */
  #letGo(): boolean {
    if (this.isTerminated) return false;
    this.isTerminated = true;
    // From here on neither device nor peer touches any memory.
    this.connection.close();
    this.#queue.close();
    for (const message of this.messages.all) if (message.isInUse) this.#release(message);
    this.terminated();
    this.messages.close();
    this.#incoming.close();
    this.released();
    return true;
  }
}
