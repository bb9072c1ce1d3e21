/** Connections of software iWARP: a TCP connection, MPA's startup on it, then the queue pair. */

import type { ByteStream } from '../../stream/index.js';
import { RiserError } from '../../util/errors.js';
import {
  type ConnectionEvents,
  type ConnectionParameters,
  type Established,
  type ProtectionDomain,
  type QueuePairOptions,
  QueuePairState,
  type RdmaConnection,
  type ResolveOptions,
} from '../verbs.js';
import { RdmaRejected } from '../rejected.js';
import { ConnectionRole } from '../roles.js';
import type { IwarpDevice } from './device.js';
import type { Message } from './message.js';
import { misuse } from '../misuse.js';
import { MAX_ULPDU, mulpduFor } from './mpa/fpdu.js';
import { MpaInitiator } from './mpa/initiator.js';
import type { MpaRequest, MpaResponder } from './mpa/responder.js';
import type { StartupResult } from './mpa/startup.js';
import { NOT_NEGOTIATED, type RtrKind } from './mpa/frames.js';
import type { IwarpProtectionDomain } from './protection-domain.js';
import type { IwarpQueuePair } from './queue-pair.js';
import { closedEarly, sendFrame, StartupExchange } from './startup-exchange.js';
import type { StreamInfo, StreamSource } from './tcp.js';

/** Of an Ethernet without jumbo frames, with TCP's timestamps. */
const USUAL_MSS = 1448;
/**
 * Linux' siw overlooks what comes after its MPA Reply before it has set its socket's callbacks, until more comes. On a
 * machine that is short of time that may be all that this side has to say, so it is told again that it may send: after
 * this, then after twice as long each time, as nobody knows when siw's callbacks are there.
 */
const REMINDER_MS = 500;

abstract class IwarpConnection extends ConnectionRole implements RdmaConnection {
  readonly device: IwarpDevice;
  localAddress = '';
  remoteAddress = '';
  readonly pathMtu = null;
  queuePair: IwarpQueuePair | null = null;
  protected isOver = false;
  #endWatch: NodeJS.Timeout | null = null;

  constructor(device: IwarpDevice) {
    super();
    this.device = device;
  }

  createQueuePair(
    domain: ProtectionDomain,
    options: QueuePairOptions,
    events: ConnectionEvents,
  ): IwarpQueuePair {
    if (this.queuePair !== null) throw misuse('the connection has a queue pair already');
    this.queuePair = this.device.createQueuePair(domain as IwarpProtectionDomain, options, events);
    return this.queuePair;
  }

  disconnect(): void {
    const { queuePair } = this;
    if (queuePair === null) return;
    // It may be about to be made.
    if (queuePair.state === QueuePairState.INIT) this.isOver = true;
    queuePair.disconnect();
    if (queuePair.isSendingLast) this.#watchEnd(queuePair);
  }

  /** A peer that takes nothing any more, or has never sent what this side has to wait for, is not waited for. */
  #watchEnd(queuePair: IwarpQueuePair): void {
    if (this.#endWatch !== null) return;
    const { endTimeout } = this.device.options;
    queuePair.hasProgressed();
    this.#endWatch = setInterval(() => {
      if (!queuePair.isSendingLast) clearInterval(this.#endWatch!);
      else if (!queuePair.hasProgressed()) queuePair.abort(notTaken(endTimeout));
    }, endTimeout).unref();
  }

  close(): void {
    this.isOver = true;
    if (this.#endWatch !== null) clearInterval(this.#endWatch);
    this.queuePair?.close();
    if (this.queuePair !== null) this.device.queuePairClosed(this.queuePair);
  }

  protected requireQueuePair(): IwarpQueuePair {
    if (this.isOver) throw misuse('the connection is over');
    if (this.queuePair === null) throw misuse('make a queue pair first');
    return this.queuePair;
  }

  /** MPA's full operation begins. */
  protected begin(
    stream: ByteStream<Message>,
    result: StartupResult,
    info: StreamInfo,
    mustWait: boolean,
  ): void {
    const { crc, sendMarkers, receiveMarkers } = result;
    const isLarge = this.device.options.largeFpdus ?? info.isLocal;
    this.requireQueuePair().connected(stream, {
      crc,
      sendMarkers,
      receiveMarkers,
      initiatorDepth: result.ord,
      responderResources: result.ird,
      mustWait,
      maxUlpdu: isLarge ? MAX_ULPDU : mulpduFor(USUAL_MSS, sendMarkers),
    });
    stream.resume();
  }

  /** CRCs guard the way between machines; within one there is none. */
  protected wantsCrc(info: StreamInfo): boolean {
    return this.device.options.crc ?? !info.isLocal;
  }
}

/** For the active side: how long connecting may take, and what stops it. */
export type StartOptions = Pick<ResolveOptions, 'timeout' | 'signal'>;

/** A depth as the peer declared it, or what is agreed without. */
function depthOf(declared: number, otherwise: number): number {
  return declared === NOT_NEGOTIATED ? otherwise : declared;
}

export class ActiveConnection extends IwarpConnection {
  readonly #options: StartOptions;
  readonly #source: StreamSource;
  #isAsked = false;
  #reminder: NodeJS.Timeout | undefined;

  constructor(
    device: IwarpDevice,
    source: StreamSource,
    { localAddress, remoteAddress }: Omit<StreamInfo, 'isLocal'>,
    options: StartOptions,
  ) {
    super(device);
    this.#options = options;
    this.#source = source;
    this.localAddress = localAddress;
    this.remoteAddress = remoteAddress;
  }

  override async connect(parameters: ConnectionParameters = {}): Promise<Established> {
    const queuePair = this.requireQueuePair();
    if (this.#isAsked) throw misuse('a connection is connected once');
    this.#isAsked = true;
    const { timeout = 10_000, signal } = this.#options;
    const deadline = performance.now() + timeout;
    const { stream, info } = await this.#source.open(timeout, signal ?? null);
    this.localAddress = info.localAddress;
    const abort = (): void => {
      stream.destroy(signal!.reason as Error);
    };
    signal?.addEventListener('abort', abort, { once: true });
    let initiator: MpaInitiator;
    try {
      signal?.throwIfAborted();
      initiator = this.#initiator(info, parameters);
      await new Promise<void>((resolve, reject) => {
        const left = Math.max(1, Math.ceil(deadline - performance.now()));
        const isComplete = (): boolean => initiator.result !== null;
        new StartupExchange(stream, initiator, isComplete, left, resolve, reject).send(initiator.request);
      });
    } catch (error) {
      stream.destroy(null);
      signal?.throwIfAborted();
      // The TCP connection's own, such as a reset.
      throw error instanceof RiserError ? error : closedEarly(error);
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    const result = initiator.result!;
    if (!result.isAccepted) {
      stream.destroy(null);
      throw new RdmaRejected(result.privateData);
    }
    if (this.isOver) {
      stream.destroy(null);
      throw misuse('the connection was ended while it was being made');
    }
    this.begin(stream, result, info, false);
    if (result.terminate !== null) {
      queuePair.refuse(result.terminate, result.terminate.mpaCode);
      throw result.terminate;
    }
    const { rtr } = result;
    if (rtr !== null) {
      queuePair.sendReady(rtr);
      this.#remind(queuePair, rtr, REMINDER_MS);
    }
    return established(result.privateData, result.ird, result.ord);
  }

  #remind(queuePair: IwarpQueuePair, rtr: RtrKind, after: number): void {
    this.#reminder = setTimeout(() => {
      if (queuePair.remindReady(rtr)) this.#remind(queuePair, rtr, after * 2);
    }, after);
    // It alone is no reason to go on.
    this.#reminder.unref();
  }

  #initiator(info: StreamInfo, parameters: ConnectionParameters): MpaInitiator {
    const { attributes, options } = this.device;
    const revision = options.revision ?? 2;
    return new MpaInitiator({
      revision,
      crc: this.wantsCrc(info),
      markers: options.markers ?? false,
      ...(parameters.privateData === undefined ? {} : { privateData: parameters.privateData }),
      ird: parameters.responderResources ?? attributes.maxResponderResources,
      maxIrd: attributes.maxResponderResources,
      ord: parameters.initiatorDepth ?? attributes.maxInitiatorDepth,
      peerToPeer: revision === 2 ? ['write'] : null,
    });
  }

  override close(): void {
    clearTimeout(this.#reminder);
    if (!this.#isAsked) {
      this.#isAsked = true;
      this.#source.giveUp();
    }
    super.close();
  }
}

export class RequestedConnection extends IwarpConnection {
  readonly #exchange: StartupExchange;
  readonly #info: StreamInfo;
  readonly #responder: MpaResponder;
  #isAnswered = false;

  constructor(device: IwarpDevice, exchange: StartupExchange, info: StreamInfo, responder: MpaResponder) {
    super(device);
    this.#exchange = exchange;
    this.#info = info;
    this.#responder = responder;
    this.localAddress = info.localAddress;
    this.remoteAddress = info.remoteAddress;
  }

  get #request(): MpaRequest {
    return this.#responder.request!;
  }

  /** What the peer asks for, by this side's names: what it wants to read is what is served here. */
  get parameters(): Established {
    const { privateData, ird, ord } = this.#request;
    const { attributes } = this.device;
    return established(
      privateData,
      Math.min(depthOf(ord, attributes.maxResponderResources), attributes.maxResponderResources),
      Math.min(depthOf(ird, attributes.maxInitiatorDepth), attributes.maxInitiatorDepth),
    );
  }

  override async accept(parameters: ConnectionParameters = {}): Promise<void> {
    const queuePair = this.requireQueuePair();
    this.#answered();
    const { stream, isClosed } = this.#exchange;
    if (isClosed) throw closedEarly();
    const asked = this.parameters;
    const { reply, result } = this.#responder.accept({
      ...(parameters.privateData === undefined ? {} : { privateData: parameters.privateData }),
      ird: parameters.responderResources ?? asked.responderResources,
      ord: Math.min(parameters.initiatorDepth ?? asked.initiatorDepth, asked.initiatorDepth),
      crc: this.wantsCrc(this.#info),
      markers: this.device.options.markers ?? false,
    });
    sendFrame(stream, reply);
    const mayAnswerFirst = this.device.options.mayAnswerFirst === true && result.rtr === null;
    this.begin(stream, result, this.#info, result.mustWaitForFirstFpdu && !mayAnswerFirst);
    // Peer-to-peer: it stands when the peer says so; else when the reply is sent, as the peer's first message may take long.
    if (result.rtr !== null) await this.#peerIsReady(queuePair);
  }

  override reject(privateData?: Uint8Array): void {
    this.#answered();
    const { reply } = this.#responder.reject(privateData === undefined ? {} : { privateData });
    sendFrame(this.#exchange.stream, reply);
    this.#exchange.stream.end();
  }

  #peerIsReady(queuePair: IwarpQueuePair): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        queuePair.abort(notReady(this.device.options.startupTimeout));
      }, this.device.options.startupTimeout);
      queuePair.settled = (error) => {
        clearTimeout(timer);
        if (error === null) resolve();
        else reject(error);
      };
    });
  }

  override close(): void {
    if (!this.#isAnswered) {
      this.#isAnswered = true;
      this.#exchange.stream.destroy(null);
    }
    super.close();
  }

  #answered(): void {
    if (this.#isAnswered) throw misuse('the request was answered already');
    this.#isAnswered = true;
  }
}

function established(privateData: Buffer, responderResources: number, initiatorDepth: number): Established {
  return { privateData, responderResources, initiatorDepth };
}

function notReady(timeout: number): RiserError {
  return new RiserError(
    'RDMA_TIMEOUT',
    `the peer was accepted, but sent nothing within ${timeout / 1000} s`,
    {
      by: 'peer',
      costs: 'connection',
    },
  );
}

function notTaken(timeout: number): RiserError {
  return new RiserError(
    'RDMA_TIMEOUT',
    `the peer took nothing for ${timeout / 1000} s of what was to be sent before the end`,
    { by: 'peer', costs: 'connection' },
  );
}
