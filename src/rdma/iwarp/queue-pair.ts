/**
 * A queue pair over MPA: the requester and the responder have messages to send, one at a time and in turn; the
 * receiver places what arrives. It is sans-I/O: bytes come and go by a {@link ByteStream}.
 */

import type { ByteStream, ByteStreamEvents } from '../../stream/index.js';
import { copyBytes, Memory } from '../../util/memory.js';
import { type ConnectionEvents, type QueuePair, type QueuePairOptions, QueuePairState } from '../verbs.js';
import { CompletionStatus, type ReceiveRequest, type SendRequest } from '../work.js';
import type { IwarpCompletionQueue } from './completion-queue.js';
import {
  DdpFlag,
  DdpQueue,
  opcodeOf,
  putTaggedHeader,
  putUntaggedHeader,
  RdmapOpcode,
  READ_REQUEST_HEADER,
  READ_REQUEST_PAYLOAD,
  TAGGED_HEADER,
  TERMINATE_HEADER,
  TERMINATED_DDP_HEADER,
  TerminateFlag,
  UNTAGGED_HEADER,
} from './headers.js';
import type { Message } from './message.js';
import { checkParts, misuse } from '../misuse.js';
import { FpduReader } from './mpa/fpdu-reader.js';
import { FpduWriter } from './mpa/fpdu-writer.js';
import type { MpaError } from './mpa/errors.js';
import type { RtrKind } from './mpa/frames.js';
import type { Notified, Notifier } from '../notifier.js';
import type { IwarpProtectionDomain, IwarpSharedReceiveQueue } from './protection-domain.js';
import { Receiver, type ReceiverHost } from './receiver.js';
import { Requester, type RequesterHost } from './requester.js';
import { closedEarly } from './startup-exchange.js';
import { Responder } from './responder.js';
import {
  peerViolation,
  statusOf,
  Terminate,
  TerminateLayer,
  type TerminateReason,
  terminatedBy,
} from './terminate.js';
import { ReceiveRing } from './work-queue.js';
import { putU16 } from '../../util/fields.js';

/** Bytes that are made into FPDUs ahead of what the kernel has taken. */
const SEND_AHEAD = 512 * 1024;

/**
 * Messages that wait for the end of the input that causes them. The peer could work on more meanwhile: were all to wait, one side
 * would rest while the other works.
 */
const MESSAGES_AHEAD = 8;

/** Where goes what comes after the end; and how often at a time. */
const dropped = Memory.allocate(64 * 1024);
const DROPS_PER_EVENT = 16;

/** What MPA's startup has settled. */
export interface StreamParameters {
  readonly crc: boolean;
  readonly sendMarkers: boolean;
  readonly receiveMarkers: boolean;
  /** RDMA Reads that this side may have outstanding, and that it serves at a time. */
  readonly initiatorDepth: number;
  readonly responderResources: number;
  /** Nothing may be sent before the peer's first FPDU has come (RFC 5044 7.1.2). */
  readonly mustWait: boolean;
  /** Bytes of the longest ULPDU to send. */
  readonly maxUlpdu: number;
}

export class IwarpQueuePair
  implements QueuePair, RequesterHost, ReceiverHost, ByteStreamEvents<Message>, Notified
{
  readonly number: number;
  readonly domain: IwarpProtectionDomain;
  readonly requester: Requester;
  responder: Responder;
  state: QueuePairState = QueuePairState.INIT;
  readonly #sendQueue: IwarpCompletionQueue;
  readonly #receiveQueue: IwarpCompletionQueue;
  readonly #receives: ReceiveRing | null;
  readonly #shared: IwarpSharedReceiveQueue | null;
  readonly #receiver: Receiver;
  readonly #events: ConnectionEvents;
  readonly #notifier: Notifier;
  readonly #maxSges: number;
  #stream: ByteStream<Message> | null = null;
  #writer!: FpduWriter<Message>;
  #reader!: FpduReader;
  #current: Message | null = null;
  #mustWait = false;
  #answersNext = false;
  #isHandling = false;
  /** Messages that were made since the stream was last flushed while input is handled. */
  #unsent = 0;
  #isClosing = false;
  /** For {@link hasProgressed}. */
  #hasReleased = false;
  #bytesBefore = 0;
  /** A Terminate was sent or received: nothing else is. */
  #isTerminated = false;
  #isOver = false;
  #isClosed = false;
  /** Why it is over, and how the work ends that it was about. */
  #error: Error | null = null;
  #status: CompletionStatus = CompletionStatus.FLUSH_ERROR;

  constructor(
    number: number,
    domain: IwarpProtectionDomain,
    options: QueuePairOptions,
    events: ConnectionEvents,
    notifier: Notifier,
  ) {
    this.number = number;
    this.domain = domain;
    this.#events = events;
    this.#notifier = notifier;
    this.#maxSges = options.maxSges ?? 1;
    this.#sendQueue = options.sendQueue as IwarpCompletionQueue;
    this.#receiveQueue = options.receiveQueue as IwarpCompletionQueue;
    this.#shared = (options.sharedReceiveQueue as IwarpSharedReceiveQueue | undefined) ?? null;
    this.#receives = this.#shared === null ? new ReceiveRing(options.maxReceiveRequests) : null;
    this.requester = new Requester(this, this.#sendQueue, options);
    this.responder = new Responder(domain.keys, 0);
    this.#receiver = new Receiver(this, this.#receiveQueue, this.#receives ?? this.#shared!.ring);
    domain.users++;
    this.#sendQueue.users.add(this);
    this.#receiveQueue.users.add(this);
    if (this.#shared !== null) this.#shared.users++;
  }

  get sendRoom(): number {
    return this.requester.room;
  }

  // ---- QueuePair ----

  postSend(request: SendRequest): void {
    if (this.#isClosed) throw misuse('the queue pair is closed');
    if (this.state === QueuePairState.INIT) throw misuse('the queue pair is not connected');
    this.requester.check(request);
    if (this.#maySendAtOnce && this.requester.postNow(request, this.#writer)) {
      this.#unsent++;
      return;
    }
    this.requester.post(request);
    if (this.#isOver) this.requester.flush(CompletionStatus.FLUSH_ERROR);
  }

  /** Nothing is being sent that is longer than an FPDU, or must be waited for. */
  get #maySendAtOnce(): boolean {
    return (
      this.#current === null &&
      this.state === QueuePairState.RTS &&
      !this.#mustWait &&
      !this.#isClosing &&
      this.#stream!.queue.bytes < SEND_AHEAD
    );
  }

  postReceive(request: ReceiveRequest): void {
    if (this.#isClosed) throw misuse('the queue pair is closed');
    if (this.#receives === null)
      throw misuse('this queue pair takes its receives from a shared receive queue');
    checkParts(request.sges, this.#maxSges);
    this.#receives.post(request);
    if (this.#isOver) this.#receiver.flush(false);
  }

  flush(): void {
    this.#pump();
    // Within a batch of input the answers leave together at its end.
    if (!this.#isHandling) this.#stream?.flushSoon();
  }

  // ---- its connection ----

  /** The startup is over: from now on the stream carries FPDUs. */
  connected(stream: ByteStream<Message>, parameters: StreamParameters): void {
    this.#stream = stream;
    const { crc, sendMarkers, receiveMarkers } = parameters;
    this.#writer = new FpduWriter<Message>(stream.queue, { crc, markers: sendMarkers });
    this.#writer.maxUlpdu = parameters.maxUlpdu;
    this.#reader = new FpduReader(stream, { crc, markers: receiveMarkers }, this.#receiver);
    this.#mustWait = parameters.mustWait;
    this.requester.initiatorDepth = parameters.initiatorDepth;
    this.responder = new Responder(this.domain.keys, parameters.responderResources);
    this.state = QueuePairState.RTS;
    stream.events = this;
  }

  /**
   * Told once, when the peer's first FPDU has come, or nothing will come any more; the latter by an error. For whoever
   * accepts a peer-to-peer connection.
   */
  settled: ((error: Error | null) => void) | null = null;

  /** Peer-to-peer: tell the peer that it may send (RFC 6581 9.2). */
  sendReady(kind: RtrKind): void {
    if (kind === 'fpdu') {
      this.#writer.begin(0);
    } else {
      this.#writer.begin(TAGGED_HEADER);
      const { region, offset } = this.#writer;
      putTaggedHeader(region.view, offset, RdmapOpcode.WRITE, true, 0, 0, 0);
    }
    this.#writer.finish(null, 0, 0, null);
    this.#stream!.flush();
  }

  /** The same once more, unless what is under way will make it look; false when the peer has sent something, or all is over. */
  remindReady(kind: RtrKind): boolean {
    if (this.#receiver.hasReceived || this.#isClosing || this.#hasEnded()) return false;
    if (this.#current === null) this.sendReady(kind);
    return true;
  }

  /** The startup's outcome cannot be lived with: say so, and end. */
  refuse(error: Error, mpaErrorCode: number): void {
    this.#error = error;
    this.#terminate({ layer: TerminateLayer.MPA, type: 0, code: mpaErrorCode, text: error.message }, 0);
  }

  /** End at once for `error`; the queue pair stays to be looked at. */
  abort(error: Error): void {
    this.#stream?.destroy(error);
  }

  /** Send what can be sent, then end. */
  disconnect(): void {
    if (this.#isClosing || this.#isOver) return;
    this.#isClosing = true;
    if (this.#stream === null) this.closed(null);
    else this.flush();
  }

  /** {@link disconnect} was called, and waits until what was posted is sent. */
  get isSendingLast(): boolean {
    return this.#isClosing && !this.#isTerminated && !this.#isOver;
  }

  /** The peer has taken something since the last call. */
  hasProgressed(): boolean {
    const bytes = this.#stream?.queue.bytes ?? 0;
    const hasProgressed = this.#hasReleased || bytes !== this.#bytesBefore;
    this.#hasReleased = false;
    this.#bytesBefore = bytes;
    return hasProgressed;
  }

  /** End at once, for `error` if it is one, and let go of everything. */
  close(error: Error | null = null): void {
    if (this.#isClosed) return;
    if (!this.#isOver) {
      if (this.#stream === null) this.closed(error);
      else this.#stream.destroy(error);
    }
    this.#isClosed = true;
    this.domain.users--;
    this.#sendQueue.users.delete(this);
    this.#receiveQueue.users.delete(this);
    if (this.#shared !== null) this.#shared.users--;
  }

  // ---- ByteStreamEvents ----

  readable(): void {
    this.#notifier.enter();
    this.#isHandling = true;
    try {
      if (this.#isTerminated) this.#dropInput();
      else this.#reader.readable();
    } catch (error) {
      // A defect of ours that a peer's bytes brought to light costs its connection, not the process.
      this.#stream?.destroy(error instanceof Error ? error : new Error(String(error)));
    }
    this.batchEnded();
    this.#flushStream();
    this.#isHandling = false;
    this.#notifier.leave();
  }

  /** Tell of what a part of the input has brought, and answer. */
  batchEnded(): void {
    this.#notifier.tell();
    if (this.#receiver.hasReceived) {
      this.#mustWait = false;
      this.#settle(null);
    }
    this.#pump();
    if (this.#unsent >= MESSAGES_AHEAD) this.#flushStream();
  }

  #flushStream(): void {
    this.#unsent = 0;
    const stream = this.#stream;
    if (stream !== null && stream.queue.count > 0) stream.flush();
  }

  /** What still comes is for nobody, but its end is to be seen. */
  #dropInput(): void {
    for (let reads = 0; reads < DROPS_PER_EVENT; reads++) {
      if (this.#stream === null || this.#stream.read(dropped, 0, dropped.length) === 0) return;
    }
  }

  released(message: Message): void {
    // What has not left until the stream's end never will: it is flushed.
    if (this.#stream?.isClosed !== false) return;
    this.#hasReleased = true;
    message.segmentReleased();
    this.#pump();
  }

  closed(error: Error | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stream = null;
    this.#current = null;
    this.#error ??= error;
    this.state = QueuePairState.ERROR;
    this.requester.flush(this.#status);
    this.#receiver.flush(this.#receives === null);
    this.#settle(this.#error ?? closedEarly());
    this.#notifier.add(this);
  }

  #settle(error: Error | null): void {
    const { settled } = this;
    this.settled = null;
    settled?.(error);
  }

  /** By the notifier. */
  notify(): void {
    this.#events.disconnected(this.#error);
  }

  // ---- output ----

  /** Queue FPDUs as long as there is something to send, and not too much of it already waits for the kernel. */
  #pump(): void {
    const stream = this.#stream;
    if (stream === null || this.#isTerminated || this.#mustWait) return;
    while (stream.queue.bytes < SEND_AHEAD && !this.#hasEnded()) {
      const message = (this.#current ??= this.#nextMessage());
      if (message === null) {
        if (this.#isClosing && !this.#hasEnded()) {
          this.#isTerminated = true;
          stream.end();
        }
        return;
      }
      if (!this.#mayGoOn(message)) return;
      if (message.writeSegment(this.#writer)) {
        this.#current = null;
        this.#unsent++;
      }
    }
  }

  /** Rights may end before a message, or the rest of it, is sent: then nothing is read of the memory. */
  #mayGoOn(message: Message): boolean {
    const status = message.check();
    if (status === CompletionStatus.SUCCESS) return true;
    if (status === CompletionStatus.REMOTE_ACCESS_ERROR)
      this.#fail(Terminate.READ_INVALID_STAG, 0, 'a Read Request for memory that was taken back meanwhile');
    else {
      this.#status = status;
      this.requestFailed(misuse('memory was deregistered while work on it was posted'));
    }
    return false;
  }

  /** What is done on the way may end the connection. */
  #hasEnded(): boolean {
    return this.#isTerminated || this.#stream === null;
  }

  /** Requests and responses take turns, lest one side's reads keep the other's sends waiting. */
  #nextMessage(): Message | null {
    this.#answersNext = !this.#answersNext;
    if (!this.#answersNext) return this.requester.next() ?? this.responder.next();
    return this.responder.next() ?? this.requester.next();
  }

  // ---- the end ----

  requestFailed(error: Error): void {
    this.#error = error;
    this.#terminate(Terminate.LOCAL_CATASTROPHIC, 0);
  }

  violated(reason: TerminateReason, what: string): void {
    this.#fail(reason, this.#receiver.ulpduLength, what);
  }

  #fail(reason: TerminateReason, quoted: number, what: string): void {
    if (this.#isTerminated) return;
    this.#error = peerViolation(reason, what);
    this.#terminate(reason, quoted);
  }

  dropPlacement(): void {
    this.#reader.dropPlacement();
  }

  startOfFpduLost(error: MpaError): void {
    if (!this.#isTerminated) this.refuse(error, error.mpaCode);
  }

  terminated(reason: TerminateReason): void {
    if (this.#isTerminated) return;
    this.#isTerminated = true;
    this.#error = terminatedBy(reason);
    this.#status = statusOf(reason);
    this.state = QueuePairState.ERROR;
    this.#reader.stop();
    this.#stream!.end();
  }

  /** Send a Terminate (RFC 5040 4.8), with what is `quoted` of the ULPDU that was handled, and end. */
  #terminate(reason: TerminateReason, quoted: number): void {
    const stream = this.#stream!;
    this.#isTerminated = true;
    this.state = QueuePairState.ERROR;
    this.#reader.stop();
    const { header } = this.#receiver;
    const isTagged = (header[0]! & DdpFlag.TAGGED) !== 0;
    const ddpHeader = isTagged ? TAGGED_HEADER : UNTAGGED_HEADER;
    // Figure 10: nothing is quoted for MPA's errors and for catastrophic ones.
    const quotes = reason.layer !== TerminateLayer.MPA && reason.type !== 0 && quoted >= ddpHeader;
    const isRead =
      reason.layer === TerminateLayer.RDMAP &&
      reason.type === 1 &&
      !isTagged &&
      opcodeOf(header) === RdmapOpcode.READ_REQUEST &&
      quoted >= READ_REQUEST_HEADER;
    const quotation = quotes ? ddpHeader + (isRead ? READ_REQUEST_PAYLOAD : 0) : 0;
    const length = quotes ? TERMINATED_DDP_HEADER + quotation : TERMINATE_HEADER;
    this.#writer.begin(length);
    const { bytes, view } = this.#writer.region;
    const at = this.#writer.offset;
    bytes.fill(0, at, at + length);
    putUntaggedHeader(view, at, RdmapOpcode.TERMINATE, true, DdpQueue.TERMINATE, 1, 0, 0);
    bytes[at + 18] = (reason.layer << 4) | reason.type;
    bytes[at + 19] = reason.code;
    if (quotes) {
      bytes[at + 20] =
        TerminateFlag.SEGMENT_LENGTH | TerminateFlag.DDP_HEADER | (isRead ? TerminateFlag.RDMA_HEADER : 0);
      putU16(bytes, at + 22, quoted);
      copyBytes(header, 0, bytes, at + TERMINATED_DDP_HEADER, quotation);
    }
    this.#writer.finish(null, 0, 0, null);
    stream.end();
  }
}
