/** Connections of a device, made by librdmacm. The queue pair is not its own: this leads it through its states. */

import { RiserError } from '../../util/errors.js';
import { misuse } from '../misuse.js';
import { RdmaRejected } from '../rejected.js';
import { ConnectionRole } from '../roles.js';
import {
  AccessFlag,
  type ConnectionEvents,
  type ConnectionParameters,
  type Established,
  type ProtectionDomain,
  type QueuePairOptions,
  QueuePairState,
  type RdmaConnection,
} from '../verbs.js';
import { CmEvent, QpState, REJECTED_NOBODY_LISTENS } from './constants.js';
import type { NativeDevice } from './device.js';
import { connectionError, deviceError, errnoName, messageOf } from './errors.js';
import {
  addon,
  type NativeConnectionEvent,
  type NativeIdHandle,
  type NativePollerHandle,
} from './library.js';
import type { NativeProtectionDomain } from './memory.js';
import { NativeQueuePair, type QueuePairHost } from './queue-pair.js';
import type { Limits } from './resolving.js';

/** Milliseconds: that a peer which was accepted may take to say that it is ready; without any progress, before an end in good order. */
const READY_TIMEOUT = 10_000;
const END_TIMEOUT = 5000;

const PEER_RIGHTS = AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE;
const NOTHING = new Uint8Array(0);

/** The making of a connection that somebody waits for. */
interface Making<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

export abstract class NativeConnection extends ConnectionRole implements RdmaConnection, QueuePairHost {
  readonly device: NativeDevice;
  localAddress = '';
  remoteAddress = '';
  pathMtu: number | null = null;
  queuePair: NativeQueuePair | null = null;
  protected readonly id: NativeIdHandle;
  protected isOver = false;
  /** Whose event channel the identifier is of. */
  idOwner: NativeDevice;
  readonly #key: number;
  #isIdOpen = true;
  #endWatch: NodeJS.Timeout | undefined;

  constructor(device: NativeDevice, id: NativeIdHandle, key: number) {
    super();
    this.device = device;
    this.idOwner = device;
    this.id = id;
    this.#key = key;
    this.readAddresses();
    device.users++;
    device.connections.add(this);
  }

  protected get isIdOpen(): boolean {
    return this.#isIdOpen;
  }

  createQueuePair(
    domain: ProtectionDomain,
    options: QueuePairOptions,
    events: ConnectionEvents,
  ): NativeQueuePair {
    if (this.queuePair !== null) throw misuse('the connection has a queue pair already');
    if (!this.#isIdOpen) throw misuse('the connection is over');
    this.device.checkQueuePair(options);
    if ((domain as NativeProtectionDomain).device !== this.device)
      throw misuse('the protection domain is of another device than the connection');
    const queuePair = new NativeQueuePair(this, domain as NativeProtectionDomain, options, events);
    this.queuePair = queuePair;
    try {
      this.transition(QpState.INIT, 0, 0);
    } catch (cause) {
      this.queuePair = null;
      queuePair.discard();
      throw deviceError(`a queue pair cannot be used: ${messageOf(cause)}`);
    }
    queuePair.communicationEstablished = () => {
      if (this.#isIdOpen) this.id.communicationEstablished();
    };
    return queuePair;
  }

  /** By the connection manager. */
  abstract handle(event: NativeConnectionEvent): void;

  /** Who waits for its making is told that there will be none. */
  protected abstract giveUp(error: Error): void;

  disconnect(): void {
    const { queuePair } = this;
    if (queuePair === null || this.isOver) return;
    this.isOver = true;
    if (queuePair.state === QueuePairState.RTS) {
      queuePair.disconnect();
      this.#watchEnd(queuePair);
    } else if (queuePair.state === QueuePairState.INIT) {
      this.giveUp(misuse('the connection was ended while it was being made'));
      queuePair.end(null);
      this.closeId();
    }
  }

  /** A peer that takes nothing any more is not waited for. */
  #watchEnd(queuePair: NativeQueuePair): void {
    let before = queuePair.sendsAtDevice;
    this.#endWatch = setInterval(() => {
      const now = queuePair.sendsAtDevice;
      if (queuePair.state === QueuePairState.ERROR) clearInterval(this.#endWatch);
      else if (now === before)
        queuePair.end(
          connectionError(
            'RDMA_TIMEOUT',
            `the peer took nothing for ${END_TIMEOUT / 1000} s of what was to be sent before the end`,
          ),
        );
      before = now;
    }, END_TIMEOUT).unref();
  }

  queuePairEnded(): void {
    this.isOver = true;
    if (this.#isIdOpen) this.id.disconnect();
  }

  close(): void {
    this.isOver = true;
    clearInterval(this.#endWatch);
    this.giveUp(misuse('the connection was closed while it was being made'));
    if (this.#isIdOpen && this.queuePair?.state === QueuePairState.RTS) this.id.disconnect();
    this.queuePair?.close();
    this.closeId();
  }

  protected closeId(): void {
    if (!this.#isIdOpen) return;
    this.#isIdOpen = false;
    this.id.close();
    this.idOwner.removeId(this.#key);
    this.device.users--;
    this.device.connections.delete(this);
  }

  /** Its own address is not the device's any more. */
  addressLost(why: string): void {
    if (!this.isOver) this.queuePair?.end(deviceError(`the address ${this.localAddress} ${why}`));
  }

  protected readAddresses(): void {
    [this.localAddress, this.remoteAddress] = this.id.addresses();
  }

  protected requireQueuePair(): NativeQueuePair {
    if (this.isOver) throw misuse('the connection is over');
    if (this.queuePair === null) throw misuse('make a queue pair first');
    return this.queuePair;
  }

  protected transition(state: number, responderResources: number, initiatorDepth: number): void {
    const rights = PEER_RIGHTS | (this.device.attributes.hasAtomics ? AccessFlag.REMOTE_ATOMIC : 0);
    const handle = this.queuePair!.handle;
    const pathMtu = this.id.transition(handle, state, rights, responderResources, initiatorDepth);
    if (pathMtu > 0) this.pathMtu = pathMtu;
  }

  /** To RTS; iWARP's connection manager does that by itself. */
  protected makeReady(responderResources: number, initiatorDepth: number): void {
    if (this.device.isIwarp) return;
    this.transition(QpState.RTR, responderResources, initiatorDepth);
    this.transition(QpState.RTS, responderResources, initiatorDepth);
  }

  protected privateData({ privateData }: ConnectionParameters): Uint8Array {
    const most = this.device.attributes.maxPrivateData;
    if (privateData !== undefined && privateData.length > most)
      throw misuse(`${privateData.length} bytes of private data, where ${most} are possible`);
    return privateData ?? NOTHING;
  }

  /** What comes once it stands. */
  protected handleEnd(event: NativeConnectionEvent): void {
    const { queuePair } = this;
    if (queuePair === null) return;
    if (event.type === CmEvent.DISCONNECTED) {
      queuePair.peerEnded(null);
    } else if (event.type === CmEvent.DEVICE_REMOVAL) this.device.lost('is gone');
    else if (event.type === CmEvent.UNREACHABLE)
      // The kernel has seen the peer's address move to another interface of the network.
      queuePair.end(
        connectionError('RDMA_UNREACHABLE', `${this.remoteAddress} is not where it was any more`),
      );
    else if (event.type === CmEvent.ADDR_CHANGE)
      queuePair.end(deviceError(`the address ${this.localAddress} is at another device now: connect again`));
  }
}

export class NativeActiveConnection extends NativeConnection {
  readonly #deadline: number;
  readonly #timeout: number;
  readonly #signal: AbortSignal | null;
  #asked: { responderResources: number; initiatorDepth: number } | null = null;
  #making: Making<Established> | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(device: NativeDevice, id: NativeIdHandle, key: number, { deadline, timeout, signal }: Limits) {
    super(device, id, key);
    this.#deadline = deadline;
    this.#timeout = timeout;
    this.#signal = signal;
  }

  override async connect(parameters: ConnectionParameters = {}): Promise<Established> {
    if (this.#asked !== null) throw misuse('a connection is connected once');
    const queuePair = this.requireQueuePair();
    const { maxResponderResources, maxInitiatorDepth } = this.device.attributes;
    const { responderResources = maxResponderResources, initiatorDepth = maxInitiatorDepth } = parameters;
    const privateData = this.privateData(parameters);
    this.#asked = { responderResources, initiatorDepth };
    queuePair.flush();
    const abort = (): void => this.#fail(this.#signal!.reason as Error);
    let attempt: NativePollerHandle | undefined;
    try {
      this.#signal?.throwIfAborted();
      this.#signal?.addEventListener('abort', abort, { once: true });
      return await new Promise<Established>((resolve, reject) => {
        this.#making = { resolve, reject };
        const left = Math.max(1, this.#deadline - performance.now());
        this.#timer = setTimeout(() => this.#fail(timedOut(this.#timeout)), left);
        const told = this.id.connect(queuePair.handle, privateData, responderResources, initiatorDepth);
        attempt = new (addon().Poller)(told, () => {
          attempt?.close();
          const errno = this.isIdOpen ? this.id.connectError() : 0;
          if (errno !== 0) this.#fail(this.#unreachable({ errno }));
        });
      });
    } finally {
      attempt?.close();
      clearTimeout(this.#timer);
      this.#signal?.removeEventListener('abort', abort);
    }
  }

  override handle(event: NativeConnectionEvent): void {
    if (this.#making === null) {
      this.handleEnd(event);
      return;
    }
    switch (event.type) {
      case CmEvent.CONNECT_RESPONSE:
      case CmEvent.ESTABLISHED:
        this.#established(event);
        return;
      case CmEvent.REJECTED:
        this.#fail(
          !this.device.isIwarp && event.status === REJECTED_NOBODY_LISTENS
            ? this.#unreachable('nobody listens there')
            : new RdmaRejected(event.privateData),
        );
        return;
      case CmEvent.UNREACHABLE:
      case CmEvent.CONNECT_ERROR:
      case CmEvent.DEVICE_REMOVAL:
      case CmEvent.ADDR_CHANGE:
        this.#fail(this.#unreachable(event.status < 0 ? { errno: -event.status } : 'it does not answer'));
        return;
      case CmEvent.DISCONNECTED:
        this.#fail(connectionError('RDMA_CLOSED', 'the peer ended the connection while it was being made'));
    }
  }

  #established(event: NativeConnectionEvent): void {
    const queuePair = this.queuePair!;
    const asked = this.#asked!;
    const { isSiw } = this.device;
    const served = isSiw ? event.initiatorDepth : event.responderResources;
    const granted = isSiw ? event.responderResources : event.initiatorDepth;
    const responderResources = Math.min(asked.responderResources, served);
    const initiatorDepth = Math.min(asked.initiatorDepth, granted);
    try {
      if (event.type === CmEvent.CONNECT_RESPONSE) {
        this.makeReady(responderResources, initiatorDepth);
        this.id.establish();
      }
    } catch (error) {
      this.#fail(connectionError('RDMA_CLOSED', `the connection cannot be made: ${messageOf(error)}`, error));
      return;
    }
    this.readAddresses();
    queuePair.connected(initiatorDepth);
    const making = this.#making!;
    this.#making = null;
    making.resolve({ privateData: event.privateData, responderResources, initiatorDepth });
  }

  #unreachable(why: { errno: number } | string): RiserError {
    const reason = typeof why === 'string' ? why : (errnoName(why) ?? `error ${why.errno}`);
    const code = reason === 'ETIMEDOUT' ? 'RDMA_TIMEOUT' : 'RDMA_UNREACHABLE';
    return connectionError(code, `${this.remoteAddress} cannot be reached: ${reason}`);
  }

  protected override giveUp(error: Error): void {
    // siw destroys no queue pair that connects.
    if (this.#making !== null && this.isIdOpen) this.id.giveUp();
    this.#making?.reject(error);
    this.#making = null;
  }

  #fail(error: Error): void {
    if (this.#making === null) return;
    this.giveUp(error);
    this.queuePair?.end(error);
    this.closeId();
  }
}

export class NativeRequestedConnection extends NativeConnection {
  /** What the peer asks for, within the device's limits. */
  readonly parameters: Established;
  #isAnswered = false;
  #isPeerGone = false;
  #making: Making<void> | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(device: NativeDevice, id: NativeIdHandle, key: number, event: NativeConnectionEvent) {
    super(device, id, key);
    const { maxResponderResources, maxInitiatorDepth } = device.attributes;
    this.parameters = {
      privateData: event.privateData,
      responderResources: Math.min(event.responderResources, maxResponderResources),
      initiatorDepth: Math.min(event.initiatorDepth, maxInitiatorDepth),
    };
  }

  override async accept(parameters: ConnectionParameters = {}): Promise<void> {
    this.#requireUnanswered();
    const queuePair = this.requireQueuePair();
    const privateData = this.privateData(parameters);
    this.#isAnswered = true;
    const asked = this.parameters;
    const responderResources = parameters.responderResources ?? asked.responderResources;
    const initiatorDepth = Math.min(parameters.initiatorDepth ?? asked.initiatorDepth, asked.initiatorDepth);
    queuePair.initiatorDepth = initiatorDepth;
    queuePair.flush();
    try {
      if (this.#isPeerGone) throw peerGone();
      await new Promise<void>((resolve, reject) => {
        this.#making = { resolve, reject };
        this.makeReady(responderResources, initiatorDepth);
        this.id.accept(queuePair.handle, privateData, responderResources, initiatorDepth);
        this.#timer = setTimeout(() => this.#fail(notReady()), READY_TIMEOUT);
      });
    } catch (cause) {
      const error = cause instanceof RiserError ? cause : peerGone(cause);
      this.#making = null;
      queuePair.end(error);
      throw error;
    } finally {
      clearTimeout(this.#timer);
    }
  }

  override reject(privateData: Uint8Array = NOTHING): void {
    this.#requireUnanswered();
    if (this.isOver) throw misuse('the connection is over');
    this.#isAnswered = true;
    try {
      this.id.reject(privateData);
    } catch {
      // The peer has not waited for it.
    }
  }

  override handle(event: NativeConnectionEvent): void {
    const making = this.#making;
    if (making === null) {
      // Maybe before it was answered.
      if (event.type !== CmEvent.ESTABLISHED) this.#isPeerGone = true;
      this.handleEnd(event);
      return;
    }
    if (event.type === CmEvent.ESTABLISHED) {
      this.#making = null;
      this.readAddresses();
      this.queuePair!.connected(this.queuePair!.initiatorDepth);
      making.resolve();
    } else if (event.type >= CmEvent.CONNECT_ERROR && event.type <= CmEvent.DEVICE_REMOVAL)
      this.#fail(peerGone());
  }

  protected override giveUp(error: Error): void {
    this.#fail(error);
  }

  #fail(error: Error): void {
    const making = this.#making;
    this.#making = null;
    making?.reject(error);
  }

  #requireUnanswered(): void {
    if (this.#isAnswered) throw misuse('the request was answered already');
  }
}

function timedOut(timeout: number): RiserError {
  return connectionError('RDMA_TIMEOUT', `the peer has not answered within ${timeout / 1000} s`);
}

function peerGone(cause?: unknown): RiserError {
  return connectionError('RDMA_CLOSED', 'the peer has gone before the connection was made', cause);
}

function notReady(): RiserError {
  return connectionError(
    'RDMA_TIMEOUT',
    `the peer was accepted, but said nothing within ${READY_TIMEOUT / 1000} s`,
  );
}
