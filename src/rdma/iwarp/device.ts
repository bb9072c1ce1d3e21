/** Software iWARP as an RDMA device: always there, on every address of the machine. */

import { lookup } from 'node:dns/promises';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type ByteStream, openStream } from '../../stream/index.js';
import { libcMissing } from '../../util/posix/libc.js';
import { RiserError } from '../../util/errors.js';
import type {
  CompletionEvents,
  ConnectionEvents,
  DeviceAttributes,
  DeviceEvents,
  DeviceInfo,
  ListenerEvents,
  ListenOptions,
  Probe,
  QueuePairOptions,
  RdmaConnection,
  RdmaDevice,
  RdmaListener,
  RdmaProvider,
  ResolveOptions,
} from '../verbs.js';
import { IwarpCompletionQueue } from './completion-queue.js';
import { ActiveConnection, type StartOptions } from './connection.js';
import { KeyTable } from './keys.js';
import { COPIED } from './mpa/fpdu-writer.js';
import { IwarpListener } from './listener.js';
import type { Message } from './message.js';
import { checkSize, misuse } from '../misuse.js';
import { Notifier } from '../notifier.js';
import { IwarpProtectionDomain } from './protection-domain.js';
import { IwarpQueuePair } from './queue-pair.js';
import { Startups } from './startups.js';
import { dialledStream, givenStream, infoOf, type StreamInfo, takenOver } from './tcp.js';
import type { MpaRevision } from './mpa/frames.js';

export interface IwarpOptions {
  /** Ask for CRCs. Default: on connections to other machines. */
  crc?: boolean;
  /** Require markers in what peers send. Default: no. */
  markers?: boolean;
  /** Of MPA, in requests. Default: 2. */
  revision?: MpaRevision;
  /**
   * Send FPDUs longer than a TCP segment, which software takes and adapters may not. Default: on connections within
   * this machine.
   */
  largeFpdus?: boolean;
  /** Milliseconds that a peer may take for MPA's startup. Default 5000. */
  startupTimeout?: number;
  /** Milliseconds that a peer may take nothing of what is sent before an end in good order. Default 5000. */
  endTimeout?: number;
  /**
   * A server's queue pair may send before the client has sent anything, unless the client is to say that it is ready: against
   * RFC 5044 7.1.2, rule 4, but programs written for adapters and for Linux' siw do. What
   * leaves together with the reply is too early for siw. Default false.
   */
  mayAnswerFirst?: boolean;
}

const NAME = 'iwarp';
const MAX_QUEUED = 16_384;

const ATTRIBUTES: DeviceAttributes = {
  maxSendRequests: MAX_QUEUED,
  maxReceiveRequests: MAX_QUEUED,
  maxSges: 64,
  maxReadSges: 64,
  maxMessage: 2 ** 32 - 1,
  maxCompletions: 1 << 20,
  maxInlineData: COPIED,
  maxResponderResources: 128,
  maxInitiatorDepth: 128,
  maxPrivateData: 508,
  hasMemoryWindows: true,
  hasSharedReceiveQueues: true,
  hasAtomics: true,
  hasWriteWithImmediate: true,
  hasSendWithImmediate: false,
  hasSendWithInvalidate: true,
  hasRnrRetry: false,
  readNeedsRemoteWrite: false,
};

export class IwarpProvider implements RdmaProvider {
  readonly name = NAME;
  readonly #options: IwarpOptions;

  constructor(options: IwarpOptions = {}) {
    this.#options = options;
  }

  probe(): Probe {
    const how = libcMissing === null ? '' : `; through Node's own streams, which is slower (${libcMissing})`;
    return { isUsable: true, reason: `in software, over TCP${how}` };
  }

  devices(): Promise<readonly DeviceInfo[]> {
    const addresses = Object.values(networkInterfaces()).flatMap((all) =>
      (all ?? []).map(({ address }) => address),
    );
    return Promise.resolve([{ name: NAME, transport: 'iWARP', state: 'ACTIVE', addresses }]);
  }

  open(name: string, _events: DeviceEvents = {}): Promise<IwarpDevice> {
    if (name === NAME) return Promise.resolve(new IwarpDevice(this.#options));
    return Promise.reject(
      new RiserError('RDMA_DEVICE_MISSING', `there is no RDMA device "${name}"`, {
        by: 'local',
        costs: 'task',
        remedy: '"riser rdma devices" lists those that are there.',
      }),
    );
  }
}

/**
 * Software iWARP. Besides what every device can, it takes over TCP connections that are there, whether they were used for something
 * else before (RFC 5044 7, "streaming mode"; so iSER does, RFC 7145 5.1) or are shared with other protocols by their first bytes.
 */
export class IwarpDevice implements RdmaDevice {
  readonly name: string = NAME;
  readonly attributes: DeviceAttributes = ATTRIBUTES;
  readonly options: IwarpOptions & { startupTimeout: number; endTimeout: number };
  readonly #keys = new KeyTable();
  readonly #notifier = new Notifier(queueMicrotask);
  readonly #queuePairs = new Set<IwarpQueuePair>();
  readonly #listeners = new Set<IwarpListener>();
  readonly #startups = new Startups(this);
  #lastNumber = 0;

  constructor(options: IwarpOptions = {}) {
    this.options = { startupTimeout: 5000, endTimeout: 5000, ...options };
  }

  allocateProtectionDomain(): IwarpProtectionDomain {
    return new IwarpProtectionDomain(this.#keys);
  }

  createCompletionQueue(capacity: number, events?: CompletionEvents): IwarpCompletionQueue {
    checkSize('a completion queue', capacity, ATTRIBUTES.maxCompletions);
    return new IwarpCompletionQueue(capacity, events ?? { completed: () => undefined }, this.#notifier);
  }

  createQueuePair(
    domain: IwarpProtectionDomain,
    options: QueuePairOptions,
    events: ConnectionEvents,
  ): IwarpQueuePair {
    checkSize('a send queue', options.maxSendRequests, ATTRIBUTES.maxSendRequests);
    checkSize('a receive queue', options.maxReceiveRequests, ATTRIBUTES.maxReceiveRequests);
    checkSize('a scatter/gather list', options.maxSges ?? 1, ATTRIBUTES.maxSges);
    const { maxInlineData = 0 } = options;
    if (maxInlineData > 0) checkSize('inline data', maxInlineData, ATTRIBUTES.maxInlineData);
    this.#lastNumber = (this.#lastNumber % 0xff_ffff) + 1;
    const queuePair = new IwarpQueuePair(this.#lastNumber, domain, options, events, this.#notifier);
    this.#queuePairs.add(queuePair);
    return queuePair;
  }

  queuePairClosed(queuePair: IwarpQueuePair): void {
    this.#queuePairs.delete(queuePair);
  }

  async listen({ address, port }: ListenOptions, events: ListenerEvents): Promise<RdmaListener> {
    const server = createServer({ pauseOnConnect: false });
    const listener = new IwarpListener(this, server, events);
    await listening(server, address, port);
    // No descriptor left for a peer: that one is turned away, and the others go on.
    server.on('error', () => undefined);
    server.on('connection', (socket) => {
      const info = infoOf(socket);
      listener.accepted(openStream<Message>(socket), info);
    });
    this.#listeners.add(listener);
    return listener;
  }

  listenerClosed(listener: IwarpListener): void {
    this.#listeners.delete(listener);
  }

  /**
   * The passive side on a TCP connection that somebody else accepted: the peer's MPA Request is the first that has come and was
   * not read, or will come; `requested` of `events` follows. The stream is the device's from now on. Nothing that is queued on
   * it may have an owner; it is sent first.
   *
   * `failed`: there was no such request within `startupTimeout`, or too many others came meanwhile, or the device was closed;
   * the stream is closed.
   *
   * @throws RiserError `RDMA_MISUSE`: queued bytes have an owner
   */
  acceptStream<Owner extends object>(
    stream: ByteStream<Owner>,
    info: StreamInfo,
    events: ListenerEvents,
    failed: (error: Error) => void = () => undefined,
  ): void {
    this.#startups.begin(takenOver(stream), info, events, failed);
  }

  /**
   * The active side on a TCP connection that is there: `connect` sends the MPA Request at once. The stream is the connection's
   * from now on, and its `close` is due even if it is never connected. Nothing that is queued on it may have an owner.
   *
   * @throws RiserError `RDMA_MISUSE`: queued bytes have an owner
   */
  connectStream<Owner extends object>(
    stream: ByteStream<Owner>,
    info: StreamInfo,
    options: StartOptions = {},
  ): RdmaConnection {
    return new ActiveConnection(this, givenStream(stream, info), info, options);
  }

  async resolve(options: ResolveOptions): Promise<RdmaConnection> {
    options.signal?.throwIfAborted();
    try {
      const { address } = await lookup(options.host);
      const addresses = { localAddress: '', remoteAddress: address };
      return new ActiveConnection(this, dialledStream(address, options.port), addresses, options);
    } catch (cause) {
      throw new RiserError('RDMA_UNREACHABLE', `there is no host "${options.host}"`, {
        by: 'local',
        costs: 'connection',
        cause,
      });
    }
  }

  async close(): Promise<void> {
    if (this.#queuePairs.size > 0) throw misuse('a device is closed while it has queue pairs');
    this.#startups.giveUp();
    for (const listener of this.#listeners) await listener.close();
  }
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const isTaken = cause.code === 'EADDRINUSE';
      reject(
        new RiserError(
          isTaken ? 'ADDRESS_IN_USE' : 'LISTEN',
          `cannot listen on ${host} port ${port}: ${cause.message}`,
          {
            by: 'local',
            costs: 'process',
            cause,
            ...(isTaken ? { remedy: 'Choose another port, or stop what listens there.' } : {}),
          },
        ),
      );
    });
    server.listen({ host, port }, resolve);
  });
}
